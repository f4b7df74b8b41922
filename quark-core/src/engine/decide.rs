//! What to do next with a deployment: a pure function of what is written down.
//!
//! Nothing here waits, asks or acts; the driver does. So every decision can be
//! tested by the thousand, and the same decision is made again after a crash.

use std::time::Duration;

use crate::app::Source;
use crate::backend::Snapshot;
use crate::clock::Timestamp;
use crate::deployment::{Conclusion, DeploymentKind, Failure, InstanceState, State, StepName, StepPhase, StepRecord};
use crate::error::{ErrorClass, ErrorKind};

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Become the app's one active deployment.
    Admit,
    /// Do a step under the write-ahead protocol.
    Run(StepName),
    /// Do a step that failed in a way that may pass, not before this time.
    Retry(StepName, Timestamp),
    /// Go to another state; nothing is done to the world.
    Go(State, Option<Failure>),
    /// End.
    Finish(Conclusion),
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing, ever again.
    Done,
}

/// The next step of a deployment.
#[must_use]
pub fn decide(snapshot: &Snapshot) -> Decision {
    let deployment = &snapshot.deployment;
    let state = deployment.state;
    // A cancel that came with the last answer of the probe: it was accepted, so
    // it counts, and the promotion's intent would be refused.
    let unpromoted = state == State::Promoting && last(snapshot, StepName::Promote).is_none();
    let can_cancel = state.can_cancel() || (unpromoted && deployment.kind != DeploymentKind::Remove);
    if deployment.cancel.is_some() && can_cancel {
        return if state == State::Queued {
            Decision::Finish(Conclusion::Cancelled)
        } else {
            Decision::Go(State::Unwinding, None)
        };
    }
    match state {
        State::Queued => Decision::Admit,
        State::Admitted => Decision::Go(first_state(snapshot), None),
        State::Fetching => run(snapshot, StepName::Fetch),
        State::Building => run(snapshot, StepName::Build),
        State::Preparing if slot_is_occupied(snapshot) => run(snapshot, StepName::Clear),
        State::Preparing => run(snapshot, StepName::Create),
        State::Starting => run(snapshot, StepName::Start),
        State::Probing => run(snapshot, StepName::Probe),
        State::Promoting if deployment.kind == DeploymentKind::Remove => run(snapshot, StepName::Unroute),
        State::Promoting => run(snapshot, StepName::Promote),
        State::Reverting => run(snapshot, StepName::Revert),
        State::Unwinding => run(snapshot, StepName::Undo),
        // Only a person moves a stuck deployment.
        State::Stuck | State::Completed => Decision::Done,
    }
}

/// The next step of the retirement of the standby that this deployment left.
/// `busy` says that another deployment of the app is active: it may be about
/// to roll back to this very standby.
#[must_use]
pub fn decide_retirement(snapshot: &Snapshot, now: Timestamp, busy: bool) -> Decision {
    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    let Some(standby) = standby.filter(|standby| standby.occupant.deployment == snapshot.deployment.id) else {
        return Decision::Done;
    };
    if !standby.retiring {
        if now < standby.retire_at {
            return Decision::Wait(standby.retire_at);
        }
        if busy {
            return Decision::Wait(now.after(Duration::from_secs(1)));
        }
    }
    let drained = last(snapshot, StepName::Drain).is_some_and(|step| step.phase == StepPhase::Done);
    run(snapshot, if drained { StepName::Retire } else { StepName::Drain })
}

/// Where a deployment goes from `failed`, and how it ends if it ends there.
#[must_use]
pub fn after_failure(snapshot: &Snapshot, step: StepName, failure: &Failure) -> State {
    let deployment = &snapshot.deployment;
    let is_git = matches!(deployment.release.source, Source::Git { .. });
    let never_fetched = last(snapshot, StepName::Fetch).is_none();
    match step {
        StepName::Promote => State::Reverting,
        StepName::Revert | StepName::Undo => State::Stuck,
        // Taking a route away fails only while the router is away; it is
        // tried again when a person says so.
        StepName::Unroute => State::Stuck,
        // The image of a rollback was pruned: build the same commit again.
        StepName::Create if failure.code == "image_not_found" && is_git && never_fetched => State::Fetching,
        // The standby of a rollback has died: start the release anew.
        StepName::Probe if is_warm(snapshot) => State::Preparing,
        _ => State::Unwinding,
    }
}

/// Whether the deployment rolls back to instances that still run.
#[must_use]
pub fn is_warm(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    let Some(slot) = deployment.slot else { return false };
    let is_rollback = matches!(deployment.kind, DeploymentKind::Rollback { .. });
    is_rollback && !snapshot.instances.iter().any(|i| i.slot == slot && i.deployment == deployment.id)
}

/// How many attempts a step is worth when it fails in a way that may pass.
#[must_use]
pub fn attempts(step: StepName) -> u32 {
    match step {
        StepName::Fetch => 4,
        StepName::Build | StepName::Clear => 5,
        StepName::Create | StepName::Start | StepName::Promote => 3,
        StepName::Probe => 1,
        StepName::Revert | StepName::Undo | StepName::Unroute => 8,
        // Nobody waits for a retirement, so it never gives up.
        StepName::Drain | StepName::Retire => u32::MAX,
    }
}

/// The last record of a step.
#[must_use]
pub fn last(snapshot: &Snapshot, step: StepName) -> Option<&StepRecord> {
    snapshot.steps.iter().rev().find(|record| record.name == step)
}

fn first_state(snapshot: &Snapshot) -> State {
    let deployment = &snapshot.deployment;
    if deployment.kind == DeploymentKind::Remove {
        return State::Promoting;
    }
    if warm_standby(snapshot) {
        return State::Probing;
    }
    if deployment.artifact.is_some() {
        return State::Preparing;
    }
    match deployment.release.source {
        Source::Git { .. } => State::Fetching,
        Source::Image { .. } => State::Building,
    }
}

/// Whether what the deployment rolls back to still runs in the idle slot.
#[must_use]
pub fn warm_standby(snapshot: &Snapshot) -> bool {
    let DeploymentKind::Rollback { to } = snapshot.deployment.kind else { return false };
    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    standby.is_some_and(|standby| standby.occupant.deployment == to && !standby.retiring)
}

/// Whether something of another deployment is left where this one shall go.
fn slot_is_occupied(snapshot: &Snapshot) -> bool {
    let Some(app) = &snapshot.app else { return false };
    let slot = app.serving.idle_slot();
    let stray = |instance: &crate::deployment::Instance| {
        instance.slot == slot
            && instance.deployment != snapshot.deployment.id
            && instance.state != InstanceState::Removed
    };
    app.serving.standby.is_some() || snapshot.instances.iter().any(stray)
}

/// Runs a step for the first time, again after a crash, or again after a
/// failure that may pass.
fn run(snapshot: &Snapshot, step: StepName) -> Decision {
    match last(snapshot, step) {
        Some(record) if record.phase == StepPhase::Failed && worth_a_retry(record) => {
            let failed_at = record.finished_at.unwrap_or(record.started_at);
            Decision::Retry(step, failed_at.after(backoff(record.attempt)))
        }
        _ => Decision::Run(step),
    }
}

/// Whether a step that failed is tried again.
#[must_use]
pub fn worth_a_retry(record: &StepRecord) -> bool {
    let passing = record
        .failure
        .as_ref()
        .is_some_and(|failure| failure.class != ErrorClass::Permanent && failure.kind != ErrorKind::Cancelled);
    // What must not be left half-done is tried again whatever the failure was.
    let must = matches!(
        record.name,
        StepName::Undo | StepName::Revert | StepName::Unroute | StepName::Drain | StepName::Retire
    );
    (passing || must) && record.attempt < attempts(record.name)
}

/// 0.5 s, 1 s, 2 s … at most 30 s.
fn backoff(attempt: u32) -> Duration {
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(10));
    Duration::from_millis(500).saturating_mul(factor).min(Duration::from_secs(30))
}
