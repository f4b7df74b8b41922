//! What must hold of the store's records.

use super::Invariant;
use crate::backend::{Call, Commit};
use crate::deployment::{Conclusion, DeploymentId, DeploymentKind, EventKind, StepPhase};
use crate::error::ErrorKind;
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// A deployment goes from state to state as the table says, and never changes
/// once it has ended.
#[derive(Debug)]
pub(super) struct LegalStates;

impl Invariant for LegalStates {
    fn name(&self) -> &'static str {
        "legal-states"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let Some(known) = ledger.deployment(commit.deployment.id) else {
            return Err("a deployment was changed that was never created".to_owned());
        };
        let (from, to) = (known.state, commit.deployment.state);
        let label = ledger.label(known.id);
        let mut at = from;
        for event in &commit.events {
            if let EventKind::StateChanged { from, to } = event {
                if *from != at || !from.may_become(*to) {
                    return Err(format!("{label} was {at} and went from {from} to {to}"));
                }
                at = *to;
            }
        }
        if at != to {
            return Err(format!("{label} is {to}, and its events lead to {at}"));
        }
        if from.is_terminal() && known.conclusion != commit.deployment.conclusion {
            return Err(format!("{label} had ended, and its conclusion was changed"));
        }
        let ends = commit.events.iter().filter(|event| matches!(event, EventKind::Completed { .. })).count();
        if ends != usize::from(from != to && to.is_terminal()) {
            return Err(format!("{label} went from {from} to {to} with {ends} events that say that it ended"));
        }
        Ok(())
    }
}

/// One deployment of an app acts at a time.
#[derive(Debug)]
pub(super) struct OneActive;

impl Invariant for OneActive {
    fn name(&self) -> &'static str {
        "one-active"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        if !commit.deployment.state.is_active() {
            return Ok(());
        }
        let active: Vec<_> =
            ledger.deployments_of(&commit.deployment.app).filter(|entry| entry.state.is_active()).collect();
        if active.len() > 1 {
            let labels: Vec<_> = active.iter().map(|entry| ledger.label(entry.id)).collect();
            return Err(format!("{} are active at once", labels.join(" and ")));
        }
        Ok(())
    }
}

/// Each lease has a higher fence than the one before; what was cut off writes nothing.
#[derive(Debug)]
pub(super) struct FencesGrow;

impl Invariant for FencesGrow {
    fn name(&self) -> &'static str {
        "fences-grow"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::LeaseTaken(lease, _) => {
                let Some(app) = ledger.app(&lease.app) else { return Ok(()) };
                if lease.fence <= app.lease.fence {
                    let (old, new) = (app.lease.fence.0, lease.fence.0);
                    return Err(format!("a lease of {} has fence {new} after {old}", lease.app));
                }
                let other = app.lease.owner.as_ref().is_some_and(|owner| *owner != lease.owner);
                if other && app.lease.until > when.at {
                    return Err(format!("a lease of {} was given while somebody else held one", lease.app));
                }
            }
            Change::Committed(commit) => {
                let (app, fence) = (&commit.deployment.app, commit.guard.lease.fence);
                let newest = ledger.app(app).map_or(fence, |app| app.lease.fence);
                if fence < newest {
                    return Err(format!("{app} was written with fence {} after {} was given", fence.0, newest.0));
                }
            }
            Change::Routed(route) => {
                let seen = ledger.app(&route.app).map_or(route.fence, |app| app.route_fence);
                if route.fence < seen {
                    let (app, fence) = (&route.app, route.fence.0);
                    return Err(format!("{app} was routed with fence {fence} after {} was seen", seen.0));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Nothing is done to the world before the store knows that it is intended.
#[derive(Debug)]
pub(super) struct IntentFirst;

impl Invariant for IntentFirst {
    fn name(&self) -> &'static str {
        "intent-first"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Asked { op, call, .. } = change else { return Ok(()) };
        if ledger.was_restored() {
            // What was intended, and is being done, may be what was lost.
            return Ok(());
        }
        // What is done to no deployment in particular restores what is written down already.
        let Some((id, step)) = wish_of(call) else { return Ok(()) };
        let Some(entry) = ledger.deployment(id) else {
            return Err(format!("{op} was asked for a deployment that is not in the store"));
        };
        let phase = entry.steps.iter().rev().find(|known| known.name.as_str() == step).map(|known| known.phase);
        // One that was cut off may still ask for what others have ended meanwhile.
        match phase {
            Some(StepPhase::Intent | StepPhase::Done | StepPhase::Failed) => Ok(()),
            None => Err(format!("{op} was asked for {}:{step} before it was intended", ledger.label(id))),
        }
    }
}

/// No step fails by a fault of the engine itself.
#[derive(Debug)]
pub(super) struct NoInternalError;

impl Invariant for NoInternalError {
    fn name(&self) -> &'static str {
        "no-internal-error"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let mut failed = commit.steps.iter().filter_map(|step| step.failure.as_ref());
        match failed.find(|failure| failure.kind == ErrorKind::Internal) {
            Some(failure) => Err(format!("{}: {failure}", ledger.label(commit.deployment.id))),
            None => Ok(()),
        }
    }
}

/// For which deployment and which step a call is made.
pub(super) fn wish_of(call: &Call) -> Option<(DeploymentId, &str)> {
    let (id, step) = call.key.split_once(':')?;
    Some((id.parse().ok()?, step))
}

/// What is promoted by a commit, if something is: becomes live, and not because
/// the one after it is rolled back.
pub(super) fn promoted(ledger: &Ledger, commit: &Commit) -> Option<DeploymentId> {
    if commit.deployment.conclusion == Some(Conclusion::RolledBack) {
        return None;
    }
    let live = commit.serving.as_ref()?.live.as_ref()?.deployment;
    let before = ledger.app(&commit.deployment.app)?.serving.live.as_ref().map(|live| live.deployment);
    (before != Some(live)).then_some(live)
}

/// What was asked to stop, and was promised to stop, never serves.
#[derive(Debug)]
pub(super) struct CancelWins;

impl Invariant for CancelWins {
    fn name(&self) -> &'static str {
        "cancel-wins"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let Some(live) = promoted(ledger, commit) else { return Ok(()) };
        if ledger.deployment(live).is_some_and(|entry| entry.cancelled) {
            return Err(format!("{} serves, and was cancelled", ledger.label(live)));
        }
        Ok(())
    }
}

/// An older version never follows a newer one, unless somebody rolls back.
#[derive(Debug)]
pub(super) struct NewestWins;

impl Invariant for NewestWins {
    fn name(&self) -> &'static str {
        "newest-wins"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let Some(live) = promoted(ledger, commit).and_then(|live| ledger.deployment(live)) else { return Ok(()) };
        let newest = ledger.app(&live.app).map_or(0, |app| app.newest_live);
        if live.sequence < newest && !matches!(live.kind, DeploymentKind::Rollback { .. }) {
            return Err(format!("{} serves after {}#{newest} did", ledger.label(live.id), live.app));
        }
        Ok(())
    }
}

/// No two slots share an address.
#[derive(Debug)]
pub(super) struct PortsUnique;

impl Invariant for PortsUnique {
    fn name(&self) -> &'static str {
        "ports-unique"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::Committed(Commit { serving: Some(_), .. }) => {
                let existing = ledger.apps().filter(|app| app.exists);
                let mut endpoints: Vec<_> =
                    existing.flat_map(|app| [&app.serving.blue, &app.serving.green]).flatten().collect();
                endpoints.sort_unstable();
                match endpoints.windows(2).find(|pair| pair.first() == pair.last()) {
                    Some([endpoint, ..]) => Err(format!("two slots have the address {endpoint}")),
                    _ => Ok(()),
                }
            }
            // After a restore there may be some that the store has forgotten.
            Change::ContainerSeen(observed) if !ledger.was_restored() => {
                let Some(seen) = ledger.container(&observed.name).filter(|seen| seen.is_running()) else {
                    return Ok(());
                };
                let same = ledger.containers().filter(|other| other.is_running() && other.endpoint == seen.endpoint);
                if same.count() > 1 {
                    return Err(format!("two containers run at {}", seen.endpoint));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The same wish, made twice, is one deployment.
#[derive(Debug)]
pub(super) struct OnePerKey;

impl Invariant for OnePerKey {
    fn name(&self) -> &'static str {
        "one-per-key"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::DeploymentCreated(created) = change else { return Ok(()) };
        let Some(key) = created.deployment.key.as_ref().filter(|_| !created.existing) else { return Ok(()) };
        let mut others = ledger.deployments_of(&created.deployment.app);
        match others.find(|entry| entry.key.as_ref() == Some(key)) {
            Some(other) => Err(format!("{} was asked for once more, and created once more", ledger.label(other.id))),
            None => Ok(()),
        }
    }
}
