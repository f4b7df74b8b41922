//! One thread, many processes: polls tasks in an order that a seed decides.
//!
//! A task belongs to a process, and a process can be killed between any two
//! polls: then all its tasks are gone at once, as with `SIGKILL`. When no task
//! can go on, the virtual clock jumps to the next time that somebody waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::chance::Chance;
use super::timers::Timers;

/// A process of a simulated world: one run of an engine, or the world itself.
/// A process that is started again is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(u32);

impl ProcessId {
    /// The world's own process, which nobody kills.
    pub const WORLD: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What a [`Executor::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// It polled a task of this process.
    Polled(ProcessId),
    /// A task of this process panicked, and is gone.
    Panicked(ProcessId),
    /// It moved the clock.
    Waited,
    /// Nobody waits for anything that time could bring.
    Idle,
}

/// Polls tasks, one at a time.
pub(crate) struct Executor {
    core: Mutex<Core>,
    inbox: Arc<Inbox>,
    timers: Timers,
    polls: AtomicU64,
    /// The process whose task is polled.
    current: AtomicU32,
}

struct Core {
    tasks: Vec<Task>,
    /// The tasks that can go on, by number. Sorted, so that what is picked does
    /// not depend on the order in which they were woken.
    ready: Vec<u32>,
    processes: Vec<Process>,
    chance: Chance,
}

struct Task {
    process: ProcessId,
    /// Taken while it is polled; gone once it is done or was killed.
    future: Option<BoxFuture<'static, ()>>,
    waker: Option<Arc<TaskWaker>>,
}

#[derive(Default)]
struct Process {
    dead: bool,
    frozen: bool,
    polls: u64,
    /// Ready tasks that wait for the process to thaw.
    parked: Vec<u32>,
    /// Its live tasks, and some that are gone.
    tasks: Vec<u32>,
}

/// The tasks that were woken since the last step.
#[derive(Default)]
struct Inbox {
    woken: Mutex<Vec<u32>>,
}

struct TaskWaker {
    task: u32,
    queued: AtomicBool,
    inbox: Arc<Inbox>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.inbox.woken).push(self.task);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A run ends at its first panic, and what it left is only shown.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Executor {
    /// No tasks, and the world's process.
    pub(crate) fn new(chance: Chance) -> Self {
        let core = Core { tasks: Vec::new(), ready: Vec::new(), processes: vec![Process::default()], chance };
        Self {
            core: Mutex::new(core),
            inbox: Arc::default(),
            timers: Timers::default(),
            polls: AtomicU64::new(0),
            current: AtomicU32::new(0),
        }
    }

    /// The virtual time since the beginning.
    pub(crate) fn now(&self) -> Duration {
        self.timers.now()
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// The process whose task is being polled.
    pub(crate) fn current(&self) -> ProcessId {
        ProcessId(self.current.load(Ordering::Relaxed))
    }

    /// How often tasks were polled.
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }

    /// How often tasks of a process were polled.
    pub(crate) fn polls_of(&self, process: ProcessId) -> u64 {
        lock(&self.core).processes.get(process.index()).map_or(0, |process| process.polls)
    }

    /// Begins a process without tasks.
    pub(crate) fn begin_process(&self) -> ProcessId {
        let mut core = lock(&self.core);
        core.processes.push(Process::default());
        ProcessId(u32::try_from(core.processes.len() - 1).unwrap_or(u32::MAX))
    }

    /// Gives a process a task. One of a dead process is dropped.
    pub(crate) fn spawn(&self, process: ProcessId, future: BoxFuture<'static, ()>) {
        let mut core = lock(&self.core);
        let task = u32::try_from(core.tasks.len()).unwrap_or(u32::MAX);
        match core.processes.get_mut(process.index()) {
            Some(process) if !process.dead => process.tasks.push(task),
            _ => {
                drop(core);
                drop(future);
                return;
            }
        }
        let waker = Arc::new(TaskWaker { task, queued: AtomicBool::new(true), inbox: Arc::clone(&self.inbox) });
        core.tasks.push(Task { process, future: Some(future), waker: Some(waker) });
        // Its number is the highest of all, so the end keeps the order.
        core.ready.push(task);
    }

    /// Ends a process between two polls: none of its tasks goes on.
    pub(crate) fn kill(&self, process: ProcessId) {
        let mut core = lock(&self.core);
        let Some(killed) = core.processes.get_mut(process.index()) else { return };
        killed.dead = true;
        killed.parked.clear();
        let tasks = std::mem::take(&mut killed.tasks);
        let gone: Vec<Task> = tasks.iter().filter_map(|task| core.take(*task)).collect();
        // What is dropped may wake or begin other tasks.
        drop(core);
        drop(gone);
    }

    /// Stops polling the tasks of a process, as `SIGSTOP` does.
    pub(crate) fn freeze(&self, process: ProcessId) {
        if let Some(process) = lock(&self.core).processes.get_mut(process.index()) {
            process.frozen = true;
        }
    }

    /// Lets a frozen process go on.
    pub(crate) fn thaw(&self, process: ProcessId) {
        let mut core = lock(&self.core);
        let Some(process) = core.processes.get_mut(process.index()) else { return };
        process.frozen = false;
        for task in std::mem::take(&mut process.parked) {
            core.make_ready(task);
        }
    }

    /// Polls one of the tasks that can go on; lets time pass if there is none.
    pub(crate) fn step(&self) -> Stepped {
        let Some((task, process, mut future, waker)) = self.next() else {
            return if self.timers.advance() { Stepped::Waited } else { Stepped::Idle };
        };
        waker.queued.store(false, Ordering::Relaxed);
        self.current.store(process.0, Ordering::Relaxed);
        self.polls.fetch_add(1, Ordering::Relaxed);
        let waking = Waker::from(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waking))));
        let mut core = lock(&self.core);
        if let Some(process) = core.processes.get_mut(process.index()) {
            process.polls += 1;
        }
        let mut future = Some(future);
        if matches!(polled, Ok(Poll::Pending)) && core.put_back(task, &mut future) {
            return Stepped::Polled(process);
        }
        let gone = core.take(task);
        // What is dropped may wake or begin other tasks.
        drop(core);
        drop((gone, future));
        if polled.is_err() { Stepped::Panicked(process) } else { Stepped::Polled(process) }
    }

    /// Takes the task to be polled next out of its place.
    fn next(&self) -> Option<(u32, ProcessId, BoxFuture<'static, ()>, Arc<TaskWaker>)> {
        let mut core = lock(&self.core);
        for task in lock(&self.inbox.woken).drain(..) {
            core.make_ready(task);
        }
        while !core.ready.is_empty() {
            let length = core.ready.len();
            let place = core.chance.index(length);
            let number = core.ready.remove(place);
            let Some(task) = usize::try_from(number).ok().and_then(|index| core.tasks.get_mut(index)) else { continue };
            let process = task.process;
            if task.future.is_none() {
                continue;
            }
            if let Some(frozen) = core.processes.get_mut(process.index()).filter(|process| process.frozen) {
                frozen.parked.push(number);
                continue;
            }
            let task = usize::try_from(number).ok().and_then(|index| core.tasks.get_mut(index));
            if let Some(Task { future, waker: Some(waker), .. }) = task
                && let Some(future) = future.take()
            {
                return Some((number, process, future, Arc::clone(waker)));
            }
        }
        None
    }

    /// Drops all tasks: they may hold what holds this executor.
    pub(crate) fn clear(&self) {
        let processes = lock(&self.core).processes.len();
        for process in 0..processes {
            self.kill(ProcessId(u32::try_from(process).unwrap_or(u32::MAX)));
        }
    }
}

impl Core {
    fn make_ready(&mut self, task: u32) {
        if let Err(place) = self.ready.binary_search(&task) {
            self.ready.insert(place, task);
        }
    }

    /// Takes a task away for good.
    fn take(&mut self, task: u32) -> Option<Task> {
        let slot = self.tasks.get_mut(usize::try_from(task).ok()?)?;
        Some(Task { process: slot.process, future: slot.future.take(), waker: slot.waker.take() })
    }

    /// Puts a polled task back, unless its process was killed meanwhile.
    fn put_back(&mut self, task: u32, future: &mut Option<BoxFuture<'static, ()>>) -> bool {
        let Some(slot) = usize::try_from(task).ok().and_then(|index| self.tasks.get_mut(index)) else { return false };
        let alive = slot.waker.is_some();
        if alive {
            slot.future = future.take();
        }
        alive
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("now", &self.now()).field("polls", &self.polls()).finish_non_exhaustive()
    }
}

/// Lets every other task that can go on have a chance to be first.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(executor: &Executor) {
        while executor.step() != Stepped::Idle {}
    }

    #[test]
    fn time_jumps_when_nobody_can_go_on() {
        let executor = Arc::new(Executor::new(Chance::new(1)));
        let (woken, at) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&executor));
        for seconds in [3, 1, 2] {
            let (woken, at) = (Arc::clone(&woken), Arc::clone(&at));
            let task = async move {
                at.timers().sleep(Duration::from_secs(seconds)).await;
                lock(&woken).push(at.now().as_secs());
            };
            executor.spawn(ProcessId::WORLD, Box::pin(task));
        }
        run(&executor);
        assert_eq!(*lock(&woken), [1, 2, 3]);
    }

    #[test]
    fn a_killed_process_does_nothing_more() {
        let executor = Arc::new(Executor::new(Chance::new(1)));
        let process = executor.begin_process();
        let done = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let done = Arc::clone(&done);
            executor.spawn(
                process,
                Box::pin(async move {
                    yield_now().await;
                    done.fetch_add(1, Ordering::Relaxed);
                }),
            );
        }
        executor.step();
        executor.kill(process);
        run(&executor);
        assert_eq!((done.load(Ordering::Relaxed), executor.polls_of(process)), (0, 1));
        executor.spawn(process, Box::pin(async {}));
        assert_eq!(executor.step(), Stepped::Idle);
    }

    #[test]
    fn a_frozen_process_goes_on_when_it_thaws() {
        let executor = Arc::new(Executor::new(Chance::new(1)));
        let process = executor.begin_process();
        let done = Arc::new(AtomicBool::new(false));
        let (at, ends) = (Arc::clone(&executor), Arc::clone(&done));
        executor.spawn(
            process,
            Box::pin(async move {
                at.timers().sleep(Duration::from_secs(1)).await;
                ends.store(true, Ordering::Relaxed);
            }),
        );
        executor.step();
        executor.freeze(process);
        run(&executor);
        assert!(!done.load(Ordering::Relaxed));
        executor.thaw(process);
        run(&executor);
        assert!(done.load(Ordering::Relaxed));
    }

    #[test]
    fn a_panic_ends_its_task_alone() {
        let executor = Executor::new(Chance::new(1));
        executor.spawn(ProcessId::WORLD, Box::pin(async { panic!("on purpose") }));
        assert_eq!(executor.step(), Stepped::Panicked(ProcessId::WORLD));
        assert_eq!(executor.step(), Stepped::Idle);
    }
}
