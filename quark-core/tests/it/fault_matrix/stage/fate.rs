//! What happens to one process: the calls at which it is stopped, which of them
//! fail, when it stands still and when it dies.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use quark_core::backend::{Commit, ContainerSpec, Route};
use quark_core::deployment::StepPhase;
use quark_core::{Error, ErrorKind, Result, StepName};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a call is about, for those who choose among calls.
#[derive(Clone, Copy)]
pub(crate) enum Detail<'a> {
    Nothing,
    Commit(&'a Commit),
    Route(&'a Route),
    Spec(&'a ContainerSpec),
}

/// One call of the process to the world.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) operation: &'static str,
    pub(crate) detail: Detail<'a>,
}

impl Seen<'_> {
    pub(crate) fn commit(&self) -> Option<&Commit> {
        if let Detail::Commit(commit) = self.detail { Some(commit) } else { None }
    }

    pub(crate) fn route(&self) -> Option<&Route> {
        if let Detail::Route(route) = self.detail { Some(route) } else { None }
    }

    pub(crate) fn spec(&self) -> Option<&ContainerSpec> {
        if let Detail::Spec(spec) = self.detail { Some(spec) } else { None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

type Choice = Box<dyn Fn(&Seen<'_>) -> bool + Send>;

/// Calls that are meant, before or after they have taken effect.
pub(crate) struct Point {
    when: When,
    choice: Choice,
    skipped: usize,
}

impl Point {
    fn new(when: When, choice: impl Fn(&Seen<'_>) -> bool + Send + 'static) -> Self {
        Self { when, choice: Box::new(choice), skipped: 0 }
    }

    /// Not the first of these calls, but the one of this number, and those after it.
    pub(crate) fn from(mut self, number: usize) -> Self {
        self.skipped = number - 1;
        self
    }
}

/// Calls whose name begins like this, before they are made.
pub(crate) fn before(operation: &'static str) -> Point {
    Point::new(When::Before, move |seen| seen.operation.starts_with(operation))
}

/// Calls whose name begins like this, when they were made and nobody was told.
pub(crate) fn after(operation: &'static str) -> Point {
    Point::new(When::After, move |seen| seen.operation.starts_with(operation))
}

/// The writes that this is true of, before they are made.
pub(crate) fn before_commit(choice: impl Fn(&Commit) -> bool + Send + 'static) -> Point {
    Point::new(When::Before, move |seen| seen.commit().is_some_and(&choice))
}

/// The writes that this is true of, when they were made and nobody was told.
pub(crate) fn after_commit(choice: impl Fn(&Commit) -> bool + Send + 'static) -> Point {
    Point::new(When::After, move |seen| seen.commit().is_some_and(&choice))
}

/// Routes that this is true of, before they are applied.
pub(crate) fn before_route(choice: impl Fn(&Route) -> bool + Send + 'static) -> Point {
    Point::new(When::Before, move |seen| seen.route().is_some_and(&choice))
}

/// Whether a write holds the intent of a step.
pub(crate) fn begins(step: StepName) -> impl Fn(&Commit) -> bool + Send {
    move |commit| commit.steps.iter().any(|record| record.name == step && record.phase == StepPhase::Intent)
}

/// Whether a write holds the outcome of a step.
pub(crate) fn ends(step: StepName) -> impl Fn(&Commit) -> bool + Send {
    move |commit| commit.steps.iter().any(|record| record.name == step && record.phase != StepPhase::Intent)
}

/// It was surely not done.
pub(crate) fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "nobody answers")
}

/// It may have been done.
pub(crate) fn silence() -> Error {
    Error::new(ErrorKind::Timeout, "no answer came in time")
}

/// More calls than any of these tests makes in good order.
const MOST: usize = 200_000;

enum Then {
    Hold(watch::Sender<Passage>),
    Fail { why: fn() -> Error, met: watch::Sender<usize> },
    Tell(Box<dyn FnMut(&Seen<'_>) + Send>),
}

struct Rule {
    number: u64,
    point: Point,
    left: usize,
    then: Then,
}

/// Who has come to a gate, and whether it is open.
#[derive(Default)]
struct Passage {
    reached: bool,
    verdict: Option<Result<(), fn() -> Error>>,
}

/// Where a process is stopped until it is let go, or killed.
pub(crate) struct Gate(watch::Sender<Passage>);

impl Gate {
    /// Waits until the process has come here.
    pub(crate) async fn reached(&self) {
        let reached = async { self.0.subscribe().wait_for(|passage| passage.reached).await.map(drop) };
        super::soon("the gate is reached", reached).await.unwrap();
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.0.borrow().reached
    }

    /// Lets the process go on.
    pub(crate) fn open(&self) {
        self.0.send_modify(|passage| passage.verdict = Some(Ok(())));
    }

    /// Lets the process go on with an error instead of the call.
    pub(crate) fn refuse(&self, why: fn() -> Error) {
        self.0.send_modify(|passage| passage.verdict = Some(Err(why)));
    }
}

/// Calls that fail until this is ended.
pub(crate) struct Outage {
    fate: Fate,
    number: u64,
    met: watch::Sender<usize>,
}

impl Outage {
    /// Waits until that many calls have failed.
    pub(crate) async fn met(&self, count: usize) {
        let met = async { self.met.subscribe().wait_for(|met| *met >= count).await.map(drop) };
        super::soon("the outage is met", met).await.unwrap();
    }

    pub(crate) fn end(self) {
        self.fate.rules().retain(|rule| rule.number != self.number);
    }
}

/// What happens to one process. Clones are the fate of the same process.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    numbers: Mutex<u64>,
    calls: Mutex<Vec<&'static str>>,
    dead: CancellationToken,
    frozen: watch::Sender<bool>,
}

impl fmt::Debug for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fate").field("dead", &self.shared.dead.is_cancelled()).finish_non_exhaustive()
    }
}

impl Fate {
    /// Stops the process at the next such call.
    pub(crate) fn hold(&self, point: Point) -> Gate {
        let passage = watch::Sender::default();
        self.add(point, 1, Then::Hold(passage.clone()));
        Gate(passage)
    }

    /// Makes such calls fail; one that is chosen `after` has taken effect all the same.
    pub(crate) fn fail(&self, point: Point, why: fn() -> Error) -> Outage {
        self.fail_times(point, usize::MAX, why)
    }

    /// As [`fail`](Self::fail), that often.
    pub(crate) fn fail_times(&self, point: Point, times: usize, why: fn() -> Error) -> Outage {
        let met = watch::Sender::default();
        let number = self.add(point, times, Then::Fail { why, met: met.clone() });
        Outage { fate: self.clone(), number, met }
    }

    /// Tells of such calls.
    pub(crate) fn tell(&self, point: Point, listener: impl FnMut(&Seen<'_>) + Send + 'static) {
        self.add(point, usize::MAX, Then::Tell(Box::new(listener)));
    }

    /// Ends the process as SIGKILL does: nothing of it ever goes on.
    pub(crate) fn kill(&self) {
        self.shared.dead.cancel();
    }

    /// Makes the process stand still, as a machine that is paused.
    pub(crate) fn freeze(&self) {
        self.shared.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.shared.frozen.send_replace(false);
    }

    /// The names of the calls that were made, in their order.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// How many calls of this name were made.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.calls().into_iter().filter(|call| *call == operation).count()
    }

    fn add(&self, point: Point, left: usize, then: Then) -> u64 {
        let mut numbers = self.shared.numbers.lock().unwrap();
        *numbers += 1;
        self.rules().push(Rule { number: *numbers, point, left, then });
        *numbers
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.shared.rules.lock().unwrap()
    }

    /// Goes on only while the process lives.
    pub(crate) async fn alive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.shared.dead.cancelled() => std::future::pending().await,
            done = work => done,
        }
    }

    /// Goes on only while the process does not stand still.
    pub(crate) async fn thawed(&self) {
        // The sender lives in `self`.
        let _ = self.shared.frozen.subscribe().wait_for(|frozen| !frozen).await;
    }

    /// Whether the process calls on and on without ever waiting.
    pub(crate) fn spins(&self) -> bool {
        self.shared.calls.lock().unwrap().len() >= MOST
    }

    /// One call to the world.
    pub(crate) async fn pass<T>(
        &self,
        operation: &'static str,
        detail: Detail<'_>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let seen = Seen { operation, detail };
        let passed = async {
            self.thawed().await;
            self.note(operation);
            self.meet(When::Before, &seen).await?;
            let done = work.await;
            self.thawed().await;
            self.meet(When::After, &seen).await?;
            done
        };
        self.alive(passed).await
    }

    fn note(&self, operation: &'static str) {
        let mut calls = self.shared.calls.lock().unwrap();
        calls.push(operation);
        let spins = calls.len() >= MOST;
        drop(calls);
        // On paused time a loop without a pause would never let anything else go on.
        assert!(!spins, "the process spins at `{operation}`");
    }

    async fn meet(&self, when: When, seen: &Seen<'_>) -> Result<()> {
        let Some(passage) = self.look_up(when, seen)? else { return Ok(()) };
        let mut passage = passage.subscribe();
        // It fails only when the sender is gone, and the rule has it.
        let open = passage.wait_for(|passage| passage.verdict.is_some()).await;
        let verdict = open.ok().and_then(|passage| passage.verdict);
        verdict.map_or(Ok(()), |verdict| verdict.map_err(|why| why()))
    }

    /// The gate that the call has come to, if it has come to one.
    fn look_up(&self, when: When, seen: &Seen<'_>) -> Result<Option<watch::Sender<Passage>>> {
        for rule in self.rules().iter_mut() {
            if rule.left == 0 || rule.point.when != when || !(rule.point.choice)(seen) {
                continue;
            }
            if rule.point.skipped > 0 {
                rule.point.skipped -= 1;
                continue;
            }
            rule.left -= 1;
            match &mut rule.then {
                Then::Tell(listener) => listener(seen),
                Then::Fail { why, met } => {
                    met.send_modify(|met| *met += 1);
                    return Err(why());
                }
                Then::Hold(passage) => {
                    passage.send_modify(|passage| passage.reached = true);
                    return Ok(Some(passage.clone()));
                }
            }
        }
        Ok(None)
    }
}
