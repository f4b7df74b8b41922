//! What follows from a step's outcome: pure, like `decide`.

use super::canary::goes_by_steps;
use super::decide::{after_failure, is_live, last, needs_approval};
use super::draft::Draft;
use super::route::domains;
use super::step::is_down;
use super::{hooks, retry};
use crate::app::{BakePolicy, CanaryPolicy, Domain, HookPoint};
use crate::backend::{JobKind, NewJob, Priority};
use crate::clock::Timestamp;
use crate::deployment::{
    Bake, BakeOutcome, Canary, CanaryOutcome, CancelRequest, Conclusion, DeploymentKind, EventKind, Failure, Instance,
    InstanceState, Occupant, Standby, State, StepName, StepOutput, StepPhase, StepRecord,
};
use crate::planted::planted;
use crate::{Error, ErrorKind};

/// The record of a step that is about to begin. After a crash the same attempt
/// goes on with the same deadline.
pub(super) fn begin(draft: &Draft, step: StepName, deadline: Timestamp, now: Timestamp) -> StepRecord {
    match last(draft.snapshot(), step) {
        Some(record) if record.phase == StepPhase::Intent => {
            let until = if planted!(DeadlineMoves) { deadline } else { record.deadline };
            StepRecord { resumed: record.resumed.saturating_add(1), deadline: until, ..record.clone() }
        }
        earlier => StepRecord {
            name: step,
            attempt: earlier.map_or(0, |record| record.attempt).min(MOST_ROWS - 1) + 1,
            phase: StepPhase::Intent,
            fence: draft.snapshot().deployment.fence,
            resumed: 0,
            started_at: now,
            finished_at: None,
            deadline,
            output: None,
            failure: None,
        },
    }
}

/// Goes to another state without anything being done to the world.
pub(super) fn gone(draft: &mut Draft, to: State, failure: Option<Failure>) {
    if to == State::Probing {
        // A warm rollback: it goes where the standby is.
        let app = draft.snapshot().app.as_ref();
        let slot = app.and_then(|app| app.serving.standby.as_ref()).map(|standby| standby.occupant.slot);
        draft.deployment().slot = slot;
    }
    if let Some(failure) = failure {
        draft.fail(failure);
    }
    draft.go(to);
}

/// A step that is tried for ever does not fill the journal: from here on its
/// last row is written again and again.
const MOST_ROWS: u32 = 64;

/// What follows from a step that was done.
/// `base` is the engine's base domain.
pub(super) fn succeed(draft: &mut Draft, mut record: StepRecord, output: StepOutput, base: &Domain, now: Timestamp) {
    let step = record.name;
    record.phase = StepPhase::Done;
    record.finished_at = Some(now);
    record.output = Some(output.clone());
    draft.step(record.clone());
    draft.tell(EventKind::StepSucceeded { step, reused: output.reused, note: output.note.clone() });
    hook_ended(draft, &record, true);
    if let Some(commit) = output.commit {
        draft.deployment().revision.commit = Some(commit);
    }
    let found = output.artifact.is_some();
    if let Some(artifact) = output.artifact {
        draft.deployment().artifact = Some(artifact);
    }
    match step {
        StepName::Fetch if found => draft.go(State::Preparing),
        StepName::Fetch => draft.go(State::Building),
        StepName::Build => draft.go(State::Preparing),
        StepName::Clear => vacate(draft, true),
        StepName::Create => {
            mark_own(draft, InstanceState::Created);
            draft.go(State::Starting);
        }
        StepName::Start => {
            mark_own(draft, InstanceState::Started);
            draft.go(State::Probing);
        }
        StepName::Probe => {
            mark_own(draft, InstanceState::Healthy);
            if needs_approval(&draft.snapshot().deployment) {
                draft.go(State::AwaitingApproval);
            } else if hooks::is_due(draft.snapshot(), HookPoint::PrePromote) {
                // It is probed once more after that: a hook may take long.
            } else if goes_by_steps(draft.snapshot()) {
                draft.deployment().canary = Some(Canary::begin(now));
                draft.go(State::Canary);
            } else {
                draft.go(State::Promoting);
            }
        }
        StepName::PreDeploy | StepName::PrePromote | StepName::PostPromote | StepName::PostRetire | StepName::Tidy => {}
        StepName::Shift => shifted(draft, now),
        StepName::Promote => promoted(draft, base, now),
        StepName::RollBack => rolled_back(draft, now),
        // It was to be rolled back, and could not be.
        StepName::Revert if is_live(draft.snapshot()) => baked(draft, BakeOutcome::Held, now),
        StepName::Revert | StepName::Unroute => {
            taken_back(draft);
            draft.go(State::Unwinding);
        }
        StepName::Undo => undone(draft, now),
        StepName::Drain | StepName::Mend | StepName::Collect | StepName::Restart => {}
        StepName::Retire => draft.tell(EventKind::Retired),
    }
}

/// How often in a row a version that waits for people may be found unwell.
const PATIENCE: u32 = 3;

/// What follows from a look at a version that waits for people. What could not
/// be seen counts neither way.
pub(super) fn watched(draft: &mut Draft, failure: Option<Failure>) {
    let before = draft.snapshot().deployment.approval.as_ref().map_or(0, |approval| approval.unwell);
    let unwell = match &failure {
        None => 0,
        Some(failure) if failure.kind == ErrorKind::Unhealthy => before + 1,
        Some(_) => before,
    };
    if unwell != before
        && let Some(approval) = &mut draft.deployment().approval
    {
        approval.unwell = unwell;
    }
    if let Some(failure) = failure.filter(|_| unwell >= PATIENCE) {
        draft.fail(failure);
        draft.go(State::Unwinding);
    }
}

/// What follows from a step that failed.
pub(super) fn fail(draft: &mut Draft, mut record: StepRecord, failure: Failure, now: Timestamp) {
    let step = record.name;
    record.phase = StepPhase::Failed;
    record.finished_at = Some(now);
    record.failure = Some(failure.clone());
    draft.tell(EventKind::StepFailed { step, attempt: record.attempt, failure: failure.clone() });
    draft.step(record.clone());
    let again = retry::is_worth_it(&draft.snapshot().steps, &record);
    if !again {
        hook_ended(draft, &record, false);
    }
    // Upkeep says nothing about the deployment in whose journal it is written.
    let upkeep = matches!(step, StepName::Mend | StepName::Collect | StepName::Restart);
    if again || upkeep || draft.snapshot().deployment.state.is_terminal() {
        return;
    }
    if failure.code == "port_taken" {
        contest(draft);
    }
    let to = after_failure(draft.snapshot(), step, &failure);
    // What stopped the deployment is its failure, not what went wrong while
    // cleaning up after it; a cancelled deployment has none.
    let deployment = &draft.snapshot().deployment;
    let cancelled = deployment.cancel.is_some() && deployment.state.can_cancel();
    if matches!(to, State::Unwinding | State::Reverting | State::Stuck) && !cancelled {
        draft.fail(failure);
    }
    draft.go(to);
}

/// Says how a hook has ended, if the step was one.
fn hook_ended(draft: &mut Draft, record: &StepRecord, succeeded: bool) {
    let Some(hook) = record.name.hook() else { return };
    let took = record.finished_at.unwrap_or(record.started_at).since(record.started_at);
    let exit_code = record.output.as_ref().and_then(|output| output.exit_code);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    draft.tell(EventKind::HookEnded { hook, succeeded, exit_code, took_ms });
}

/// Somebody else has the slot's address, perhaps for good.
fn contest(draft: &mut Draft) {
    let Some(slot) = draft.snapshot().deployment.slot else { return };
    draft.serve(|serving| {
        if slot == serving.idle_slot() {
            serving.contested = Some(slot);
        }
    });
}

/// The deployment's own instances have come further.
fn mark_own(draft: &mut Draft, state: InstanceState) {
    let id = draft.snapshot().deployment.id;
    mark(draft, state, |instance| instance.deployment == id);
}

fn mark(draft: &mut Draft, state: InstanceState, which: impl Fn(&Instance) -> bool) {
    let marked: Vec<Instance> = draft.snapshot().instances.iter().filter(|known| which(known)).cloned().collect();
    for instance in marked {
        draft.instance(Instance { state, ..instance });
    }
}

/// Nothing is left of what was retired.
pub(super) fn retired(draft: &mut Draft) {
    vacate(draft, false);
}

/// The slot that is idle is empty now.
fn vacate(draft: &mut Draft, spare_own: bool) {
    let Some(app) = &draft.snapshot().app else { return };
    let own = draft.snapshot().deployment.id;
    let slot = app.serving.standby.as_ref().map_or(app.serving.idle_slot(), |standby| standby.occupant.slot);
    mark(draft, InstanceState::Removed, |instance| instance.slot == slot && !(spare_own && instance.deployment == own));
    draft.serve(|serving| serving.standby = None);
}

/// The route points at the deployment.
fn promoted(draft: &mut Draft, base: &Domain, now: Timestamp) {
    let deployment = draft.snapshot().deployment.clone();
    let (Some(app), Some(slot)) = (&draft.snapshot().app, deployment.slot) else { return };
    let generation = app.serving.generation;
    let before = app.serving.live.clone();
    let retire_at = now.after(deployment.release.timing.grace);
    let restores = match deployment.kind {
        DeploymentKind::Rollback { to } => Some(to),
        _ => None,
    };
    let run_at = if planted!(RetiredBeforeItsTime) { now } else { retire_at };
    let domains = domains(&deployment.release, base);
    // Without one before there is nothing to go back to.
    let policy = &deployment.release.bake;
    let watched = before.is_some() && restores.is_none() && !policy.is_off();
    let bake = watched.then(|| Bake::begin(policy, &app.serving, now));
    draft.serve(|serving| {
        serving.domains = domains;
        serving.canary = None;
        serving.live = Some(Occupant { deployment: deployment.id, slot, restores });
        let standby = |occupant: &Occupant| Standby { occupant: occupant.clone(), retire_at, retiring: false };
        serving.standby = before.as_ref().map(standby);
        if let Some(occupant) = &before {
            serving.previous = Some(occupant.deployment);
        }
    });
    if let Some(occupant) = before {
        let job = NewJob::new(JobKind::Retire, occupant.deployment, deployment.app, Priority::RETIRE, run_at);
        draft.queue(NewJob { max_attempts: u32::MAX, ..job });
    }
    draft.tell(EventKind::Promoted { slot, generation });
    match bake {
        Some(bake) => {
            draft.tell(EventKind::BakeStarted { ends_at: bake.ends_at });
            draft.deployment().bake = Some(bake);
            draft.go(State::Baking);
        }
        // It is not watched; but it has not ended before its hook has.
        None if hooks::is_due(draft.snapshot(), HookPoint::PostPromote) => draft.go(State::Baking),
        None => draft.finish(Conclusion::Succeeded, now),
    }
}

/// The route gives the deployment the share of its step.
fn shifted(draft: &mut Draft, now: Timestamp) {
    let deployment = &draft.snapshot().deployment;
    let (Some(mut canary), Some(policy)) = (deployment.canary.clone(), &deployment.release.canary) else { return };
    let (Some(percent), Some(step)) = (canary.share, policy.steps.get(canary.step).copied()) else { return };
    canary.hold(step, now);
    draft.tell(EventKind::CanaryShifted { percent, ends_at: now.after(step.hold) });
    draft.serve(|serving| serving.canary = Some(percent));
    draft.deployment().canary = Some(canary);
}

/// What follows from a look at a version that gets a share of the requests.
pub(super) fn held(draft: &mut Draft, seen: Seen, policy: &CanaryPolicy, now: Timestamp) {
    let Some(mut canary) = draft.snapshot().deployment.canary.clone() else { return };
    let before = canary.clone();
    match &seen {
        Seen::Well => (canary.unwell, canary.unwell_at, canary.unseen) = (0, None, 0),
        Seen::Unwell { failure, .. } => {
            canary.unseen = 0;
            canary.unwell = canary.unwell_by(now, policy);
            if canary.unwell != before.unwell {
                (canary.unwell_at, canary.failure) = (Some(now), Some(failure.clone()));
                draft.tell(EventKind::CanaryUnwell { times: canary.unwell, failure: failure.clone() });
            }
        }
        Seen::Nothing => canary.unseen = (canary.unseen + 1).min(Bake::UNSEEN),
    }
    let ended = canary.ends_at.is_none_or(|at| now >= at);
    let given_up = canary.gives_up_at().is_none_or(|at| now >= at) && canary.unseen >= Bake::UNSEEN;
    let passes = match &seen {
        Seen::Well => ended || planted!(CanarySkipsAStep),
        _ => ended && planted!(PromotedOnUnwellCanary),
    };
    if passes {
        return passed(draft, canary, policy, now);
    }
    if canary != before {
        draft.deployment().canary = Some(canary);
    }
    match seen {
        Seen::Unwell { failure, back: true } => take_back(draft, failure),
        Seen::Nothing if given_up => take_back(draft, unverified()),
        _ => {}
    }
}

/// It has held the share of its step, and was well in the end.
pub(super) fn passed(draft: &mut Draft, mut canary: Canary, policy: &CanaryPolicy, now: Timestamp) {
    canary.pass(now);
    if canary.step < policy.steps.len() {
        draft.deployment().canary = Some(canary);
        return;
    }
    let outcome = CanaryOutcome::Passed;
    canary.outcome = Some(outcome);
    draft.deployment().canary = Some(canary);
    draft.tell(EventKind::CanarySettled { outcome });
    draft.go(State::Promoting);
}

fn take_back(draft: &mut Draft, failure: Failure) {
    draft.fail(failure);
    draft.go(if planted!(ShareNotTakenBack) { State::Unwinding } else { State::Reverting });
}

fn unverified() -> Failure {
    let error = Error::new(ErrorKind::Unavailable, "nothing could be said about it in twice the time of its step")
        .with_code("canary_unverified")
        .with_hint("look after the runtime and what tells of users' requests, then deploy again");
    Failure { step: None, ..Failure::from_error(StepName::Probe, &error) }
}

/// The route gives the deployment no share any more.
fn taken_back(draft: &mut Draft) {
    let had_share = |canary: &&mut Canary| canary.share.is_some() && canary.outcome.is_none();
    let outcome = CanaryOutcome::TakenBack;
    if draft.snapshot().deployment.canary.is_none() {
        return;
    }
    if let Some(canary) = draft.deployment().canary.as_mut().filter(had_share) {
        canary.outcome = Some(outcome);
        draft.tell(EventKind::CanarySettled { outcome });
    }
}

/// What is seen of a version since it was promoted.
pub(super) enum Seen {
    Well,
    Unwell {
        failure: Failure,
        /// Whether that is enough, and the version before could serve.
        back: bool,
    },
    /// It could not be looked at, which says nothing about it.
    Nothing,
}

/// What follows from a look at a version that is watched.
pub(super) fn seen(draft: &mut Draft, seen: Seen, policy: &BakePolicy, now: Timestamp) {
    let Some(mut bake) = draft.snapshot().deployment.bake.clone() else {
        return baked(draft, BakeOutcome::Unverified, now);
    };
    let before = bake.clone();
    match &seen {
        Seen::Well => (bake.unwell, bake.unwell_at, bake.unseen) = (0, None, 0),
        Seen::Unwell { failure, .. } => {
            bake.unseen = 0;
            bake.unwell = bake.unwell_by(now, policy);
            if bake.unwell != before.unwell {
                bake.unwell_at = Some(now);
            }
            // That it has ended since is news, however often it was unwell.
            let was_down = before.failure.as_ref().is_some_and(|known| is_down(&known.code));
            if bake.unwell != before.unwell || is_down(&failure.code) && !was_down {
                bake.failure = Some(failure.clone());
                draft.tell(EventKind::BakeUnwell { times: bake.unwell, failure: failure.clone() });
            }
        }
        Seen::Nothing => bake.unseen = (bake.unseen + 1).min(Bake::UNSEEN),
    }
    let hook_runs = hooks::is_due(draft.snapshot(), HookPoint::PostPromote) || hooks::is_untidy(draft.snapshot());
    let ended = !hook_runs && (now >= bake.ends_at || planted!(BakedAtOnce));
    let given_up = !hook_runs && now >= bake.gives_up_at();
    let (is_bad, is_unseen) = (bake.unwell >= policy.failures, bake.unseen >= Bake::UNSEEN);
    if bake != before {
        draft.deployment().bake = Some(bake);
    }
    match seen {
        Seen::Well if ended => baked(draft, BakeOutcome::Passed, now),
        Seen::Unwell { failure, back: true } => {
            draft.deployment().failure = Some(failure);
            draft.go(State::RollingBack);
        }
        Seen::Unwell { .. } if given_up && is_bad => baked(draft, BakeOutcome::Held, now),
        Seen::Nothing if given_up && is_unseen => {
            baked(draft, if is_bad { BakeOutcome::Held } else { BakeOutcome::Unverified }, now);
        }
        _ => {}
    }
}

/// The watch over a version is over, and it serves.
pub(super) fn baked(draft: &mut Draft, outcome: BakeOutcome, now: Timestamp) {
    let deployment = draft.deployment();
    if let Some(bake) = &mut deployment.bake {
        bake.outcome = Some(outcome);
    }
    // What was wrong stays in `bake`: it has not failed, it serves.
    deployment.failure = None;
    let until = now.after(deployment.release.timing.grace);
    draft.serve(|serving| {
        if let Some(standby) = serving.standby.as_mut().filter(|standby| !standby.retiring) {
            standby.retire_at = standby.retire_at.max(until);
        }
    });
    if draft.snapshot().deployment.bake.is_some() {
        draft.tell(EventKind::BakeSettled { outcome });
    }
    draft.finish(Conclusion::Succeeded, now);
}

/// The route points at the version before again.
fn rolled_back(draft: &mut Draft, now: Timestamp) {
    let deployment = draft.snapshot().deployment.clone();
    let (Some(app), Some(slot), Some(bake)) = (&draft.snapshot().app, deployment.slot, deployment.bake) else { return };
    let generation = app.serving.generation;
    let Some(back) = app.serving.standby.as_ref().map(|standby| standby.occupant.clone()) else { return };
    let own = Occupant { deployment: deployment.id, slot, restores: None };
    draft.tell(EventKind::RolledBack { to: back.deployment, slot: back.slot, generation });
    draft.serve(|serving| {
        serving.previous = bake.previous;
        serving.domains = bake.domains;
        serving.live = Some(back);
        // From its first row on nobody goes back to it.
        serving.standby = Some(Standby { occupant: own, retire_at: now, retiring: true });
    });
    let job = NewJob::new(JobKind::Retire, deployment.id, deployment.app, Priority::RETIRE, now);
    draft.queue(NewJob { max_attempts: u32::MAX, ..job });
    let outcome = BakeOutcome::RolledBack;
    if let Some(bake) = &mut draft.deployment().bake {
        bake.outcome = Some(outcome);
    }
    draft.tell(EventKind::BakeSettled { outcome });
    draft.finish(Conclusion::RolledBack, now);
}

/// Nothing of the deployment is left.
fn undone(draft: &mut Draft, now: Timestamp) {
    let deployment = draft.snapshot().deployment.clone();
    if deployment.kind == DeploymentKind::Remove {
        mark(draft, InstanceState::Removed, |_| true);
        draft.forget_app();
        draft.finish(Conclusion::Succeeded, now);
        return;
    }
    mark_own(draft, InstanceState::Removed);
    let conclusion = match (&deployment.failure, &deployment.cancel) {
        (Some(_), _) => Conclusion::Failed,
        (None, cancel) => cancel.as_ref().map_or(Conclusion::Cancelled, CancelRequest::conclusion),
    };
    draft.finish(conclusion, now);
}
