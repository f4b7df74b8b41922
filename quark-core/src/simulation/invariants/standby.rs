//! What must hold of the version before: as long as it stands by it can be gone
//! back to, and stands in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Invariant;
use super::records::wish_of;
use crate::backend::ContainerState;
use crate::deployment::{ContainerName, DeploymentKind, Endpoint, State};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::faults::Op;
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// How far apart two clocks are that tell the same time.
const GRAIN: Duration = Duration::from_millis(10);

/// A standby is kept until its time, unless a newer deployment needs its place
/// or the app is removed.
#[derive(Debug)]
pub(super) struct StandbyKept;

impl Invariant for StandbyKept {
    fn name(&self) -> &'static str {
        "standby-kept"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let (Some(serving), Some(app)) = (&commit.serving, ledger.app(&commit.deployment.app)) else { return Ok(()) };
        let Some(known) = app.serving.standby.as_ref().filter(|known| !known.retiring) else { return Ok(()) };
        let id = known.occupant.deployment;
        let label = ledger.label(id);
        if let Some(still) = serving.standby.as_ref().filter(|still| still.occupant == known.occupant) {
            if still.retire_at < known.retire_at {
                return Err(format!("{label} stands by, and shall be retired earlier than was said"));
            }
            if !still.retiring {
                return Ok(());
            }
        }
        // Whoever needs the place writes in a journal of its own.
        if commit.deployment.id == id && when.now.after(ledger.store_ahead() + GRAIN) < known.retire_at {
            let early = known.retire_at.since(when.now);
            return Err(format!("{label} is retired {early:?} before its time"));
        }
        Ok(())
    }
}

/// What is being retired is not gone back to as if it went on running.
#[derive(Debug)]
pub(super) struct RetiringLeft;

impl Invariant for RetiringLeft {
    fn name(&self) -> &'static str {
        "retiring-left"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let deployment = &commit.deployment;
        let back = matches!(deployment.kind, DeploymentKind::Rollback { .. })
            && matches!(deployment.state, State::Probing | State::Promoting);
        let Some(app) = ledger.app(&deployment.app).filter(|_| back) else { return Ok(()) };
        let Some(standby) = app.serving.standby.as_ref().filter(|standby| standby.retiring) else { return Ok(()) };
        let own = app.instances.values().any(|instance| instance.deployment == deployment.id);
        if deployment.slot == Some(standby.occupant.slot) && !own {
            let (label, left) = (ledger.label(deployment.id), ledger.label(standby.occupant.deployment));
            return Err(format!("{label} goes back to {left}, which is being retired"));
        }
        Ok(())
    }
}

/// A version is only named as the one that stands in if it runs.
#[derive(Debug, Default)]
pub(super) struct BackupRuns {
    /// When something ended at an address for the last time.
    ended: BTreeMap<Endpoint, Duration>,
    /// When somebody was told for the last time how a container was, and not how it is.
    misled: Option<Duration>,
}

impl BackupRuns {
    fn note(&mut self, ledger: &Ledger, name: &ContainerName, at: Duration) {
        if let Some(container) = ledger.container(name) {
            self.ended.insert(container.endpoint.clone(), at);
        }
    }
}

impl Invariant for BackupRuns {
    fn name(&self) -> &'static str {
        "backup-runs"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::ContainerRemoved(name) | Change::ContainerHarmed(name) => self.note(ledger, name, when.at),
            Change::Misled(_) => self.misled = Some(when.at),
            Change::ContainerSeen(observed) if observed.state != ContainerState::Running => {
                self.note(ledger, &observed.name, when.at);
            }
            Change::Asked { route: Some(route), .. } if route.backup => {
                let endpoint = route.endpoint(route.active.other());
                // It may have ended in the moment between look and order.
                let last = self.ended.get(endpoint).max(self.misled.as_ref());
                let just_ended = last.is_some_and(|last| when.at <= *last + GRAIN);
                if ledger.at(endpoint).is_none() && !just_ended {
                    return Err(format!("{} shall stand in for {}, and does not run", endpoint, route.app));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whoever compares the world with the store leaves a route alone that is just
/// being switched.
#[derive(Debug)]
pub(super) struct MendWaits;

impl Invariant for MendWaits {
    fn name(&self) -> &'static str {
        "mend-waits"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Asked { op: op @ (Op::RouterApply | Op::RouterRemove), call, .. } = change else { return Ok(()) };
        let Some((id, "mend")) = wish_of(call) else { return Ok(()) };
        let Some(app) = ledger.deployment(id).and_then(|entry| ledger.app(&entry.app)) else { return Ok(()) };
        let switching = ledger.active(&app.name).filter(|it| {
            it.is_shifting || matches!(it.state, State::Promoting | State::RollingBack | State::Reverting)
        });
        // Whoever has lost the lease does not know what others have begun since.
        // Where no route is in force, there is no switch to undo.
        match switching.filter(|_| call.fence == app.lease.fence && app.route.is_some()) {
            Some(active) => {
                Err(format!("{op} mends {} while {} is {}", app.name, ledger.label(active.id), active.state))
            }
            None => Ok(()),
        }
    }
}
