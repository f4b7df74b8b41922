//! What must hold of versions that get a share of the requests before they are promoted.

use std::collections::BTreeMap;

use super::Invariant;
use super::bake::{Looks, endpoint_of};
use crate::app::AppName;
use crate::backend::{Commit, Route};
use crate::clock::Timestamp;
use crate::deployment::{
    Deployment, DeploymentId, DeploymentKind, EventKind, Share, State, StepName, StepPhase, StepRecord,
};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// No version gets a larger share of the requests than was written down for it
/// before, and none gets one when its deployment has ended.
#[derive(Debug, Default)]
pub(super) struct ShareMeant {
    meant: BTreeMap<AppName, (DeploymentId, Share)>,
}

impl ShareMeant {
    fn check(&self, ledger: &Ledger, route: &Route) -> Verdict {
        let Some(share) = route.canary else { return Ok(()) };
        let Some((id, meant)) = self.meant.get(&route.app) else {
            return Err(format!("{share} of {} go to another slot, and that was meant for nobody", route.app));
        };
        let label = ledger.label(*id);
        if share > *meant {
            return Err(format!("{label} gets {share} of the requests, and was meant to get {meant}"));
        }
        match ledger.deployment(*id) {
            Some(entry) if !entry.state.is_terminal() => Ok(()),
            _ => Err(format!("{share} of {} go to {label}, which has ended", route.app)),
        }
    }
}

impl Invariant for ShareMeant {
    fn name(&self) -> &'static str {
        "share-meant"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::Committed(commit) => {
                let deployment = &commit.deployment;
                // What is live had a share once, and is mended while the next one has.
                let canary = deployment.canary.as_ref().filter(|_| !deployment.state.is_terminal());
                if let Some(share) = canary.and_then(|canary| canary.share) {
                    self.meant.insert(deployment.app.clone(), (deployment.id, share));
                }
            }
            // What was meant may be what was lost.
            Change::Routed(route) if !ledger.was_restored() => return self.check(ledger, route),
            _ => {}
        }
        Ok(())
    }
}

/// A version that shall get its users by steps is promoted after all of them:
/// each was held for its time, and it was found well at the end of each.
#[derive(Debug, Default)]
pub(super) struct StepByStep {
    looks: Looks,
    ways: BTreeMap<DeploymentId, Way>,
}

/// How far a deployment has come.
#[derive(Debug, Default)]
struct Way {
    /// The shares that it has got, with the end of their time.
    shares: Vec<(Share, Timestamp)>,
    /// The steps that are over.
    over: usize,
}

impl StepByStep {
    fn check(&mut self, ledger: &Ledger, commit: &Commit) -> Verdict {
        let deployment = &commit.deployment;
        let Some(policy) = deployment.release.canary.as_ref().filter(|_| deployment.kind == DeploymentKind::Deploy)
        else {
            return Ok(());
        };
        let label = ledger.label(deployment.id);
        let app = ledger.app(&deployment.app);
        let way = self.ways.entry(deployment.id).or_default();
        for event in &commit.events {
            if let EventKind::CanaryShifted { percent, ends_at } = event {
                way.shares.push((*percent, *ends_at));
            }
        }
        let over = deployment.canary.as_ref().map_or(0, |canary| canary.step);
        if over > way.over {
            let held = way.shares.last().filter(|_| way.shares.len() == over && over == way.over + 1);
            if held.is_none_or(|(_, ends_at)| commit.at < *ends_at) {
                return Err(format!("{label} has left step {} behind before its time", way.over + 1));
            }
            way.over = over;
            let endpoint = endpoint_of(app, deployment);
            if endpoint.is_some_and(|endpoint| !self.looks.just_well(&deployment.app, endpoint)) {
                return Err(format!("{label} has left step {over} behind, and was not found well at its end"));
            }
        }
        let has_live = app.is_some_and(|app| app.serving.live.is_some());
        let got: Vec<u8> = way.shares.iter().map(|(share, _)| share.percent()).collect();
        let wanted: Vec<u8> = policy.steps.iter().map(|step| step.percent).collect();
        if has_live && intends(commit, StepName::Promote) && (got != wanted || way.over != wanted.len()) {
            return Err(format!("{label} is promoted after {got:?} % of the requests, and {wanted:?} % are asked for"));
        }
        Ok(())
    }
}

/// Whether this commit says that a step is about to be done.
pub(super) fn intends(commit: &Commit, step: StepName) -> bool {
    commit.steps.iter().any(|record| record.name == step && record.phase == StepPhase::Intent)
}

impl Invariant for StepByStep {
    fn name(&self) -> &'static str {
        "step-by-step"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        self.looks.note(change, when.at);
        match change {
            // What it has come through may be what was lost.
            Change::Committed(commit) if !ledger.was_restored() => self.check(ledger, commit),
            _ => Ok(()),
        }
    }
}

/// The engine takes a share back from what does not run, was found unwell as
/// often as its policy asks for, could not be looked at, or is not wanted.
#[derive(Debug, Default)]
pub(super) struct TakenForCause {
    /// How often in a row each was found unwell, as was told last.
    unwell: BTreeMap<DeploymentId, u32>,
}

impl TakenForCause {
    fn check(&self, ledger: &Ledger, commit: &Commit) -> Verdict {
        let deployment = &commit.deployment;
        let taken = EventKind::StateChanged { from: State::Canary, to: State::Reverting };
        let is_wanted = ledger.deployment(deployment.id).is_some_and(|entry| !entry.cancelled);
        if !commit.events.contains(&taken) || !is_wanted || has_other_cause(commit, deployment) {
            return Ok(());
        }
        let times = self.unwell.get(&deployment.id).copied().unwrap_or_default();
        let asked = deployment.release.canary.as_ref().map_or(1, |policy| policy.failures);
        let own = ledger.containers().filter(|it| it.deployment == deployment.id);
        let runs = own.into_iter().any(|it| it.is_running() && !it.misled);
        if times >= asked || !runs {
            return Ok(());
        }
        let label = ledger.label(deployment.id);
        Err(format!("its share is taken back from {label} after {times} bad looks, and {asked} are asked for"))
    }
}

/// Whether it could not be given its share, or nothing could be said about it.
fn has_other_cause(commit: &Commit, deployment: &Deployment) -> bool {
    let failed = |step: &StepRecord| step.name == StepName::Shift && step.phase == StepPhase::Failed;
    let code = deployment.failure.as_ref().map(|failure| failure.code.as_str());
    commit.steps.iter().any(failed) || matches!(code, Some("canary_unverified" | "poisoned"))
}

impl Invariant for TakenForCause {
    fn name(&self) -> &'static str {
        "taken-for-cause"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        for event in &commit.events {
            match event {
                EventKind::CanaryUnwell { times, .. } => drop(self.unwell.insert(commit.deployment.id, *times)),
                EventKind::CanaryShifted { .. } => drop(self.unwell.remove(&commit.deployment.id)),
                _ => {}
            }
        }
        if ledger.was_restored() { Ok(()) } else { self.check(ledger, commit) }
    }
}
