//! What to do next with a deployment: a pure function of what is written down.
//!
//! Nothing here waits, asks or acts; the driver does. So every decision can be
//! tested by the thousand, and the same decision is made again after a crash.

use std::time::Duration;

use super::needless::needless;
use super::{hooks, retry};
use crate::app::{HookPoint, Source};
use crate::backend::Snapshot;
use crate::clock::Timestamp;
use crate::deployment::{
    Approval, ApprovalOutcome, ApprovalVerdict, Canary, CancelRequest, Conclusion, Deployment, DeploymentKind, Failure,
    Instance, State, StepName, StepPhase, StepRecord,
};
use crate::planted::planted;
use crate::{Error, ErrorKind};

/// How long a deployment may take until it is promoted, however often it was
/// taken up again (`engine.md` 1.6).
pub(super) const TOTAL: Duration = Duration::from_secs(60 * 60);

/// How often engines die in the middle of one step before the step counts as
/// what they die of.
const DEATHS: u32 = 5;

/// The code of the failure of a promotion that was not begun, because the
/// router could not be asked for anything.
pub(super) const ROUTER_AWAY: &str = "router_away";

/// How many addresses a slot is given in one deployment, if its own and the
/// next ones are taken.
const ADDRESSES: usize = 3;

/// What the driver shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Become the app's one active deployment.
    Admit,
    /// Do a step under the write-ahead protocol.
    Run(StepName),
    /// Do a step that failed in a way that may pass, not before this time.
    Retry(StepName, Timestamp),
    /// Go to another state; nothing is done to the world.
    Go(State, Option<Failure>),
    /// Ask people whether it may serve users.
    Ask,
    /// Nothing before this time but a look now and then whether it is well.
    Watch(Timestamp),
    /// What people were asked is decided.
    Settle(ApprovalOutcome),
    /// Look how it does since it was promoted.
    Bake,
    /// Nothing is left of the standby.
    Vacate,
    /// Look how it does with its share of the requests.
    Hold,
    /// End.
    Finish(Conclusion),
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing, ever again.
    Done,
}

/// The next step of a deployment.
pub(super) fn decide(snapshot: &Snapshot, now: Timestamp) -> Decision {
    let deployment = &snapshot.deployment;
    let state = deployment.state;
    if let Some(cancel) = &deployment.cancel
        && (state.can_cancel() || is_unpromoted(snapshot))
        && deployment.kind != DeploymentKind::Remove
        && !(planted!(CancelIgnored) && state >= State::Probing)
    {
        return stop(snapshot, cancel);
    }
    if let Some(failure) = hopeless(snapshot, now) {
        return Decision::Go(way_out(snapshot), Some(failure));
    }
    match state {
        State::Queued => Decision::Admit,
        State::Admitted => match needless(snapshot) {
            Some(failure) => Decision::Go(State::Unwinding, Some(failure)),
            None => Decision::Go(first_state(snapshot), None),
        },
        State::Fetching => run(snapshot, StepName::Fetch),
        State::Building => run(snapshot, StepName::Build),
        State::Preparing | State::Probing | State::Baking if tidies(snapshot) => run(snapshot, StepName::Tidy),
        State::Preparing if hooks::is_due(snapshot, HookPoint::PreDeploy) => run(snapshot, StepName::PreDeploy),
        State::Preparing if slot_is_occupied(snapshot) => run(snapshot, StepName::Clear),
        State::Preparing => run(snapshot, StepName::Create),
        State::Starting => run(snapshot, StepName::Start),
        State::Probing if is_probed(snapshot) && hooks::is_due(snapshot, HookPoint::PrePromote) => {
            run(snapshot, StepName::PrePromote)
        }
        State::Probing => run(snapshot, StepName::Probe),
        State::AwaitingApproval => approval(deployment, now),
        State::Canary if deployment.canary.as_ref().is_none_or(Canary::is_shifting) => run(snapshot, StepName::Shift),
        State::Canary => Decision::Hold,
        State::Promoting if deployment.kind == DeploymentKind::Remove => run(snapshot, StepName::Unroute),
        State::Promoting => run(snapshot, StepName::Promote),
        State::Baking if hooks::is_due(snapshot, HookPoint::PostPromote) => run(snapshot, StepName::PostPromote),
        State::Baking if deployment.bake.is_none() => Decision::Finish(Conclusion::Succeeded),
        State::Baking => Decision::Bake,
        State::RollingBack => run(snapshot, StepName::RollBack),
        State::Reverting => run(snapshot, StepName::Revert),
        // Whatever brought it here: nothing that users are sent to is taken away.
        State::Unwinding if deployment.kind == DeploymentKind::Remove && !is_unrouted(snapshot) => {
            run(snapshot, StepName::Unroute)
        }
        State::Unwinding => run(snapshot, StepName::Undo),
        // Only a person moves a stuck deployment.
        State::Stuck | State::Completed => Decision::Done,
    }
}

/// Whether the containers of hooks that have ended are removed first.
pub(super) fn tidies(snapshot: &Snapshot) -> bool {
    hooks::is_untidy(snapshot)
}

/// Whether it was found healthy since it was started: it goes back to where it is
/// started only when that, or a probe, has failed.
fn is_probed(snapshot: &Snapshot) -> bool {
    last(snapshot, StepName::Probe).is_some_and(|record| record.phase == StepPhase::Done)
}

/// Whether what was decided is the part of a deployment that takes long: to
/// fetch, to build, to pull.
pub(super) fn takes_long(snapshot: &Snapshot, decision: &Decision) -> bool {
    match decision {
        Decision::Admit => matches!(first_state(snapshot), State::Fetching | State::Building),
        Decision::Run(step) | Decision::Retry(step, _) => matches!(step, StepName::Fetch | StepName::Build),
        _ => false,
    }
}

/// Whether a deployment in this state has yet to get its image.
pub(super) fn is_before_the_image(state: State) -> bool {
    matches!(state, State::Queued | State::Admitted | State::Fetching | State::Building)
}

/// What becomes of the question whether a deployment may serve users.
fn approval(deployment: &Deployment, now: Timestamp) -> Decision {
    let asked = deployment.approval.as_ref().filter(|approval| is_about(approval, deployment));
    let Some(policy) = &deployment.release.approval else { return Decision::Settle(ApprovalOutcome::Approved) };
    let Some(approval) = asked else { return Decision::Ask };
    if planted!(ApprovedByOne) && approval.answers.iter().any(|answer| answer.approved) {
        return Decision::Settle(ApprovalOutcome::Approved);
    }
    match approval.verdict(policy, &deployment.created_by, now) {
        ApprovalVerdict::Open(until) => Decision::Watch(until),
        ApprovalVerdict::Settled(ApprovalOutcome::Expired) if planted!(ExpiryIgnored) => {
            Decision::Settle(ApprovalOutcome::Approved)
        }
        ApprovalVerdict::Settled(outcome) => Decision::Settle(outcome),
    }
}

/// Whether a question is about the very image that would be promoted.
fn is_about(approval: &Approval, deployment: &Deployment) -> bool {
    deployment.artifact.as_ref() == Some(&approval.artifact)
}

/// Whether people must agree before a deployment serves, and have not yet.
pub(super) fn needs_approval(deployment: &Deployment) -> bool {
    let asked = deployment.approval.as_ref().filter(|approval| is_about(approval, deployment));
    let agreed = asked.is_some_and(|approval| approval.decided_at.is_some());
    deployment.kind == DeploymentKind::Deploy && deployment.release.approval.is_some() && !agreed
}

fn stop(snapshot: &Snapshot, cancel: &CancelRequest) -> Decision {
    match snapshot.deployment.state {
        State::Queued => Decision::Finish(cancel.conclusion()),
        _ => Decision::Go(way_out(snapshot), None),
    }
}

/// Where one goes that shall not be promoted: what may get requests is taken
/// out of the route first.
fn way_out(snapshot: &Snapshot) -> State {
    let has_share = was_begun(snapshot, StepName::Shift) && !planted!(ShareNotTakenBack);
    if has_share { State::Reverting } else { State::Unwinding }
}

/// Whether it is about to be promoted and nothing was done for that yet. A
/// cancel that came with the last answer of the probe was accepted, so it
/// counts: the promotion's intent would be refused.
fn is_unpromoted(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    deployment.state == State::Promoting
        && deployment.kind != DeploymentKind::Remove
        && !was_begun(snapshot, StepName::Promote)
}

/// Why going on makes no sense, if it makes none: engines die of it, or its
/// time is up. What was promoted is past this.
fn hopeless(snapshot: &Snapshot, now: Timestamp) -> Option<Failure> {
    let deployment = &snapshot.deployment;
    let state = deployment.state;
    // A removal goes through whatever it takes: half a removal is no state to be in.
    if !state.can_cancel() || state == State::Queued || deployment.kind == DeploymentKind::Remove {
        return None;
    }
    if state == State::AwaitingApproval {
        // People have a time of their own.
        return None;
    }
    if let Some(step) = snapshot.steps.last()
        && step.phase == StepPhase::Intent
        // This one, found begun and not ended, is another.
        && step.resumed.saturating_add(1) >= DEATHS
    {
        return Some(poisoned(state));
    }
    if state == State::Canary {
        // Each of its steps ends by itself.
        return None;
    }
    (deadline(deployment)? <= now).then(|| {
        let minutes = TOTAL.as_secs() / 60;
        let error = Error::new(ErrorKind::Timeout, format!("it was not promoted within {minutes} minutes"))
            .with_code("deadline_exceeded")
            .with_hint("the log says what took so long");
        Failure { step: None, ..Failure::from_error(StepName::Undo, &error) }
    })
}

/// Engines died again and again while a deployment was in `state`.
fn poisoned(state: State) -> Failure {
    let error = Error::new(ErrorKind::Internal, format!("engines died again and again while it was {state}"))
        .with_code("poisoned")
        .with_hint("look into the engine's log, mend the cause and deploy again");
    Failure { step: None, ..Failure::from_error(StepName::Undo, &error) }
}

/// When a deployment must have been promoted, once it was begun. A moment, so
/// it does not move when an engine restarts.
pub(super) fn deadline(deployment: &Deployment) -> Option<Timestamp> {
    let asked = deployment.approval.as_ref();
    let waited = asked.and_then(|asked| Some(asked.decided_at?.since(asked.asked_at))).unwrap_or_default();
    let held = deployment.canary.as_ref().map(|canary| canary.held).unwrap_or_default();
    deployment.started_at.map(|started| started.after(TOTAL).after(waited).after(held))
}

/// Where a deployment goes when a step has failed for good.
pub(super) fn after_failure(snapshot: &Snapshot, step: StepName, failure: &Failure) -> State {
    let is_git = matches!(snapshot.deployment.release.source, Source::Git { .. });
    let tried = |code: &str| failures(snapshot, code);
    match step {
        StepName::Promote if planted!(RouteNotRestored) => State::Unwinding,
        StepName::Promote if !may_be_routed(snapshot) => State::Unwinding,
        StepName::Promote => State::Reverting,
        StepName::Shift => way_out(snapshot),
        // It serves on. Where the route points by now is not known.
        StepName::RollBack => State::Reverting,
        StepName::Revert | StepName::Undo => State::Stuck,
        // Taking a route away fails only while the router is away; it is
        // tried again when a person says so.
        StepName::Unroute => State::Stuck,
        // Somebody has pruned the image: make it once more.
        StepName::Create | StepName::PreDeploy
            if failure.code == "image_not_found" && tried("image_not_found") <= 1 =>
        {
            if is_git {
                State::Fetching
            } else {
                State::Building
            }
        }
        // Somebody else has the slot's address: take another one.
        StepName::Start | StepName::Probe if failure.code == "port_taken" && !is_warm(snapshot) => {
            if tried("port_taken") < ADDRESSES { State::Preparing } else { State::Unwinding }
        }
        // The standby of a rollback has died: start the release anew.
        StepName::Probe if is_warm(snapshot) => State::Preparing,
        // It serves: what it does beside that is told, and changes nothing.
        StepName::PostPromote => State::Baking,
        // What it has left is collected as garbage.
        StepName::Tidy => snapshot.deployment.state,
        _ => State::Unwinding,
    }
}

/// How many steps of the deployment have failed with this code.
fn failures(snapshot: &Snapshot, code: &str) -> usize {
    let failed = |step: &&StepRecord| step.failure.as_ref().is_some_and(|failure| failure.code == code);
    snapshot.steps.iter().filter(failed).count()
}

/// Whether the deployment rolls back to instances that still run.
pub(super) fn is_warm(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    let Some(slot) = deployment.slot else { return false };
    let is_rollback = matches!(deployment.kind, DeploymentKind::Rollback { .. });
    is_rollback && !snapshot.instances.iter().any(|i| i.slot == slot && i.deployment == deployment.id)
}

/// Whether the deployment may have been given requests.
#[must_use]
pub(super) fn may_be_routed(snapshot: &Snapshot) -> bool {
    [StepName::Shift, StepName::Promote].into_iter().any(|step| was_begun(snapshot, step))
}

/// Whether a step that changes the route was ever begun. An attempt that failed
/// of a router that said nothing at all was not.
fn was_begun(snapshot: &Snapshot, step: StepName) -> bool {
    let asked_in_vain = |record: &StepRecord| record.failure.as_ref().is_some_and(|it| it.code == ROUTER_AWAY);
    snapshot.steps.iter().any(|record| record.name == step && !asked_in_vain(record))
}

/// Whether the deployment is what users are sent to, as far as it is written down.
pub(super) fn is_live(snapshot: &Snapshot) -> bool {
    let live = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref());
    live.is_some_and(|live| live.deployment == snapshot.deployment.id)
}

/// The last record of a step.
pub(super) fn last(snapshot: &Snapshot, step: StepName) -> Option<&StepRecord> {
    snapshot.steps.iter().rev().find(|record| record.name == step)
}

/// Whether a removal has taken the route away.
fn is_unrouted(snapshot: &Snapshot) -> bool {
    planted!(RemovedBeforeUnrouted)
        || last(snapshot, StepName::Unroute).is_some_and(|record| record.phase == StepPhase::Done)
}

fn first_state(snapshot: &Snapshot) -> State {
    let deployment = &snapshot.deployment;
    if deployment.kind == DeploymentKind::Remove {
        if planted!(RemovedBeforeUnrouted) {
            return State::Unwinding;
        }
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
pub(super) fn warm_standby(snapshot: &Snapshot) -> bool {
    let DeploymentKind::Rollback { to } = snapshot.deployment.kind else { return false };
    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    standby.is_some_and(|standby| standby.occupant.release() == to && (!standby.retiring || planted!(RetiringIsTaken)))
}

/// Whether something of another deployment is left where this one shall go.
fn slot_is_occupied(snapshot: &Snapshot) -> bool {
    let Some(app) = &snapshot.app else { return false };
    if planted!(SlotNotCleared) {
        return false;
    }
    let slot = app.serving.idle_slot();
    let stray = |instance: &Instance| instance.slot == slot && instance.deployment != snapshot.deployment.id;
    app.serving.standby.is_some() || snapshot.instances.iter().any(stray)
}

/// Runs a step for the first time, again after a crash, or again after a
/// failure that may pass.
pub(super) fn run(snapshot: &Snapshot, step: StepName) -> Decision {
    match last(snapshot, step) {
        Some(record) if record.phase == StepPhase::Failed && retry::is_worth_it(&snapshot.steps, record) => {
            let failed_at = record.finished_at.unwrap_or(record.started_at);
            Decision::Retry(step, failed_at.after(retry::backoff(step, retry::tries(&snapshot.steps, record))))
        }
        _ => Decision::Run(step),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::App;
    use crate::deployment::{
        AppRecord, DeploymentId, Expectation, Fence, Occupant, Revision, Serving, Slot, TeamId, Trigger, Version,
    };

    const BEGAN: Timestamp = Timestamp::from_micros(1_600_000_000_000_000);

    /// A deployment that was asked for so many seconds later than others.
    pub(in crate::engine) fn deployment(later: u64) -> Deployment {
        let created_at = BEGAN.after(Duration::from_secs(later));
        Deployment { created_at, ..admitted(DeploymentKind::Deploy).deployment }
    }

    fn admitted(kind: DeploymentKind) -> Snapshot {
        let release = App::new("shop", Source::image("shop:1").unwrap()).unwrap();
        let deployment = Deployment {
            id: DeploymentId::generate(),
            app: release.name.clone(),
            team: TeamId::default(),
            sequence: 1,
            kind,
            release: std::sync::Arc::new(release),
            revision: Revision::default(),
            artifact: None,
            slot: None,
            state: State::Admitted,
            conclusion: None,
            failure: None,
            cancel: None,
            fence: Fence::default(),
            version: Version::default(),
            created_by: "alice".to_owned(),
            trigger: Trigger::default(),
            key: None,
            approval: None,
            bake: None,
            expects: None,
            liveness: None,
            canary: None,
            created_at: BEGAN,
            started_at: Some(BEGAN),
            finished_at: None,
        };
        Snapshot { deployment, app: None, steps: Vec::new(), instances: Vec::new() }
    }

    /// By then something else may be live, which nobody has called ill.
    #[test]
    fn the_engine_goes_back_only_from_what_it_has_found_unwell() {
        let mut snapshot = admitted(DeploymentKind::Rollback { to: DeploymentId::generate() });
        let ill = DeploymentId::generate();
        snapshot.deployment.trigger = Trigger::Unwell;
        snapshot.deployment.key =
            Some(crate::deployment::IdempotencyKey::parse(crate::engine::liveness::wish(ill)).unwrap());
        let release = &snapshot.deployment.release;
        let mut app = AppRecord {
            team: TeamId::default(),
            spec: App::clone(release),
            serving: crate::deployment::Serving::default(),
            version: Version::default(),
            created_at: BEGAN,
            updated_at: BEGAN,
            removed_at: None,
        };
        let live = |deployment| crate::deployment::Occupant { deployment, slot: crate::Slot::Blue, restores: None };
        app.serving.live = Some(live(ill));
        snapshot.app = Some(app.clone());
        assert!(matches!(decide(&snapshot, BEGAN), Decision::Go(_, None)));
        app.serving.live = Some(live(DeploymentId::generate()));
        snapshot.app = Some(app);
        let Decision::Go(State::Unwinding, Some(failure)) = decide(&snapshot, BEGAN) else { panic!("it goes back") };
        assert_eq!(failure.code, "not_live_any_more");
    }

    /// Half a removal is no state to be in.
    #[test]
    fn the_removal_of_an_app_is_never_too_late() {
        let late = BEGAN.after(TOTAL + Duration::from_secs(1));
        let Decision::Go(State::Unwinding, Some(failure)) = decide(&admitted(DeploymentKind::Deploy), late) else {
            panic!("a deployment has one hour")
        };
        assert_eq!(failure.code, "deadline_exceeded");
        // The route is taken away before anything else.
        assert_eq!(decide(&admitted(DeploymentKind::Remove), late), Decision::Go(State::Promoting, None));
    }

    /// A plan may be outdated by the time of its turn; a removal that was begun
    /// by its first row is no less wanted for that, and unroutes first.
    #[test]
    fn a_planned_removal_goes_through_and_unroutes_first() {
        let mut snapshot = admitted(DeploymentKind::Remove);
        let live = Occupant { deployment: DeploymentId::generate(), slot: Slot::Blue, restores: None };
        let record = AppRecord {
            team: TeamId::default(),
            spec: App::clone(&snapshot.deployment.release),
            serving: Serving { live: Some(live), ..Serving::default() },
            version: Version::default(),
            created_at: BEGAN,
            updated_at: BEGAN,
            removed_at: Some(BEGAN),
        };
        snapshot.app = Some(record);
        let expects = Expectation { version: Version::default(), live: None, standby: None };
        snapshot.deployment.expects = Some(expects.clone());
        assert_eq!(decide(&snapshot, BEGAN), Decision::Go(State::Promoting, None));
        snapshot.deployment.state = State::Unwinding;
        assert_eq!(decide(&snapshot, BEGAN), Decision::Run(StepName::Unroute));

        let mut planned = Snapshot { app: snapshot.app, ..admitted(DeploymentKind::Deploy) };
        planned.deployment.expects = Some(Expectation { live: Some(DeploymentId::generate()), ..expects });
        let Decision::Go(State::Unwinding, Some(failure)) = decide(&planned, BEGAN) else { panic!("it is outdated") };
        assert_eq!(failure.code, "plan_outdated");
    }
}
