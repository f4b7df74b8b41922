//! What follows from a decision or from a step's outcome: pure, like `decide`.

use super::decide::{after_failure, last, worth_a_retry};
use super::route::domains;
use crate::app::Domain;
use crate::backend::{JobKind, NewJob, Priority, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{
    Conclusion, Deployment, DeploymentKind, EventKind, Failure, Instance, InstanceState, Occupant, Serving, Standby,
    State, StepName, StepOutput, StepPhase, StepRecord,
};

/// What a commit shall write.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) deployment: Deployment,
    pub(super) serving: Option<Serving>,
    pub(super) step: Option<StepRecord>,
    pub(super) instances: Vec<Instance>,
    pub(super) events: Vec<EventKind>,
    pub(super) jobs: Vec<NewJob>,
    pub(super) forget_app: bool,
}

impl Change {
    /// No change yet.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self {
            deployment: snapshot.deployment.clone(),
            serving: None,
            step: None,
            instances: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            forget_app: false,
        }
    }

    /// Goes to another state.
    pub(super) fn go(&mut self, to: State) {
        let from = self.deployment.state;
        if from != to {
            debug_assert!(from.may_become(to), "{from} must not become {to}");
            self.deployment.state = to;
            self.events.push(EventKind::StateChanged { from, to });
        }
    }

    /// Ends the deployment.
    pub(super) fn finish(&mut self, conclusion: Conclusion, now: Timestamp) {
        self.go(State::Completed);
        self.deployment.conclusion = Some(conclusion);
        self.deployment.finished_at = Some(now);
        self.events.push(EventKind::Completed { conclusion, failure: self.deployment.failure.clone() });
    }
}

/// The record of a step that is about to begin. After a crash the same attempt
/// goes on with the same deadline.
pub(super) fn begin(snapshot: &Snapshot, step: StepName, deadline: Timestamp, now: Timestamp) -> StepRecord {
    match last(snapshot, step) {
        Some(record) if record.phase == StepPhase::Intent => record.clone(),
        earlier => StepRecord {
            name: step,
            attempt: earlier.map_or(0, |record| record.attempt) + 1,
            phase: StepPhase::Intent,
            fence: snapshot.deployment.fence,
            started_at: now,
            finished_at: None,
            deadline,
            output: None,
            failure: None,
        },
    }
}

/// What follows from a step that was done.
/// `base` is the engine's base domain.
pub(super) fn succeed(
    snapshot: &Snapshot,
    mut record: StepRecord,
    output: StepOutput,
    base: &Domain,
    now: Timestamp,
) -> Change {
    let mut change = Change::of(snapshot);
    let step = record.name;
    record.phase = StepPhase::Done;
    record.finished_at = Some(now);
    record.output = Some(output.clone());
    change.step = Some(record);
    change.events.push(EventKind::StepSucceeded { step, reused: output.reused, note: output.note.clone() });
    if let Some(commit) = output.commit {
        change.deployment.revision.commit = Some(commit);
    }
    let found = output.artifact.is_some();
    if let Some(artifact) = output.artifact {
        change.deployment.artifact = Some(artifact);
    }
    match step {
        StepName::Fetch if found => change.go(State::Preparing),
        StepName::Fetch => change.go(State::Building),
        StepName::Build => change.go(State::Preparing),
        StepName::Clear => vacate(snapshot, &mut change, true),
        StepName::Create => {
            mark_own(snapshot, &mut change, InstanceState::Created);
            change.go(State::Starting);
        }
        StepName::Start => {
            mark_own(snapshot, &mut change, InstanceState::Started);
            change.go(State::Probing);
        }
        StepName::Probe => {
            mark_own(snapshot, &mut change, InstanceState::Healthy);
            change.go(State::Promoting);
        }
        StepName::Promote => promoted(snapshot, &mut change, base, now),
        StepName::Revert | StepName::Unroute => change.go(State::Unwinding),
        StepName::Undo => undone(snapshot, &mut change, now),
        StepName::Drain => {}
        StepName::Retire => {
            vacate(snapshot, &mut change, false);
            change.events.push(EventKind::Retired);
        }
    }
    change
}

/// What follows from a step that failed.
pub(super) fn fail(snapshot: &Snapshot, mut record: StepRecord, failure: Failure, now: Timestamp) -> Change {
    let mut change = Change::of(snapshot);
    let step = record.name;
    record.phase = StepPhase::Failed;
    record.finished_at = Some(now);
    record.failure = Some(failure.clone());
    let again = worth_a_retry(&record);
    change.events.push(EventKind::StepFailed { step, attempt: record.attempt, failure: failure.clone() });
    change.step = Some(record);
    if again || snapshot.deployment.state.is_terminal() {
        return change;
    }
    let to = after_failure(snapshot, step, &failure);
    if failure.code == "port_taken"
        && let (Some(app), Some(slot)) = (&snapshot.app, snapshot.deployment.slot)
        && slot == app.serving.idle_slot()
    {
        // Somebody else has the slot's address, perhaps for good.
        change.serving = Some(Serving { contested: Some(slot), ..app.serving.clone() });
    }
    if to == State::Fetching {
        change.deployment.artifact = None;
    }
    // What stopped the deployment is its failure, not what went wrong while
    // cleaning up after it; a cancelled deployment has none.
    let cancelled = snapshot.deployment.cancel.is_some() && snapshot.deployment.state.can_cancel();
    if matches!(to, State::Unwinding | State::Reverting | State::Stuck)
        && change.deployment.failure.is_none()
        && !cancelled
    {
        change.deployment.failure = Some(failure);
    }
    change.go(to);
    change
}

/// The deployment's own instances have come further.
fn mark_own(snapshot: &Snapshot, change: &mut Change, state: InstanceState) {
    let own = snapshot.instances.iter().filter(|instance| instance.deployment == snapshot.deployment.id);
    change.instances = own.map(|instance| Instance { state, ..instance.clone() }).collect();
}

/// The slot that is idle is empty now.
fn vacate(snapshot: &Snapshot, change: &mut Change, spare_own: bool) {
    let Some(app) = &snapshot.app else { return };
    let slot = app.serving.standby.as_ref().map_or(app.serving.idle_slot(), |standby| standby.occupant.slot);
    let gone = snapshot
        .instances
        .iter()
        .filter(|instance| instance.slot == slot)
        .filter(|instance| !(spare_own && instance.deployment == snapshot.deployment.id));
    change.instances = gone.map(|instance| Instance { state: InstanceState::Removed, ..instance.clone() }).collect();
    change.serving = Some(Serving { standby: None, ..app.serving.clone() });
}

/// The route points at the deployment.
fn promoted(snapshot: &Snapshot, change: &mut Change, base: &Domain, now: Timestamp) {
    let deployment = &snapshot.deployment;
    let (Some(app), Some(slot)) = (&snapshot.app, deployment.slot) else { return };
    let mut serving = app.serving.clone();
    let generation = serving.generation;
    serving.domains = domains(&deployment.release, base);
    let before = serving.live.replace(Occupant { deployment: deployment.id, slot });
    serving.standby = before.as_ref().map(|occupant| Standby {
        occupant: occupant.clone(),
        retire_at: now.after(deployment.release.timing.grace),
        retiring: false,
    });
    if let Some(occupant) = before {
        let run_at = now.after(deployment.release.timing.grace);
        let retire =
            NewJob::new(JobKind::Retire, occupant.deployment, deployment.app.clone(), Priority::RETIRE, run_at);
        change.jobs.push(NewJob { max_attempts: 1000, ..retire });
        serving.previous = Some(occupant.deployment);
    }
    change.serving = Some(serving);
    change.events.push(EventKind::Promoted { slot, generation });
    change.finish(Conclusion::Succeeded, now);
}

/// Nothing of the deployment is left.
fn undone(snapshot: &Snapshot, change: &mut Change, now: Timestamp) {
    let deployment = &snapshot.deployment;
    let removes_app = deployment.kind == DeploymentKind::Remove;
    let gone = snapshot.instances.iter().filter(|instance| removes_app || instance.deployment == deployment.id);
    change.instances = gone.map(|instance| Instance { state: InstanceState::Removed, ..instance.clone() }).collect();
    if removes_app {
        change.forget_app = true;
        change.finish(Conclusion::Succeeded, now);
    } else if deployment.failure.is_none() {
        change.finish(Conclusion::Cancelled, now);
    } else {
        change.finish(Conclusion::Failed, now);
    }
}
