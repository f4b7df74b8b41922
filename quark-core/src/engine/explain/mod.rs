//! What an app is, what it should be, why it is not, and what comes next: a
//! pure function of what the store says and what the world shows.

mod alive;
mod gather;
mod model;
pub(super) mod text;

use super::drift::{Drift, drift};
use super::reconcile::is_switching;
use super::retry;
use crate::app::{App, HookPoint, Source};
use crate::backend::{ContainerState, EffectiveRoute, ObservedContainer};
use crate::clock::Timestamp;
use crate::deployment::{
    AppRecord, ApprovalVerdict, BakeOutcome, Conclusion, Deployment, DeploymentId, Failure, Instance, Slot, State,
    StepName, StepPhase, StepRecord,
};

pub(super) use gather::gather;
pub use model::{Explanation, Finding, Kept, Next, Served, Step, VersionName, Wait, Work};
pub(super) use text::span;

/// A deployment with its journal.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) deployment: Deployment,
    pub(super) steps: Vec<StepRecord>,
}

/// What an explanation is made from.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) at: Timestamp,
    pub(super) app: AppRecord,
    pub(super) safe_mode: Option<String>,
    pub(super) live: Option<Told>,
    pub(super) standby: Option<Told>,
    /// The newest deployment that has ended.
    pub(super) last: Option<Deployment>,
    /// The deployments that have not ended, the earliest first.
    pub(super) unfinished: Vec<Deployment>,
    /// Of these, one that waits for a place to build or for room on the machine,
    /// and what it waits for.
    pub(super) building: Option<(DeploymentId, Wait)>,
    /// The journal of the active one.
    pub(super) steps: Vec<StepRecord>,
    pub(super) instances: Vec<Instance>,
    /// What the runtime shows, or why it shows nothing.
    pub(super) containers: Result<Vec<ObservedContainer>, String>,
    /// What the router says is in force, or why it says nothing.
    pub(super) route: Result<Option<EffectiveRoute>, String>,
}

/// Explains an app.
pub(super) fn explain(facts: &Facts) -> Explanation {
    let mut explanation = Explanation {
        app: facts.app.spec.name.clone(),
        at: facts.at,
        live: facts
            .live
            .as_ref()
            .zip(facts.app.serving.live.as_ref())
            .map(|(it, live)| served(&it.deployment, live.slot)),
        standby: standby(facts),
        work: work(facts),
        findings: Vec::new(),
        next: Vec::new(),
    };
    explanation.findings = findings(facts, &explanation);
    explanation.next = next(facts, &explanation);
    explanation
}

pub(super) fn version(release: &App, deployment: &Deployment) -> VersionName {
    match (&release.source, &deployment.revision.commit) {
        (_, Some(commit)) => VersionName::Commit(commit.clone()),
        (Source::Git { branch, .. }, None) => {
            VersionName::Branch(deployment.revision.branch.as_ref().unwrap_or(branch).to_string())
        }
        (Source::Image { image }, None) => VersionName::Image(image.clone()),
    }
}

pub(super) fn served(deployment: &Deployment, slot: Slot) -> Served {
    Served {
        deployment: deployment.id,
        sequence: deployment.sequence,
        version: version(&deployment.release, deployment),
        slot,
        since: deployment.bake.as_ref().map(|bake| bake.began_at).or(deployment.finished_at),
    }
}

fn standby(facts: &Facts) -> Option<Kept> {
    let (standby, told) = facts.app.serving.standby.as_ref().zip(facts.standby.as_ref())?;
    let own = facts.instances.iter().filter(|instance| instance.slot == standby.occupant.slot);
    let runs = facts.containers.as_ref().ok().map(|containers| {
        let running = |instance: &Instance| {
            let same = |container: &&ObservedContainer| container.name == instance.name;
            containers.iter().find(same).is_some_and(|found| found.state == ContainerState::Running)
        };
        let own: Vec<_> = own.collect();
        !own.is_empty() && own.into_iter().all(running)
    });
    let served = served(&told.deployment, standby.occupant.slot);
    Some(Kept { served, until: standby.retire_at, retiring: standby.retiring, runs })
}

fn work(facts: &Facts) -> Vec<Work> {
    let first = facts.unfinished.iter().position(|deployment| deployment.state.is_active()).unwrap_or(0);
    let mut ordered: Vec<&Deployment> = facts.unfinished.iter().collect();
    if first < ordered.len() {
        let active = ordered.remove(first);
        ordered.insert(0, active);
    }
    let describe = |(index, deployment): (usize, &&Deployment)| {
        let step = facts.steps.last().filter(|_| deployment.state.is_active()).map(|record| Step {
            name: record.name,
            attempt: record.attempt,
            since: record.started_at,
            deadline: record.deadline,
            failure: last_failure(&facts.steps, record),
        });
        Work {
            deployment: deployment.id,
            sequence: deployment.sequence,
            kind: deployment.kind.clone(),
            version: version(&deployment.release, deployment),
            by: deployment.created_by.clone(),
            state: deployment.state,
            created_at: deployment.created_at,
            cancelled: deployment.cancel.is_some(),
            step,
            waits_for: waits_for(facts, deployment, index.checked_sub(1).and_then(|before| ordered.get(before))),
        }
    };
    ordered.iter().enumerate().map(describe).collect()
}

/// Why an attempt failed; or, while it lasts, why the one before it did.
fn last_failure(steps: &[StepRecord], record: &StepRecord) -> Option<Failure> {
    let same = steps.iter().rev().filter(|step| step.name == record.name);
    same.into_iter().find_map(|step| step.failure.clone())
}

fn waits_for(facts: &Facts, deployment: &Deployment, earlier: Option<&&Deployment>) -> Option<Wait> {
    if facts.safe_mode.is_some() {
        return Some(Wait::SafeMode);
    }
    if let Some((id, wait)) = &facts.building
        && *id == deployment.id
    {
        return Some(wait.clone());
    }
    match (deployment.state, earlier) {
        (State::Stuck, _) => Some(Wait::Person),
        (State::AwaitingApproval, _) => {
            let (approval, policy) = (deployment.approval.as_ref()?, deployment.release.approval.as_ref()?);
            match approval.verdict(policy, &deployment.created_by, facts.at) {
                ApprovalVerdict::Open(until) => {
                    Some(Wait::Approval { missing: approval.missing(policy, &deployment.created_by), until })
                }
                ApprovalVerdict::Settled(_) => None,
            }
        }
        (State::Baking, _) => {
            let bake = deployment.bake.as_ref()?;
            let failure = bake.failure.clone().filter(|_| bake.unwell > 0);
            Some(Wait::Bake { until: bake.ends_at, unwell: bake.unwell, failure })
        }
        (State::Canary, _) if deployment.canary.as_ref().is_some_and(|canary| !canary.is_shifting()) => {
            let canary = deployment.canary.as_ref()?;
            let failure = canary.failure.clone().filter(|_| canary.unwell > 0);
            Some(Wait::Canary {
                percent: canary.share?,
                step: canary.step + 1,
                steps: deployment.release.canary.as_ref().map_or(0, |policy| policy.steps.len()),
                until: canary.ends_at?,
                unwell: canary.unwell,
                failure,
            })
        }
        (State::Queued, Some(earlier)) => Some(Wait::Earlier(earlier.sequence)),
        (State::Queued, None) => Some(Wait::Worker),
        _ => {
            let last = facts.steps.last()?;
            let failed = last.phase == StepPhase::Failed && retry::is_worth_it(&facts.steps, last);
            let at = last
                .finished_at
                .unwrap_or(last.started_at)
                .after(retry::backoff(last.name, retry::tries(&facts.steps, last)));
            (failed && at > facts.at).then_some(Wait::Attempt(at))
        }
    }
}

fn findings(facts: &Facts, explanation: &Explanation) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(facts.safe_mode.clone().map(|reason| Finding::SafeMode { reason }));
    found.extend(facts.containers.as_ref().err().cloned().map(|why| Finding::RuntimeAway { why }));
    found.extend(facts.route.as_ref().err().cloned().map(|why| Finding::RouterAway { why }));
    if let (Ok(containers), Ok(route)) = (&facts.containers, &facts.route) {
        let switching = facts.unfinished.iter().any(is_switching);
        let drift = drift(&facts.app, &facts.instances, containers, route.clone(), switching);
        found.extend(drift.into_iter().map(|drift| finding(&facts.app, drift)));
    }
    if found.iter().any(is_mended) {
        found.extend(fails(facts.live.as_ref(), &[StepName::Mend]).map(|failure| Finding::MendFails { failure }));
    }
    let retires = fails(facts.standby.as_ref(), &[StepName::Drain, StepName::Retire]);
    found.extend(retires.map(|failure| Finding::RetirementFails { failure }));
    let stuck = explanation.work.iter().filter(|work| work.state == State::Stuck);
    found.extend(stuck.filter_map(|work| {
        // Upkeep of what serves is another matter.
        let upkeep = |step: &&StepRecord| matches!(step.name, StepName::Mend | StepName::Collect | StepName::Restart);
        let failed = facts.steps.iter().rev().find(|step| step.phase == StepPhase::Failed && !upkeep(step))?;
        let (step, failure) = (failed.name, failed.failure.clone()?);
        Some(Finding::Stuck { sequence: work.sequence, step, failure })
    }));
    let newest = facts.last.as_ref().filter(|last| last.conclusion == Some(Conclusion::Failed));
    if let Some((last, failure)) = newest.and_then(|last| Some((last, last.failure.clone()?))) {
        found.push(Finding::LastFailed { sequence: last.sequence, failure });
    }
    let newest = facts.last.as_ref().filter(|last| last.conclusion == Some(Conclusion::RolledBack));
    if let Some((last, failure)) = newest.and_then(|last| Some((last, last.failure.clone()?))) {
        found.push(Finding::LastRolledBack { sequence: last.sequence, failure });
    }
    let live = facts.live.as_ref().map(|live| &live.deployment);
    if let Some((live, bake)) = live.and_then(|live| Some((live, live.bake.as_ref()?)))
        && bake.outcome == Some(BakeOutcome::Held)
    {
        found.extend(bake.failure.clone().map(|failure| Finding::Held { sequence: live.sequence, failure }));
    }
    found.extend(hook_failed(facts.live.as_ref()));
    found.extend(facts.app.serving.contested.map(|slot| Finding::AddressTaken { slot }));
    if explanation.standby.as_ref().is_some_and(|standby| standby.runs == Some(false) && !standby.retiring) {
        found.push(Finding::StandbyDead);
    }
    found.extend(live.into_iter().flat_map(|live| alive::findings(live, facts.at)));
    found
}

/// Why the last try of one of these steps failed, if it did.
fn fails(told: Option<&Told>, steps: &[StepName]) -> Option<Failure> {
    let last =
        told?.steps.iter().rev().find(|record| steps.contains(&record.name) && record.phase != StepPhase::Intent)?;
    last.failure.clone().filter(|_| last.phase == StepPhase::Failed)
}

/// The hook that ran once this version served, if it has failed.
fn hook_failed(live: Option<&Told>) -> Option<Finding> {
    let failure = fails(live, &[StepName::PostPromote])?;
    Some(Finding::HookFailed { sequence: live?.deployment.sequence, hook: HookPoint::PostPromote, failure })
}

fn finding(app: &AppRecord, drift: Drift) -> Finding {
    match drift {
        Drift::Missing(container) => Finding::ContainerMissing { container },
        Drift::Stopped(container) => Finding::ContainerStopped { container },
        Drift::Unrouted => Finding::NoRoute,
        Drift::Misrouted(at) => {
            Finding::WrongRoute { at, should: app.serving.live.as_ref().map_or(at.other(), |live| live.slot) }
        }
        Drift::Misshared(at) => Finding::WrongShare { at, should: app.serving.canary },
        Drift::Routed => Finding::NeedlessRoute,
    }
}

fn next(facts: &Facts, explanation: &Explanation) -> Vec<Next> {
    let mut next = Vec::new();
    if facts.safe_mode.is_some() {
        return vec![Next::Resume];
    }
    let away = |finding: &Finding| matches!(finding, Finding::RuntimeAway { .. } | Finding::RouterAway { .. });
    if explanation.findings.iter().any(away) {
        next.push(Next::BringBack);
    }
    for (index, work) in explanation.work.iter().enumerate() {
        let (deployment, sequence) = (work.deployment, work.sequence);
        next.push(match work.state {
            State::Stuck => Next::RetryOrAbandon { deployment, sequence },
            State::Queued => Next::Begin { sequence },
            State::AwaitingApproval => Next::Answer { deployment, sequence },
            _ => Next::GoOn { sequence },
        });
        if index == 0 && work.state == State::Stuck {
            // The others wait for it.
            break;
        }
    }
    let idle = explanation.work.is_empty();
    if idle && explanation.findings.iter().any(is_mended) {
        next.push(Next::Mend);
    }
    if let Some(standby) = explanation.standby.as_ref().filter(|_| facts.app.removed_at.is_none()) {
        let sequence = standby.served.sequence;
        next.push(Next::Retire { sequence, at: standby.until.max(facts.at) });
        let may_go_back = idle || explanation.work.first().is_some_and(|work| work.state == State::Baking);
        if may_go_back && standby.runs != Some(false) && !standby.retiring {
            next.push(Next::RollBack { sequence });
        }
    }
    next.extend(facts.live.iter().flat_map(|live| alive::next(&live.deployment, facts.at)));
    let failed = |finding: &Finding| {
        matches!(finding, Finding::LastFailed { .. } | Finding::LastRolledBack { .. } | Finding::Held { .. })
    };
    if idle && explanation.findings.iter().any(failed) {
        next.push(Next::MendAndDeploy);
    } else if idle && explanation.live.is_none() {
        next.push(Next::Deploy);
    }
    next
}

/// Whether the engine mends this by itself.
fn is_mended(finding: &Finding) -> bool {
    matches!(
        finding,
        Finding::ContainerMissing { .. }
            | Finding::ContainerStopped { .. }
            | Finding::NoRoute
            | Finding::WrongRoute { .. }
            | Finding::WrongShare { .. }
            | Finding::NeedlessRoute
    )
}
