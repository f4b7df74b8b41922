//! What must hold where there is little room on the machine.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::app::AppName;
use crate::backend::Commit;
use crate::deployment::{DeploymentId, EventKind, Shortage};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::{AppEntry, Ledger};

type Verdict = Result<(), String>;

/// What is reserved together never comes to more than there is room for.
#[derive(Debug)]
pub(super) struct RoomKept;

impl Invariant for RoomKept {
    fn name(&self) -> &'static str {
        "room-kept"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let (Change::Committed(commit), Some(room)) = (change, ledger.room()) else { return Ok(()) };
        let reserved: u64 = ledger.apps().map(|app| reserved(app, |_| true)).sum();
        if commit.instances.is_empty() || reserved <= room {
            return Ok(());
        }
        let label = ledger.label(commit.deployment.id);
        Err(format!("with what {label} writes down {reserved} bytes are reserved, and there is room for {room}"))
    }
}

/// The memory that instances of an app may use.
fn reserved(app: &AppEntry, counts: impl Fn(&crate::deployment::Instance) -> bool) -> u64 {
    app.instances.values().filter(|instance| counts(instance)).map(|it| it.resources.memory_bytes()).sum()
}

/// Why a commit says that its deployment was refused for lack of room, if it does.
fn refused(commit: &Commit) -> Option<Shortage> {
    commit.events.iter().find_map(|event| match event {
        EventKind::StepFailed { failure, .. } => Shortage::of_code(&failure.code),
        _ => None,
    })
}

/// What was refused for lack of room makes nothing.
#[derive(Debug, Default)]
pub(super) struct RefusedMakesNothing {
    refused: BTreeSet<DeploymentId>,
}

impl Invariant for RefusedMakesNothing {
    fn name(&self) -> &'static str {
        "refused-makes-nothing"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::Committed(commit) if refused(commit).is_some() => {
                self.refused.insert(commit.deployment.id);
                Ok(())
            }
            // What it did is not known any more, and may be done again.
            Change::StoreRestored(_) => {
                self.refused.clear();
                Ok(())
            }
            Change::ContainerCreated(spec) if self.refused.contains(&spec.deployment) && !when.straggles => {
                Err(format!("{} was refused, and {} was made", ledger.label(spec.deployment), spec.name))
            }
            _ => Ok(()),
        }
    }
}

/// What is refused because of what is reserved would not have fitted at some
/// moment since its last write.
#[derive(Debug, Default)]
pub(super) struct RefusedForCause {
    /// The most that each app has reserved since the last write of a deployment.
    peaks: BTreeMap<DeploymentId, BTreeMap<AppName, u64>>,
}

impl RefusedForCause {
    /// What an app holds that a deployment has to go without: of its own app not
    /// its own, nor what is in the slot that it takes.
    fn holds(app: &AppEntry, own: &AppName, id: DeploymentId) -> u64 {
        let live = app.serving.live.as_ref().map(|live| live.slot);
        reserved(app, |it| app.name != *own || (Some(it.slot) == live && it.deployment != id))
    }

    fn note(&mut self, ledger: &Ledger) {
        let unfinished = ledger.deployments().filter(|entry| !entry.state.is_terminal());
        for entry in unfinished {
            let peaks = self.peaks.entry(entry.id).or_default();
            for app in ledger.apps() {
                let held = Self::holds(app, &entry.app, entry.id);
                let peak = peaks.entry(app.name.clone()).or_default();
                *peak = held.max(*peak);
            }
        }
    }
}

impl Invariant for RefusedForCause {
    fn name(&self) -> &'static str {
        "refused-for-cause"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let (Change::Committed(commit), Some(room)) = (change, ledger.room()) else { return Ok(()) };
        let deployment = &commit.deployment;
        self.note(ledger);
        let peaks = self.peaks.remove(&deployment.id).unwrap_or_default();
        if refused(commit) != Some(Shortage::Memory) || ledger.was_restored() {
            return Ok(());
        }
        let (held, needs) = (peaks.values().sum::<u64>(), deployment.release.resources.memory_bytes());
        if held + needs > room {
            return Ok(());
        }
        let label = ledger.label(deployment.id);
        Err(format!("{label} needs {needs} bytes and is refused, with {held} of {room} reserved at most"))
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        if ledger.room().is_some() && matches!(change, Change::Committed(_) | Change::DeploymentCreated(_)) {
            self.note(ledger);
        }
        Ok(())
    }
}
