//! What must hold of versions that are watched once they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Invariant;
use super::records::wish_of;
use crate::app::AppName;
use crate::backend::Commit;
use crate::deployment::{BakeOutcome, Deployment, DeploymentKind, Endpoint, EventKind, State};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::faults::Op;
use crate::simulation::ledger::{AppEntry, Ledger};

type Verdict = Result<(), String>;

/// What was found well since somebody took the right to work on an app.
#[derive(Debug, Default)]
pub(super) struct Looks {
    taken: BTreeMap<AppName, Duration>,
    well: BTreeMap<Endpoint, Duration>,
}

impl Looks {
    pub(super) fn note(&mut self, change: &Change<'_>, at: Duration) {
        match change {
            Change::LeaseTaken(lease, _) => drop(self.taken.insert(lease.app.clone(), at)),
            Change::FoundWell(endpoint) => drop(self.well.insert(Endpoint::clone(endpoint), at)),
            _ => {}
        }
    }

    /// Whether what is at `endpoint` was found well in this very burst of work.
    pub(super) fn just_well(&self, app: &AppName, endpoint: &Endpoint) -> bool {
        self.well.get(endpoint) >= self.taken.get(app)
    }
}

/// A version that is watched counts as well after its time, if it was found
/// well at the end; and each that shall be watched is.
#[derive(Debug, Default)]
pub(super) struct BakedThrough(Looks);

impl BakedThrough {
    fn check(&self, ledger: &Ledger, commit: &Commit) -> Verdict {
        let deployment = &commit.deployment;
        let label = ledger.label(deployment.id);
        let promoted = commit.events.iter().any(|event| matches!(event, EventKind::Promoted { .. }));
        let stands_by = commit.serving.as_ref().is_some_and(|serving| serving.standby.is_some());
        let watched = deployment.kind == DeploymentKind::Deploy && !deployment.release.bake.is_off();
        if promoted && stands_by && watched && deployment.bake.is_none() {
            return Err(format!("{label} serves, and is not watched"));
        }
        let passed = EventKind::BakeSettled { outcome: BakeOutcome::Passed };
        let Some(bake) = deployment.bake.as_ref().filter(|_| commit.events.contains(&passed)) else { return Ok(()) };
        if deployment.finished_at.is_none_or(|at| at < bake.ends_at) {
            return Err(format!("{label} counts as well before it was watched for its time"));
        }
        match endpoint_of(ledger.app(&deployment.app), deployment) {
            Some(endpoint) if !self.0.just_well(&deployment.app, endpoint) => {
                Err(format!("{label} counts as well, and was not found well when that was said"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn endpoint_of<'a>(app: Option<&'a AppEntry>, deployment: &Deployment) -> Option<&'a Endpoint> {
    app?.serving.endpoint(deployment.slot?)
}

impl Invariant for BakedThrough {
    fn name(&self) -> &'static str {
        "baked-through"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        self.0.note(change, when.at);
        match change {
            Change::Committed(commit) => self.check(ledger, commit),
            _ => Ok(()),
        }
    }
}

/// The engine rolls back what does not run, or was found unwell as often as
/// its policy asks for; once at most.
#[derive(Debug, Default)]
pub(super) struct BackForCause {
    /// How often in a row each was found unwell, as was told last.
    unwell: BTreeMap<crate::DeploymentId, u32>,
    /// Those that were rolled back, or were to be.
    back: BTreeSet<crate::DeploymentId>,
}

impl Invariant for BackForCause {
    fn name(&self) -> &'static str {
        "back-for-cause"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let deployment = &commit.deployment;
        let mut goes_back = false;
        for event in &commit.events {
            match event {
                EventKind::BakeUnwell { times, .. } => drop(self.unwell.insert(deployment.id, *times)),
                EventKind::StateChanged { to: State::RollingBack, .. } => goes_back = true,
                _ => {}
            }
        }
        let times = self.unwell.get(&deployment.id).copied().unwrap_or_default();
        if goes_back && !self.back.insert(deployment.id) && !ledger.was_restored() {
            return Err(format!("{} is rolled back for a second time", ledger.label(deployment.id)));
        }
        let asked = deployment.release.bake.failures;
        if !goes_back || times >= asked {
            return Ok(());
        }
        // Nobody starts it again meanwhile.
        let own = ledger.containers().filter(|it| it.deployment == deployment.id);
        let runs = own.into_iter().any(|it| it.is_running() && !it.misled);
        if runs && !ledger.was_restored() {
            let label = ledger.label(deployment.id);
            return Err(format!("{label} is rolled back after {times} bad looks, and {asked} are asked for"));
        }
        Ok(())
    }
}

/// The engine rolls back to what it has just found well.
#[derive(Debug, Default)]
pub(super) struct BackToTheWell(Looks);

impl Invariant for BackToTheWell {
    fn name(&self) -> &'static str {
        "back-to-the-well"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        self.0.note(change, when.at);
        let Change::Asked { op: Op::RouterApply, call, route: Some(route), .. } = change else { return Ok(()) };
        let Some((id, "roll_back")) = wish_of(call) else { return Ok(()) };
        // Whoever has lost the lease is refused.
        let Some(app) = ledger.app(&route.app).filter(|app| app.lease.fence == call.fence) else { return Ok(()) };
        let endpoint = route.endpoint(route.active);
        if self.0.just_well(&app.name, endpoint) {
            return Ok(());
        }
        Err(format!("{} is rolled back to {endpoint}, which was not found well", ledger.label(id)))
    }
}

/// A version that has died while it was watched is started again only once it
/// was seen to be dead: a watch that mends unseen would let anything pass.
#[derive(Debug, Default)]
pub(super) struct DeathSeen {
    /// Those that are watched, and whether each was seen to be dead at the last look.
    watched: BTreeMap<crate::DeploymentId, bool>,
}

impl Invariant for DeathSeen {
    fn name(&self) -> &'static str {
        "death-seen"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::Committed(commit) => {
                let deployment = &commit.deployment;
                match deployment.bake.as_ref().filter(|bake| bake.outcome.is_none()) {
                    Some(bake) if deployment.state == State::Baking => {
                        let seen = bake.failure.as_ref().filter(|_| bake.unwell > 0);
                        let code = seen.map_or("", |failure| failure.code.as_str());
                        let dead = matches!(code, "exited" | "out_of_memory" | "container_gone");
                        self.watched.insert(deployment.id, dead)
                    }
                    _ => self.watched.remove(&deployment.id),
                };
                Ok(())
            }
            Change::Asked { op: Op::RuntimeStart, call, .. } => {
                let Some((id, "mend")) = wish_of(call) else { return Ok(()) };
                // Whoever has lost the lease does not know what others have seen since.
                let app = ledger.deployment(id).and_then(|entry| ledger.app(&entry.app));
                let holds = app.is_some_and(|app| call.fence == app.lease.fence);
                if holds && self.watched.get(&id) == Some(&false) && !ledger.was_restored() {
                    return Err(format!("{} has died and is started again, and nobody has seen it", ledger.label(id)));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
