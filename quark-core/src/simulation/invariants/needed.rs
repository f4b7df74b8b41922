//! What must hold of what is live when it dies: something answers for it, and
//! it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Invariant;
use super::records::wish_of;
use crate::app::AppName;
use crate::backend::{ContainerState, Route};
use crate::deployment::{ContainerName, DeploymentId, Endpoint, State};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::executor::ProcessId;
use crate::simulation::faults::Op;
use crate::simulation::ledger::{AppEntry, Ledger};

type Verdict = Result<(), String>;

/// How far apart two clocks are that tell the same time.
const GRAIN: Duration = Duration::from_millis(10);
/// How long an engine that was stopped for a while needs to see what it has missed.
const WAKING: Duration = Duration::from_secs(2);

/// What answers in the place of a live version that does not run is not taken
/// out of the route to be retired. That it is not stopped either as long as it
/// is in the route, `protected` says.
#[derive(Debug, Default)]
pub(super) struct NeededStays {
    /// When something was started or ended at an address for the last time.
    changed: BTreeMap<Endpoint, Duration>,
    /// When somebody was told for the last time what was, and not what is.
    misled: Option<Duration>,
    woken: BTreeMap<ProcessId, Duration>,
}

impl NeededStays {
    fn note(&mut self, ledger: &Ledger, name: &ContainerName, at: Duration) {
        if let Some(container) = ledger.container(name) {
            self.changed.insert(container.endpoint.clone(), at);
        }
    }

    fn check(&self, ledger: &Ledger, wanted: &Route, when: &Circumstances) -> Verdict {
        let Some(app) = ledger.app(&wanted.app).filter(|app| !app.in_doubt && !app.removing && app.exists) else {
            return Ok(());
        };
        let Some(route) = app.route.as_ref().filter(|route| !wanted.backup && route.active == wanted.active) else {
            return Ok(());
        };
        let Some(backup) = &route.backup else { return Ok(()) };
        let is_down = ledger.at(&route.endpoint).is_none();
        // Only what its row names is what the engine asks for.
        let Some(stands_in) = ledger.at(backup).filter(|there| is_down && app.instances.contains_key(&there.name))
        else {
            return Ok(());
        };
        let changed = [&route.endpoint, backup].into_iter().filter_map(|endpoint| self.changed.get(endpoint));
        // Between its look and its order no time passes, unless it was stopped there.
        let just = changed.chain(&self.misled).max().is_some_and(|last| when.at <= *last + GRAIN);
        let wakes = self.woken.get(&when.process).is_some_and(|woken| when.at <= *woken + WAKING);
        if just || wakes {
            return Ok(());
        }
        let label = ledger.label(stands_in.deployment);
        Err(format!("{label} is taken out of the route, and it is all of {} that answers", app.name))
    }
}

impl Invariant for NeededStays {
    fn name(&self) -> &'static str {
        "needed-stays"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::ContainerRemoved(name) | Change::ContainerHarmed(name) => self.note(ledger, name, when.at),
            Change::ContainerSeen(observed) => self.note(ledger, &observed.name, when.at),
            Change::Misled(_) | Change::RouteUnseen(_) => self.misled = Some(when.at),
            Change::GoesOn => drop(self.woken.insert(when.process, when.at)),
            Change::Asked { op: Op::RouterApply, call, route: Some(route), .. }
                if wish_of(call).is_some_and(|(_, step)| matches!(step, "clear" | "drain")) =>
            {
                return self.check(ledger, route, when);
            }
            _ => {}
        }
        Ok(())
    }
}

/// After how long without trouble a world counts as calm.
const CALM: Duration = Duration::from_secs(60);
/// How long what is live may be down in calm: it is looked at every minute.
const DOWN: Duration = Duration::from_secs(120);
/// How long it may be down while one step takes long: it is looked at every 5 s.
const MEANWHILE: Duration = Duration::from_secs(20);

/// While nothing else goes wrong, what is live and has died runs again soon,
/// also while a deployment of the app takes long.
#[derive(Debug, Default)]
pub(super) struct MendedSoon {
    /// What is live and does not run, and since when.
    down: BTreeMap<AppName, (DeploymentId, Duration)>,
    /// Since when a deployment is in a state.
    since: BTreeMap<DeploymentId, (State, Duration)>,
    /// What has been restarted so that the next time may wait.
    waits: BTreeSet<DeploymentId>,
}

/// What is live of an app and does not run.
fn dead(ledger: &Ledger, app: &AppEntry) -> Option<DeploymentId> {
    if app.removing || !app.exists || app.in_doubt {
        return None;
    }
    let live = app.serving.live.as_ref()?;
    let own = app.instances.values().filter(|instance| instance.slot == live.slot);
    let runs = |name| ledger.container(name).is_some_and(|it| it.state == ContainerState::Running);
    (!own.map(|instance| &instance.name).any(runs)).then_some(live.deployment)
}

impl MendedSoon {
    fn look(&mut self, ledger: &Ledger, at: Duration) {
        for app in ledger.apps() {
            match dead(ledger, app) {
                None => drop(self.down.remove(&app.name)),
                Some(id) if self.down.get(&app.name).is_some_and(|(known, _)| *known == id) => {}
                Some(id) => drop(self.down.insert(app.name.clone(), (id, at))),
            }
        }
    }

    fn check(&self, ledger: &Ledger, name: &AppName, id: DeploymentId, began: Duration, at: Duration) -> Verdict {
        let waited = |since: Duration| at.saturating_sub(began.max(since));
        if waited(Duration::ZERO) > DOWN {
            return Err(format!("{} is live and down for {:?}, in calm", ledger.label(id), waited(Duration::ZERO)));
        }
        let long = |state| matches!(state, State::Fetching | State::Building | State::Probing);
        let Some(active) = ledger.active(name).filter(|active| active.id != id && long(active.state)) else {
            return Ok(());
        };
        let since = self.since.get(&active.id).filter(|(state, _)| *state == active.state);
        match since.map(|(_, since)| waited(*since)).filter(|waited| *waited > MEANWHILE) {
            Some(waited) => Err(format!(
                "{} is live and down for {waited:?} while {} is {}, in calm",
                ledger.label(id),
                ledger.label(active.id),
                active.state
            )),
            None => Ok(()),
        }
    }
}

impl Invariant for MendedSoon {
    fn name(&self) -> &'static str {
        "mended-soon"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::Committed(commit) => {
                let (id, state) = (commit.deployment.id, commit.deployment.state);
                if self.since.get(&id).is_none_or(|(known, _)| *known != state) {
                    self.since.insert(id, (state, when.at));
                }
                if commit.deployment.liveness.as_ref().is_some_and(|liveness| !liveness.restarts.is_empty()) {
                    self.waits.insert(id);
                }
                self.look(ledger, when.at);
            }
            Change::ContainerSeen(_) | Change::ContainerRemoved(_) => self.look(ledger, when.at),
            Change::StoreRestored(_) => self.since.clear(),
            _ => {}
        }
        if ledger.was_restored() {
            return Ok(());
        }
        let calm = when.troubled + CALM;
        for (name, (id, since)) in self.down.iter().filter(|_| when.at > calm) {
            // Somebody may have asked for its removal since: then it is not brought back to life.
            let app = ledger.apps().find(|app| app.name == *name);
            if app.and_then(|app| dead(ledger, app)) != Some(*id) || self.waits.contains(id) {
                continue;
            }
            self.check(ledger, name, *id, calm.max(*since), when.at)?;
        }
        Ok(())
    }
}
