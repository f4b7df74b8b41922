//! Does what was decided: the intent is committed, then the effect is done,
//! then its outcome is committed, together with the next intent. An engine that
//! dies between any two lines is followed by one that meets an intent without
//! an outcome and does the step again; every step observes before it acts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::admission;
use super::decide::{Decision, deadline, decide, last};
use super::draft::Draft;
use super::log::DeploymentLog;
use super::retirement::decide_retirement;
use super::settle;
use super::shared::Shared;
use super::step::{self, StepContext};
use crate::backend::{Call, ClaimToken, HandBack, JobKind, Lease, Metric, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{
    DeploymentId, EventKind, Failure, Shortage, State, StepName, StepOutput, StepPhase, StepRecord,
};
use crate::planted::planted;
use crate::platform::Task;
use crate::{Error, ErrorClass, ErrorKind, Result};

/// How a burst of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burst {
    /// Nothing is left to do.
    Finished,
    /// Nothing is left to do, and lease and job were given back with the last write.
    HandedBack,
    /// Something is left to do at this time.
    Parked(Timestamp),
    /// The engine shuts down; another one goes on.
    Interrupted,
}

/// How long a deployment waits for another one of its app before it looks again.
pub(super) const BUSY: Duration = Duration::from_millis(250);

/// How often what is live is looked after while a step takes long.
pub(super) const MEANWHILE: Duration = Duration::from_secs(5);
/// How often a hook is looked at that runs beside what serves.
const HOOK: Duration = Duration::from_secs(2);
/// How long to wait for a store that does not answer.
const AWAY: Duration = Duration::from_millis(500);

/// How long a backend may go on after its time, and after it was told to stop.
pub(super) const UNHEARD: Duration = Duration::from_secs(600);

/// Drives one deployment while the lease lasts.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    /// The claim of the job that asked for the work, if one did.
    pub(super) claim: Option<ClaimToken>,
    pub(super) log: Arc<DeploymentLog>,
    /// Somebody wants the deployment to stop.
    pub(super) cancelled: CancellationToken,
    /// The lease is lost.
    pub(super) lost: CancellationToken,
    /// The lease is about to be given back: that it is gone means nothing.
    pub(super) leaving: Arc<AtomicBool>,
}

/// What became of a write.
enum Written {
    Yes,
    /// Nothing was written: somebody has asked the deployment to stop, or wrote
    /// something else first. Read it again, decide again.
    ReadAgain,
    /// Nothing was written: another deployment of the app comes first.
    Busy,
    /// Nothing was written: the machine has no room for what it makes.
    NoRoom(Error),
}

impl Driver {
    /// Works until nothing is left to do now. `snapshot` was read under the lease.
    pub(super) async fn run(&self, kind: JobKind, snapshot: Snapshot) -> Result<Burst> {
        let id = snapshot.deployment.id;
        let mut draft = Draft::of(snapshot);
        let mut place = None;
        loop {
            if self.shared.safe_mode.is_on() {
                // Nothing is written either: the store is what is doubted.
                return Ok(Burst::Interrupted);
            }
            if self.lost.is_cancelled() {
                // Somebody else may be at work on the app by now: nothing more is tried, or written.
                return Err(Error::new(ErrorKind::Fenced, "the lease was lost between two steps"));
            }
            if self.shared.stopping.is_cancelled() {
                return self.leave(&draft, Burst::Interrupted).await;
            }
            if self.cancelled.is_cancelled() && draft.snapshot().deployment.cancel.is_none() && draft.is_empty() {
                draft = self.read(id).await?;
            }
            let now = self.shared.now();
            let decision = match kind {
                JobKind::Deploy => decide(draft.snapshot(), now),
                JobKind::Retire => {
                    let busy = self.is_busy(draft.snapshot()).await?;
                    let hooked = self.has_hook_for_retired(draft.snapshot()).await?;
                    decide_retirement(draft.snapshot(), now, busy, hooked)
                }
            };
            tracing::debug!(deployment = %id, state = %draft.snapshot().deployment.state, ?decision, "decided");
            if let Some(wait) = self.waits_for_place(&mut place, draft.snapshot(), &decision).await? {
                return self.leave(&draft, Burst::Parked(self.shared.now().after(wait))).await;
            }
            if let Some(burst) = Box::pin(self.follow(&mut draft, decision, now)).await? {
                return self.leave(&draft, burst).await;
            }
        }
    }

    /// Writes what was decided and not written; with the last write goes back what
    /// is held.
    async fn leave(&self, draft: &Draft, burst: Burst) -> Result<Burst> {
        if draft.is_empty() {
            return Ok(burst);
        }
        let mut last = draft.clone();
        let finished = burst == Burst::Finished;
        if finished {
            last.hand_back(HandBack { claim: self.claim });
            self.leaving.store(true, Ordering::Relaxed);
        }
        let written = self.write(&mut last).await;
        self.leaving.store(finished && matches!(written, Ok(Written::Yes)), Ordering::Relaxed);
        match written? {
            Written::Yes if finished => Ok(Burst::HandedBack),
            Written::Yes => Ok(burst),
            Written::ReadAgain | Written::NoRoom(_) => Ok(Burst::Parked(self.shared.now())),
            Written::Busy => Ok(Burst::Parked(self.shared.now().after(BUSY))),
        }
    }

    async fn follow(&self, draft: &mut Draft, decision: Decision, now: Timestamp) -> Result<Option<Burst>> {
        match decision {
            Decision::Done => return Ok(Some(Burst::Finished)),
            Decision::Wait(until) => return Ok(Some(Burst::Parked(until))),
            Decision::Run(StepName::PostPromote) => return self.run_hook_and_watch(draft).await,
            Decision::Run(step) => return self.step(draft, step).await,
            // Nobody waits for a retirement: it does not hold the app meanwhile.
            Decision::Retry(StepName::Drain | StepName::Retire | StepName::PostRetire, due) if due > now => {
                return Ok(Some(Burst::Parked(due)));
            }
            Decision::Retry(step, due) => {
                let after = due.since(now);
                self.log.say(&format!("{step} is tried again in {after:?}"));
                if let Some(instead) = self.put_down(draft).await? {
                    return Ok(instead);
                }
                // A cancel ends the wait once; whether there is one is in the store only.
                let told = self.cancelled.is_cancelled();
                if told && draft.snapshot().deployment.cancel.is_none() {
                    *draft = self.read(draft.snapshot().deployment.id).await?;
                    if draft.snapshot().deployment.cancel.is_some() {
                        return Ok(None);
                    }
                }
                let hears = !told && step::can_be_cancelled(step);
                if !self.pause(after, hears).await {
                    return Ok(Some(Burst::Interrupted));
                }
                if hears && self.cancelled.is_cancelled() {
                    return Ok(None);
                }
                return self.step(draft, step).await;
            }
            Decision::Admit => draft.admit(now),
            Decision::Go(to, failure) => settle::gone(draft, to, failure),
            Decision::Ask => draft.ask(self.shared.platform.unique().to_string(), now)?,
            Decision::Watch(until) => return self.watch(draft, until).await,
            Decision::Settle(outcome) => draft.decided(outcome, now),
            Decision::Bake => return self.bake(draft).await,
            Decision::Hold => return self.hold_share(draft).await,
            Decision::Vacate => settle::retired(draft),
            Decision::Finish(conclusion) => {
                if draft.snapshot().deployment.state == State::Baking {
                    // An engine that died has left what serves to whoever goes on.
                    self.mend_meanwhile(draft).await?;
                    if draft.snapshot().deployment.state != State::Baking {
                        return Ok(None);
                    }
                }
                draft.finish(conclusion, now);
            }
        }
        Ok(None)
    }

    /// One step under the write-ahead protocol: its intent is written with all
    /// that was decided before; its outcome is in the draft afterwards.
    pub(super) async fn step(&self, draft: &mut Draft, step: StepName) -> Result<Option<Burst>> {
        let id = draft.snapshot().deployment.id;
        if self.shared.safe_mode.is_on() {
            return Ok(Some(Burst::Interrupted));
        }
        let context =
            StepContext { shared: Arc::clone(&self.shared), lease: self.lease.clone(), log: Arc::clone(&self.log) };
        if step == StepName::Clear {
            // What stands by is about to go: what is live must run.
            self.look_after_live(&draft.share()).await;
        }
        // Not what counts as a death: what this engine broke off itself was begun, too.
        let resumed = last(draft.snapshot(), step).is_some_and(|record| record.phase == StepPhase::Intent);
        let (began, now) = (self.shared.clock.monotonic(), self.shared.now());
        let record = self.begin(draft, step, now);
        // How much time it has is settled here: from now on it passes as it does
        // on this machine, also if the store's clock is set meanwhile.
        let until = began.saturating_add(record.deadline.since(now));
        let decided = draft.clone();
        if let Err(error) = step::plan(&context, draft, step, resumed).await {
            *draft = decided;
            if error.code() == step::STORE_AWAY {
                // Nothing was tried, so no try is used up.
                self.write_or_read(draft).await?;
                return Err(error);
            }
            if error.code() == admission::WAITS {
                self.look_after_live(&draft.share()).await;
                let again = error.retry_after().unwrap_or(BUSY);
                return Ok(Some(Burst::Parked(self.shared.now().after(again))));
            }
            self.refuse(draft, record, &error);
            return Ok(None);
        }
        match step.hook() {
            // It is gone on with again and again.
            Some(_) if resumed => {}
            hook => {
                draft.tell(EventKind::StepStarted { step, attempt: record.attempt });
                if let Some(hook) = hook.filter(|_| record.attempt == 1) {
                    draft.tell(EventKind::HookStarted { hook });
                }
            }
        }
        draft.step(record.clone());
        if step::yields_to_cancel(step) && !planted!(CancelIgnored) {
            // This row decides between a cancel and the promotion.
            draft.unless_cancelled();
        }
        if planted!(EffectBeforeIntent) {
            let _ = self.effect(&context, draft.share(), &record, until).await;
        }
        match self.write(draft).await? {
            Written::Yes => {}
            Written::Busy => return self.wait_for_turn(draft).await,
            Written::NoRoom(error) => {
                *draft = decided;
                let error = self.shared.explain_refusal(draft, error).await;
                self.refuse(draft, record, &error);
                return Ok(None);
            }
            Written::ReadAgain => {
                // What was done before is written all the same.
                *draft = decided;
                self.write_or_read(draft).await?;
                *draft = self.read(id).await?;
                return Ok(None);
            }
        }
        let began = self.shared.clock.monotonic();
        let outcome = self.effect(&context, draft.share(), &record, until).await;
        let took = self.shared.clock.monotonic().saturating_sub(began);
        self.settle(draft, record, outcome, took).await
    }

    /// A step is not begun, because of this; nothing was done for it.
    fn refuse(&self, draft: &mut Draft, record: StepRecord, error: &Error) {
        let mut failure = Failure::from_error(record.name, error);
        if Shortage::of_code(error.code()).is_some() {
            // No step has failed: there is no room for it.
            failure.step = None;
        }
        self.shared.count_refusal(error);
        settle::fail(draft, record, failure, self.shared.now());
    }

    /// Writes what was decided before something is waited for. `Some` says what
    /// to do instead, if it could not be written.
    pub(super) async fn put_down(&self, draft: &mut Draft) -> Result<Option<Option<Burst>>> {
        if draft.is_empty() {
            return Ok(None);
        }
        match self.write(draft).await? {
            Written::Yes => Ok(None),
            Written::Busy => Ok(Some(self.wait_for_turn(draft).await?)),
            Written::ReadAgain | Written::NoRoom(_) => {
                *draft = self.read(draft.snapshot().deployment.id).await?;
                Ok(Some(None))
            }
        }
    }

    fn begin(&self, draft: &Draft, step: StepName, now: Timestamp) -> StepRecord {
        let deployment = &draft.snapshot().deployment;
        let mut until = now.after(step::limit(step, &deployment.release));
        if !step::has_its_own_time(step) {
            until = deadline(deployment).map_or(until, |total| until.min(total));
        }
        let mut record = settle::begin(draft, step, until, now);
        if step::is_cleanup(step) {
            // Cleaning up gets its time anew: it must happen.
            record.deadline = until;
        }
        if record.resumed > 0 && self.shared.was_broken_off(deployment.id) {
            record.resumed -= 1;
        }
        record.fence = self.lease.fence;
        record
    }

    async fn settle(
        &self,
        draft: &mut Draft,
        mut record: StepRecord,
        outcome: Result<StepOutput>,
        took: Duration,
    ) -> Result<Option<Burst>> {
        let step = record.name;
        if self.lost.is_cancelled() {
            return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a step"));
        }
        if let Err(error) = &outcome {
            if error.kind() == ErrorKind::Fenced {
                // Nothing more is touched, and nothing is said: somebody else does.
                return Err(self.shared.doubt_if_held(&self.lease, error).await);
            }
            if self.shared.stopping.is_cancelled() && step::is_interruptible(step) {
                // The intent stays; the next engine does the step again. A
                // shutdown is not a death, so it does not count as one.
                draft.step(StepRecord { resumed: record.resumed.saturating_sub(1), ..record });
                return Ok(Some(Burst::Interrupted));
            }
            if error.code() == step::STILL_RUNS {
                // Nobody has died of it: it is looked at again.
                draft.step(StepRecord { resumed: record.resumed.saturating_sub(1), ..record });
                return Ok(Some(Burst::Parked(self.shared.now().after(HOOK))));
            }
            if let Some(code) = step::exit_code(error) {
                record.output = Some(StepOutput { exit_code: Some(code), ..StepOutput::default() });
            }
        }
        self.shared.metrics.record(Metric::StepCompleted { step, succeeded: outcome.is_ok(), took });
        let now = self.shared.now();
        match outcome {
            Ok(output) => settle::succeed(draft, record, output, &self.shared.config.base_domain, now),
            Err(error) => {
                let mut failure = Failure::from_error(step, &error);
                if step::uses_its_time_up(step) && now >= record.deadline {
                    // It had all the time that there is; another try would take as long.
                    failure.class = ErrorClass::Permanent;
                }
                self.log.say(&failure.to_string());
                let id = draft.snapshot().deployment.id;
                tracing::info!(deployment = %id, %step, report = error.report(), "a step failed");
                if self.cancelled.is_cancelled() && draft.snapshot().deployment.cancel.is_none() {
                    // Whether it failed or was stopped is in the store only.
                    *draft = self.read(id).await?;
                    let known = super::decide::last(draft.snapshot(), step);
                    if known.is_none_or(|known| known.attempt != record.attempt || known.phase != StepPhase::Intent) {
                        // The store went back to before the step was intended: nothing follows from it.
                        return Ok(None);
                    }
                }
                settle::fail(draft, record, failure, now);
            }
        }
        if draft.snapshot().deployment.state.is_terminal() {
            // Who reads the log of a deployment that has ended must find all of it.
            self.log.flush().await;
        }
        Ok(None)
    }

    /// Does a step's effect in a task of its own, so that a panic of a backend
    /// is an error and a dropped driver leaves no half-awaited call. `until` is
    /// when its time is over, by the monotonic clock.
    async fn effect(
        &self,
        context: &StepContext,
        snapshot: Arc<Snapshot>,
        record: &StepRecord,
        until: Duration,
    ) -> Result<StepOutput> {
        let step = record.name;
        let key = format!("{}:{step}", snapshot.deployment.id);
        let timeout = until.saturating_sub(self.shared.clock.monotonic()).max(Duration::from_millis(1));
        let call = Call::new(key, self.lease.fence, timeout).with_clock(Arc::clone(&self.shared.clock));
        let cancel = call.cancel.clone();
        let (context, deadline) = (context.clone(), record.deadline);
        let looked_after = Arc::clone(&snapshot);
        let work = async move { step::run(&context, &snapshot, step, &call, deadline).await };
        let mut task = Task::spawn(&self.shared.platform, work);
        // It measures its time itself; this is for a backend that does not.
        let mut overdue = self.shared.clock.sleep(timeout.saturating_add(UNHEARD));
        let joined = loop {
            tokio::select! {
                biased;
                joined = task.join() => break Some(joined),
                () = self.lost.cancelled() => break None,
                () = self.cancelled.cancelled(), if step::can_be_cancelled(step) => break None,
                () = self.shared.stopping.cancelled(), if step::is_interruptible(step) => break None,
                () = &mut overdue => break None,
                () = self.shared.clock.sleep(MEANWHILE), if step::leaves_live_alone(step) => {}
            }
            self.look_after_live(&looked_after).await;
        };
        let joined = match joined {
            Some(joined) => joined,
            None => {
                cancel.cancel();
                match Box::pin(self.end_of(&mut task, step, &looked_after)).await {
                    Some(joined) => joined,
                    None => {
                        let text = format!("{step} took longer than {timeout:?} and could not be stopped");
                        Err(Error::new(ErrorKind::Timeout, text).with_code("unresponsive_backend"))
                    }
                }
            }
        };
        joined.map_err(|error| error.with_operation(step.as_str())).flatten()
    }

    /// Writes the draft; whether that could be done. If not, it is read again.
    async fn write_or_read(&self, draft: &mut Draft) -> Result<bool> {
        if draft.is_empty() {
            return Ok(true);
        }
        if matches!(self.write(draft).await?, Written::Yes) {
            return Ok(true);
        }
        *draft = self.read(draft.snapshot().deployment.id).await?;
        Ok(false)
    }

    /// Writes the draft. While the store is away it is tried again for as long
    /// as the lease lasts: what was done shall not be done twice for it.
    async fn write(&self, draft: &mut Draft) -> Result<Written> {
        let mut written = self.shared.write(draft, &self.lease).await;
        while let Err(error) = &written
            && matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
            && !self.lost.is_cancelled()
            && self.pause(AWAY, false).await
        {
            written = self.shared.write(draft, &self.lease).await;
        }
        match written {
            Ok(()) => Ok(Written::Yes),
            Err(error) if error.code() == "app_busy" => Ok(Written::Busy),
            Err(error) if error.kind() == ErrorKind::Cancelled => Ok(Written::ReadAgain),
            // The endpoint of somebody else is visible now; so is what was
            // written in between, such as the end of a deployment that waited.
            Err(error) if matches!(error.code(), "endpoint_taken" | "version_changed" | "deployment_ended") => {
                Ok(Written::ReadAgain)
            }
            Err(error) if Shortage::of_code(error.code()).is_some() => Ok(Written::NoRoom(error)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn read(&self, id: DeploymentId) -> Result<Draft> {
        let snapshot = self.shared.store.snapshot(id).await?;
        snapshot.map(Draft::of).ok_or_else(|| crate::backend::store::refusal::deployment_not_found(id))
    }

    /// Waits, unless the engine shuts down; whether the wait is over. A cancel
    /// ends it early, but not where it is the clean-up after a cancel that waits.
    async fn pause(&self, duration: Duration, can_be_cancelled: bool) -> bool {
        tokio::select! {
            biased;
            () = self.shared.clock.sleep(duration) => true,
            () = self.cancelled.cancelled(), if can_be_cancelled => true,
            () = self.lost.cancelled() => true,
            () = self.shared.stopping.cancelled() => false,
        }
    }
}
