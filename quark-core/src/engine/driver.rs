//! Does what was decided: the intent is committed, then the effect is done,
//! then its outcome is committed. An engine that dies between any two lines is
//! followed by one that meets an intent without an outcome and does the step
//! again; every step observes before it acts.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::decide::{Decision, decide, decide_retirement};
use super::log::DeploymentLog;
use super::settle::{self, Change};
use super::shared::Shared;
use super::step::{self, StepContext};
use crate::backend::{Call, Commit, Guard, JobKind, Lease, Metric, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, EventKind, Failure, State, StepName, StepOutput, StepPhase, StepRecord};
use crate::platform::Task;
use crate::{Error, ErrorKind, Result};

/// How a burst of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Burst {
    /// Nothing is left to do.
    Finished,
    /// Something is left to do at this time.
    Parked(Timestamp),
    /// The engine shuts down; another one goes on.
    Interrupted,
}

/// Drives one deployment while the lease lasts.
pub(super) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) log: Arc<DeploymentLog>,
    /// Somebody wants the deployment to stop.
    pub(super) cancelled: CancellationToken,
    /// The lease is lost.
    pub(super) lost: CancellationToken,
    /// Engines have died over this job again and again.
    pub(super) poisoned: bool,
}

impl Driver {
    /// Works until nothing is left to do now.
    pub(super) async fn run(&self, kind: JobKind, id: DeploymentId) -> Result<Burst> {
        loop {
            if self.shared.stopping.is_cancelled() {
                return Ok(Burst::Interrupted);
            }
            let Some(snapshot) = self.shared.store.snapshot(id).await? else { return Ok(Burst::Finished) };
            let decision = match kind {
                JobKind::Deploy => decide(&snapshot),
                JobKind::Retire => {
                    let now = self.shared.clock.now();
                    decide_retirement(&snapshot, now, self.is_busy(&snapshot).await?)
                }
            };
            tracing::debug!(deployment = %id, state = %snapshot.deployment.state, ?decision, "decided");
            let decision = self.unless_poisoned(&snapshot, decision);
            if let Some(burst) = Box::pin(self.follow(snapshot, decision)).await? {
                return Ok(burst);
            }
        }
    }

    async fn follow(&self, snapshot: Snapshot, decision: Decision) -> Result<Option<Burst>> {
        let now = self.shared.clock.now();
        let mut change = Change::of(&snapshot);
        match decision {
            Decision::Done => return Ok(Some(Burst::Finished)),
            Decision::Wait(until) => return Ok(Some(Burst::Parked(until))),
            Decision::Run(step) => self.step(snapshot, step).await?,
            // Nobody waits for a retirement: it does not hold the app meanwhile.
            Decision::Retry(StepName::Drain | StepName::Retire, due) if due > now => {
                return Ok(Some(Burst::Parked(due)));
            }
            Decision::Retry(step, due) => {
                let after = due.since(now);
                self.log.say(&format!("{step} is tried again in {after:?}"));
                if !self.pause(after, step::can_be_cancelled(step)).await {
                    return Ok(Some(Burst::Interrupted));
                }
                self.step(self.reload(snapshot.deployment.id).await?, step).await?;
            }
            Decision::Admit => {
                change.go(State::Admitted);
                change.deployment.started_at = Some(now);
                match self.commit(&snapshot, change, true, true).await {
                    Err(error) if error.code() == "app_busy" => {
                        return Ok(Some(Burst::Parked(now.after(Duration::from_millis(250)))));
                    }
                    // Somebody cancelled it meanwhile: decide again.
                    Err(error) if error.kind() == ErrorKind::Cancelled => {}
                    outcome => outcome?,
                }
            }
            Decision::Go(to, failure) => {
                if to == State::Probing {
                    // A warm rollback: it goes where the standby is.
                    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
                    change.deployment.slot = standby.map(|standby| standby.occupant.slot);
                }
                if failure.is_some() {
                    change.deployment.failure = failure;
                }
                change.go(to);
                self.commit(&snapshot, change, false, false).await?;
            }
            Decision::Finish(conclusion) => {
                change.finish(conclusion, now);
                self.commit(&snapshot, change, false, false).await?;
            }
        }
        Ok(None)
    }

    /// One step under the write-ahead protocol.
    async fn step(&self, snapshot: Snapshot, step: StepName) -> Result<()> {
        let context =
            StepContext { shared: Arc::clone(&self.shared), lease: self.lease.clone(), log: Arc::clone(&self.log) };
        let now = self.shared.clock.now();
        let deadline = now.after(step::limit(step, &snapshot.deployment.release));
        let mut record = settle::begin(&snapshot, step, deadline, now);
        let resumed = super::decide::last(&snapshot, step).is_some_and(|last| last.phase == StepPhase::Intent);
        if step::is_cleanup(step) {
            // Cleaning up gets its time anew: it must happen.
            record.deadline = deadline;
        }
        record.fence = self.lease.fence;
        let planned = match step::plan(&context, &snapshot, step, resumed).await {
            Ok(planned) => planned,
            Err(error) => {
                let record_failed = settle::fail(&snapshot, record, Failure::from_error(step, &error), now);
                return self.commit(&snapshot, record_failed, false, false).await;
            }
        };
        let mut intent = planned.unwrap_or_else(|| Change::of(&snapshot));
        intent.events.push(EventKind::StepStarted { step, attempt: record.attempt });
        intent.step = Some(record.clone());
        // This row decides between a cancel and the promotion.
        match self.commit(&snapshot, intent, step::yields_to_cancel(step), false).await {
            // Decide again: the cancel, or the endpoint of somebody else, is visible now.
            Err(error) if error.kind() == ErrorKind::Cancelled || error.code() == "endpoint_taken" => return Ok(()),
            outcome => outcome?,
        }
        let snapshot = self.reload(snapshot.deployment.id).await?;
        let began = self.shared.clock.monotonic();
        let outcome = self.effect(&context, &snapshot, &record).await;
        let took = self.shared.clock.monotonic().saturating_sub(began);
        if self.lost.is_cancelled() {
            return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a step"));
        }
        if outcome.is_err() && self.shared.stopping.is_cancelled() && step::is_interruptible(step) {
            // The intent stays; the next engine does the step again.
            return Ok(());
        }
        self.shared.metrics.record(Metric::StepCompleted { step, succeeded: outcome.is_ok(), took });
        let now = self.shared.clock.now();
        let snapshot = self.reload(snapshot.deployment.id).await?;
        let change = match outcome {
            Ok(output) => settle::succeed(&snapshot, record, output, &self.shared.config.base_domain, now),
            Err(error) => {
                let failure = Failure::from_error(step, &error);
                self.log.say(&failure.to_string());
                tracing::info!(deployment = %snapshot.deployment.id, %step, report = error.report(), "a step failed");
                settle::fail(&snapshot, record, failure, now)
            }
        };
        self.log.flush().await;
        self.commit(&snapshot, change, false, false).await
    }

    /// Does a step's effect in a task of its own, so that a panic of a backend
    /// is an error and a dropped driver leaves no half-awaited call.
    async fn effect(&self, context: &StepContext, snapshot: &Snapshot, record: &StepRecord) -> Result<StepOutput> {
        let now = self.shared.clock.now();
        let step = record.name;
        let key = format!("{}:{step}", snapshot.deployment.id);
        let timeout = record.deadline.since(now).max(Duration::from_millis(1));
        let call = Call::new(key, self.lease.fence, timeout).with_clock(Arc::clone(&self.shared.clock));
        let cancel = call.cancel.clone();
        let (context, snapshot, deadline) = (context.clone(), snapshot.clone(), record.deadline);
        let work = async move { step::run(&context, &snapshot, step, &call, deadline).await };
        let mut task = Task::spawn(&self.shared.platform, work);
        let joined = tokio::select! {
            biased;
            joined = task.join() => Some(joined),
            () = self.lost.cancelled() => None,
            () = self.cancelled.cancelled(), if step::can_be_cancelled(step) => None,
            () = self.shared.stopping.cancelled(), if step::is_interruptible(step) => None,
        };
        let joined = match joined {
            Some(joined) => joined,
            None => {
                cancel.cancel();
                task.join().await
            }
        };
        joined.map_err(|error| error.with_operation(step.as_str())).flatten()
    }

    async fn commit(&self, snapshot: &Snapshot, change: Change, unless_cancelled: bool, admits: bool) -> Result<()> {
        let guard = Guard { lease: self.lease.clone(), version: snapshot.deployment.version, unless_cancelled, admits };
        write(&self.shared, guard, change).await
    }

    async fn reload(&self, id: DeploymentId) -> Result<Snapshot> {
        let snapshot = self.shared.store.snapshot(id).await?;
        snapshot.ok_or_else(|| crate::backend::store::refusal::deployment_not_found(id))
    }

    /// Whether another deployment of the app is active.
    async fn is_busy(&self, snapshot: &Snapshot) -> Result<bool> {
        let unfinished = self.shared.store.unfinished().await?;
        let own = &snapshot.deployment;
        Ok(unfinished.iter().any(|other| other.app == own.app && other.id != own.id && other.state.is_active()))
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

    /// A job that engines die of must not be tried for ever: what has not been
    /// promoted is given up, without running any of its code again.
    fn unless_poisoned(&self, snapshot: &Snapshot, decision: Decision) -> Decision {
        let state = snapshot.deployment.state;
        if !self.poisoned || !state.can_cancel() || state == State::Queued {
            return decision;
        }
        let error = Error::new(ErrorKind::Internal, format!("engines died again and again while it was {state}"))
            .with_code("poisoned")
            .with_hint("look into the engine's log, mend the cause and deploy again");
        let failure = Failure { step: None, ..Failure::from_error(StepName::Undo, &error) };
        Decision::Go(State::Unwinding, Some(failure))
    }
}

/// Writes a change, and tells those who wait for one.
async fn write(shared: &Shared, guard: Guard, change: Change) -> Result<()> {
    let at = shared.clock.now();
    let mut deployment = change.deployment;
    deployment.fence = guard.lease.fence;
    let completed = change.events.iter().any(|event| matches!(event, EventKind::Completed { .. }));
    let metric = deployment.conclusion.filter(|_| completed).map(|conclusion| Metric::DeploymentCompleted {
        kind: deployment.kind.as_str(),
        conclusion,
        took: at.since(deployment.created_at),
    });
    let jobs = change.jobs.clone();
    let commit = Commit {
        guard,
        deployment,
        serving: change.serving,
        step: change.step,
        instances: change.instances,
        events: change.events,
        jobs: change.jobs,
        forget_app: change.forget_app,
        at,
    };
    shared.store.commit(commit).await?;
    if !shared.store.queues_jobs() {
        for job in jobs {
            shared.enqueue(job).await;
        }
    }
    if let Some(metric) = metric {
        shared.metrics.record(metric);
    }
    shared.announce();
    Ok(())
}

fn not_stuck(id: DeploymentId) -> Error {
    Error::new(ErrorKind::Conflict, format!("deployment `{id}` is not stuck")).with_code("not_stuck")
}

/// Sets a stuck deployment on its way again, because a person said so.
pub(super) async fn unstick(shared: &Arc<Shared>, id: DeploymentId) -> Result<()> {
    let not_found = || crate::backend::store::refusal::deployment_not_found(id);
    let app = shared.store.deployment(id).await?.ok_or_else(not_found)?.app;
    let Some(_claim) = shared.claim_app(&app) else {
        return Err(crate::backend::store::refusal::lease_held(&app, Duration::from_secs(1)));
    };
    let lease = shared.store.acquire_lease(&app, &shared.config.owner, shared.config.lease).await?;
    let moved = async {
        let snapshot = shared.store.snapshot(id).await?.ok_or_else(not_found)?;
        if snapshot.deployment.state != State::Stuck {
            return Err(not_stuck(id));
        }
        let mut change = Change::of(&snapshot);
        let failed = snapshot.steps.iter().rev().find(|step| step.phase == StepPhase::Failed);
        let to = match failed.map(|step| step.name) {
            Some(StepName::Revert) => State::Reverting,
            Some(StepName::Unroute) => State::Promoting,
            _ => State::Unwinding,
        };
        change.go(to);
        change.jobs.push(super::recovery::job(&change.deployment, shared.clock.now()));
        let version = snapshot.deployment.version;
        write(shared, Guard { lease: lease.clone(), version, unless_cancelled: false, admits: false }, change).await
    }
    .await;
    let released = shared.store.release_lease(&lease).await;
    moved.and(released)
}
