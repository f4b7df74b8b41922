//! `Sim`: what all parts of a simulated world share.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::change::{Change, Circumstances};
use super::clock::SimClock;
use super::events::Happening;
use super::executor::{Executor, ProcessId, lock};
use super::faults::Faults;
use super::invariants::{Invariant, Violation};
use super::ledger::{Ledger, Told};
use super::trace::Trace;
use crate::clock::Clock;

/// What all parts of a simulated world share.
pub(crate) struct Sim {
    pub(crate) executor: Arc<Executor>,
    /// The time of the world: the one clock that is right.
    pub(crate) clock: SimClock,
    /// Counts the names that were given.
    pub(crate) names: Arc<AtomicU64>,
    violated: AtomicBool,
    /// Wakes those who wait for something to become true.
    changed: Notify,
    state: Mutex<State>,
}

/// What changes while a world is simulated.
pub(crate) struct State {
    pub(crate) trace: Trace,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) invariants: Vec<Box<dyn Invariant>>,
    pub(crate) violation: Option<Violation>,
    /// What each process is called.
    pub(crate) processes: Vec<String>,
    /// How often each thing happened to the world.
    pub(crate) happened: [u64; Happening::ALL.len()],
    pub(crate) effects: u64,
    /// How many effects are still on their way that nobody waits for.
    pub(crate) underway: u64,
    /// How often the store went back in time.
    pub(crate) restores: u64,
}

impl Sim {
    pub(crate) fn new(executor: Executor, trace: Trace, faults: Faults, invariants: Vec<Box<dyn Invariant>>) -> Self {
        let executor = Arc::new(executor);
        let state = State {
            trace,
            ledger: Ledger::default(),
            faults,
            invariants,
            violation: None,
            processes: vec!["world".to_owned()],
            happened: [0; Happening::ALL.len()],
            effects: 0,
            underway: 0,
            restores: 0,
        };
        Self {
            clock: SimClock::new(Arc::clone(&executor)),
            executor,
            names: Arc::default(),
            violated: AtomicBool::new(false),
            changed: Notify::new(),
            state: Mutex::new(state),
        }
    }

    /// Reads or changes what is shared. Nothing is awaited meanwhile.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.state))
    }

    /// Waits in virtual time.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.executor.timers().sleep(duration).await;
    }

    /// Begins a process of this name.
    pub(crate) fn begin_process(&self, name: String) -> ProcessId {
        let process = self.executor.begin_process();
        self.with(|state| state.processes.push(name));
        process
    }

    /// Writes a line into the trace.
    pub(crate) fn tell(&self, process: ProcessId, what: fmt::Arguments<'_>) {
        let (at, polls) = (self.executor.now(), self.executor.polls());
        self.with(|state| state.tell(at, polls, process, what));
    }

    /// Writes a line that only those see who want to see all.
    pub(crate) fn remark(&self, process: ProcessId, what: fmt::Arguments<'_>) {
        let (at, polls) = (self.executor.now(), self.executor.polls());
        self.with(|state| {
            let who = state.processes.get(process.index()).map_or("", String::as_str);
            state.trace.remark(at, polls, who, what);
        });
    }

    /// Writes down what has become true, and checks that it may.
    pub(crate) fn change(&self, process: ProcessId, change: &Change<'_>) {
        let (at, polls) = (self.executor.now(), self.executor.polls());
        let straggles = self.executor.current() != process;
        let now = self.clock.now();
        self.with(|state| {
            let circumstances = Circumstances { at, now, process, troubled: state.faults.troubled, straggles };
            // A container that is looked at and has not changed is no change.
            if let Change::ContainerSeen(observed) = change
                && state
                    .ledger
                    .container(&observed.name)
                    .is_some_and(|known| known.state == observed.state && known.started_at == observed.started_at)
            {
                return;
            }
            let trace = &mut state.trace;
            let who = state.processes.get(process.index()).map_or("", String::as_str);
            trace.write(at, polls, who, format_args!("{}", Told(&state.ledger, change)));
            state.effects += u64::from(matches!(change, Change::Asked { .. }));
            let mut broken = None;
            for invariant in &mut state.invariants {
                if let Err(how) = invariant.before(&state.ledger, change, &circumstances) {
                    broken = broken.or(Some((invariant.name(), how)));
                }
            }
            state.ledger.apply(change, &circumstances);
            for invariant in &mut state.invariants {
                if let Err(how) = invariant.after(&state.ledger, change, &circumstances) {
                    broken = broken.or(Some((invariant.name(), how)));
                }
            }
            if let Some((invariant, how)) = broken {
                state.violate(Violation { invariant, how, at });
                self.violated.store(true, Ordering::Relaxed);
            }
        });
        self.changed.notify_waiters();
    }

    /// Waits until something is true, at most for `longest`; whether it is.
    pub(crate) async fn until(&self, longest: Duration, condition: impl Fn(&Ledger) -> bool) -> bool {
        let end = self.executor.now().saturating_add(longest);
        loop {
            // Listen before looking, or a change in between would be missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.with(|state| condition(&state.ledger)) {
                return true;
            }
            let rest = end.saturating_sub(self.executor.now());
            if rest.is_zero() {
                return false;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.sleep(rest) => {}
            }
        }
    }

    /// Notes that something happened to the world.
    pub(crate) fn happened(&self, what: Happening) {
        self.with(|state| {
            if let Some(count) = state.happened.get_mut(what.index()) {
                *count += 1;
            }
        });
    }

    /// Ends the run as failed, unless it has failed already.
    pub(crate) fn violate(&self, invariant: &'static str, how: String) {
        let at = self.executor.now();
        self.with(|state| state.violate(Violation { invariant, how, at }));
        self.violated.store(true, Ordering::Relaxed);
    }

    /// Whether the run has failed.
    pub(crate) fn is_violated(&self) -> bool {
        self.violated.load(Ordering::Relaxed)
    }
}

impl State {
    fn tell(&mut self, at: Duration, polls: u64, process: ProcessId, what: fmt::Arguments<'_>) {
        let who = self.processes.get(process.index()).map_or("", String::as_str);
        self.trace.write(at, polls, who, what);
    }

    fn violate(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.violation = Some(violation);
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("executor", &self.executor).finish_non_exhaustive()
    }
}
