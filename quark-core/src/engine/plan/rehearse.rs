//! What the engine's decisions come to if every step goes well: `decide` and
//! `settle`, which are pure, without the world between them. So a plan cannot
//! say anything else than the engine would do.

use std::time::Duration;

use super::model::{Effect, PlannedStep};
use crate::app::{Artifact, CommitSha, Domain, HookPoint, Source};
use crate::backend::Snapshot;
use crate::clock::Timestamp;
use crate::deployment::{
    ApprovalOutcome, ContainerName, Deployment, DeploymentKind, Endpoint, Failure, Instance, InstanceState, Slot,
    State, StepName, StepOutput, StepPhase, StepRecord,
};
use crate::engine::decide::{Decision, decide};
use crate::engine::draft::Draft;
use crate::engine::retirement::decide_retirement;
use crate::engine::{settle, step};
use crate::{Error, ErrorKind, Result};

/// A plan has fewer decisions than this, or something is wrong with it.
const LONGEST: usize = 200;

/// What is known before anything is done.
#[derive(Clone, Debug)]
pub(super) struct Known<'a> {
    /// The commit that would be deployed, if it could be found out.
    pub(super) commit: Option<CommitSha>,
    /// Its image, if it was built before.
    pub(super) artifact: Option<Artifact>,
    /// The journal of what is live: how long its steps took.
    pub(super) journal: &'a [StepRecord],
    /// The engine's base domain.
    pub(super) base: &'a Domain,
    pub(super) now: Timestamp,
}

/// What was found by going through a deployment.
#[derive(Debug)]
pub(super) struct Rehearsed {
    pub(super) steps: Vec<PlannedStep>,
    /// Why it is not even begun, if it is not.
    pub(super) failure: Option<Failure>,
}

/// Goes through a deployment, and through the retirement of `live`, which it
/// replaces.
pub(super) fn rehearse(snapshot: Snapshot, live: Option<&Deployment>, known: &Known<'_>) -> Result<Rehearsed> {
    let mut draft = Draft::of(snapshot);
    let mut steps = Vec::new();
    while !draft.snapshot().deployment.state.is_terminal() {
        if steps.len() > LONGEST {
            return Err(endless());
        }
        match decide(draft.snapshot(), known.now) {
            Decision::Admit => draft.admit(known.now),
            Decision::Run(name) | Decision::Retry(name, _) => steps.push(goes_well(&mut draft, name, known)?),
            Decision::Go(State::Unwinding, Some(failure)) => {
                return Ok(Rehearsed { steps: Vec::new(), failure: Some(failure) });
            }
            Decision::Go(to, failure) => settle::gone(&mut draft, to, failure),
            Decision::Ask => draft.ask(String::new(), known.now)?,
            Decision::Watch(_) => {
                steps.extend(question(&draft));
                draft.decided(ApprovalOutcome::Approved, known.now);
            }
            Decision::Settle(outcome) => draft.decided(outcome, known.now),
            Decision::Bake => {
                steps.extend(watch(&draft));
                settle::baked(&mut draft, crate::deployment::BakeOutcome::Passed, known.now);
            }
            Decision::Hold => steps.extend(hold(&mut draft, known)),
            Decision::Finish(conclusion) => draft.finish(conclusion, known.now),
            Decision::Vacate | Decision::Wait(_) | Decision::Done => return Err(endless()),
        }
    }
    if let Some(live) = live {
        steps.extend(retirement(&draft, live, known)?);
    }
    Ok(Rehearsed { steps, failure: None })
}

fn endless() -> Error {
    Error::new(ErrorKind::Internal, "the plan of the deployment has no end")
}

/// One step, as if it had gone well.
fn goes_well(draft: &mut Draft, name: StepName, known: &Known<'_>) -> Result<PlannedStep> {
    let effect = effect(draft.snapshot(), name, known)?;
    let output = match name {
        StepName::Fetch => StepOutput {
            commit: known.commit.clone(),
            artifact: known.artifact.clone(),
            reused: known.artifact.is_some(),
            ..StepOutput::default()
        },
        StepName::Build => StepOutput { artifact: Some(unknown_image()), ..StepOutput::default() },
        StepName::Shift => {
            step::plan_share(draft)?;
            StepOutput::default()
        }
        StepName::Create => {
            take_slot(draft);
            StepOutput::default()
        }
        _ => StepOutput::default(),
    };
    let at_most = step::limit(name, &draft.snapshot().deployment.release);
    let record = settle::begin(draft, name, known.now.after(at_most), known.now);
    settle::succeed(draft, record, output, known.base, known.now);
    Ok(PlannedStep { effect, step: Some(name), at_most: Some(at_most), last_took: took(known.journal, name) })
}

/// An image of which nothing is known before it is there.
fn unknown_image() -> Artifact {
    Artifact { id: "planned".to_owned(), label: "planned".to_owned() }
}

/// What the intent of `create` writes, without asking the runtime for addresses.
fn take_slot(draft: &mut Draft) {
    let (id, app) = (draft.snapshot().deployment.id, draft.snapshot().deployment.app.clone());
    let slot = idle_slot(draft.snapshot());
    let serving = draft.snapshot().app.as_ref().map(|app| &app.serving);
    let endpoint = serving.and_then(|serving| serving.endpoint(slot).cloned());
    let resources = draft.snapshot().deployment.release.resources;
    draft.deployment().slot = Some(slot);
    draft.instance(Instance {
        name: ContainerName::of(&app, id, 0),
        deployment: id,
        replica: 0,
        slot,
        state: InstanceState::Planned,
        endpoint: endpoint.unwrap_or_else(|| Endpoint::new("planned")),
        resources,
    });
}

fn idle_slot(snapshot: &Snapshot) -> Slot {
    snapshot.app.as_ref().map_or(Slot::Blue, |app| app.serving.idle_slot())
}

fn effect(snapshot: &Snapshot, name: StepName, known: &Known<'_>) -> Result<Effect> {
    let deployment = &snapshot.deployment;
    let release = &deployment.release;
    let live = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref());
    Ok(match (name, &release.source) {
        (StepName::Fetch, Source::Git { repository, .. }) => match (&known.commit, &known.artifact) {
            (Some(commit), Some(_)) => Effect::Reuse { commit: commit.clone() },
            (commit, _) => Effect::Fetch { repository: repository.clone(), commit: commit.clone() },
        },
        (StepName::Build, Source::Git { .. }) => Effect::Build,
        (StepName::Build, Source::Image { image }) => Effect::Pull { image: image.clone() },
        (StepName::Clear, _) => Effect::MakeRoom { slot: idle_slot(snapshot) },
        (StepName::Create, _) => Effect::Create { slot: idle_slot(snapshot) },
        (StepName::Start, _) => Effect::Start,
        (StepName::Probe, _) => Effect::Probe { successes: release.health.successes },
        (StepName::Shift, _) => {
            let canary = deployment.canary.as_ref().zip(release.canary.as_ref());
            let step = canary.and_then(|(canary, policy)| policy.steps.get(canary.step));
            Effect::Share { percent: step.map_or(0, |step| step.percent), to: idle_slot(snapshot) }
        }
        (StepName::Promote, _) => {
            let to = deployment.slot.unwrap_or_else(|| idle_slot(snapshot));
            Effect::Promote { from: live.map(|live| live.slot), to }
        }
        (StepName::Unroute, _) => Effect::Unroute,
        (StepName::Undo, _) if deployment.kind == DeploymentKind::Remove => Effect::TakeAway,
        (StepName::PreDeploy, _) => Effect::Hook { point: HookPoint::PreDeploy },
        (StepName::PrePromote, _) => Effect::Hook { point: HookPoint::PrePromote },
        (StepName::PostPromote, _) => Effect::Hook { point: HookPoint::PostPromote },
        (StepName::PostRetire, _) => Effect::Hook { point: HookPoint::PostRetire },
        (StepName::Tidy, _) => Effect::Tidy,
        (StepName::Drain, _) => Effect::Drain,
        (StepName::Retire, _) => Effect::Retire,
        (name, _) => {
            return Err(Error::new(ErrorKind::Internal, format!("step {name} is no part of a plan")));
        }
    })
}

fn question(draft: &Draft) -> Option<PlannedStep> {
    let policy = draft.snapshot().deployment.release.approval.clone()?;
    let at_most = Some(policy.auto_approve.unwrap_or(policy.expires));
    Some(PlannedStep { effect: Effect::Ask { policy }, step: None, at_most, last_took: None })
}

/// The share of a step is held for its time.
fn hold(draft: &mut Draft, known: &Known<'_>) -> Option<PlannedStep> {
    let deployment = draft.snapshot().deployment.clone();
    let (canary, policy) = (deployment.canary?, deployment.release.canary.clone()?);
    let lasts = policy.steps.get(canary.step).map(|step| step.hold);
    settle::passed(draft, canary, &policy, known.now);
    Some(PlannedStep { effect: Effect::Hold, step: None, at_most: lasts, last_took: None })
}

fn watch(draft: &Draft) -> Option<PlannedStep> {
    draft.snapshot().deployment.bake.as_ref()?;
    let policy = draft.snapshot().deployment.release.bake.clone();
    let at_most = Some(policy.duration);
    Some(PlannedStep { effect: Effect::Bake { policy }, step: None, at_most, last_took: None })
}

/// How the version that was replaced is retired, at the end of its grace.
fn retirement(draft: &Draft, live: &Deployment, known: &Known<'_>) -> Result<Vec<PlannedStep>> {
    let after = draft.snapshot();
    let deployment = &after.deployment;
    let standby = after.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    let Some(standby) = standby.filter(|standby| standby.occupant.deployment == live.id) else {
        return Ok(Vec::new());
    };
    let grace = standby.retire_at.since(known.now);
    let mut steps = vec![PlannedStep { effect: Effect::Keep, step: None, at_most: Some(grace), last_took: None }];
    let at = standby.retire_at;
    let snapshot = Snapshot { deployment: live.clone(), steps: Vec::new(), ..after.clone() };
    let mut draft = Draft::of(snapshot);
    let hooked =
        deployment.kind == DeploymentKind::Deploy && deployment.release.hooks.at(HookPoint::PostRetire).is_some();
    while let Decision::Run(name) = decide_retirement(draft.snapshot(), at, false, hooked) {
        if steps.len() > LONGEST {
            return Err(endless());
        }
        steps.push(goes_well(&mut draft, name, known)?);
    }
    Ok(steps)
}

fn took(journal: &[StepRecord], name: StepName) -> Option<Duration> {
    let done = |record: &&StepRecord| record.name == name && record.phase == StepPhase::Done;
    let record = journal.iter().rev().find(done)?;
    Some(record.finished_at?.since(record.started_at))
}
