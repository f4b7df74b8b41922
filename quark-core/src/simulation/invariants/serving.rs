//! What must hold of what users are sent to.

use std::time::Duration;

use super::Invariant;
use crate::app::AppName;
use crate::backend::Route;
use crate::deployment::{ContainerName, DeploymentKind, Endpoint, State, StepName, StepPhase};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::executor::ProcessId;
use crate::simulation::faults::Op;
use crate::simulation::ledger::{AppEntry, ContainerEntry, Ledger};

type Verdict = Result<(), String>;

/// How long a step may go on that was begun before the store went back in time.
const BEGUN_BEFORE: Duration = Duration::from_secs(150);

/// Nothing that serves, stands by or is being promoted is stopped or removed.
#[derive(Debug)]
pub(super) struct Protected;

impl Protected {
    /// Whether what is live runs at the address of `container`, which is
    /// something else: only one can listen there.
    fn is_held_by_live(ledger: &Ledger, app: &AppEntry, container: &ContainerEntry) -> bool {
        let Some(live) = &app.serving.live else { return false };
        let own =
            app.instances.values().filter(|instance| instance.slot == live.slot && instance.name != container.name);
        let runs = |name| ledger.container(name).is_some_and(|it| it.is_running() && it.endpoint == container.endpoint);
        own.map(|instance| &instance.name).any(runs)
    }

    fn check(ledger: &Ledger, name: &ContainerName, when: &Circumstances) -> Verdict {
        let Some(container) = ledger.container(name) else { return Ok(()) };
        let Some(app) = ledger.app(&container.app) else { return Ok(()) };
        if app.in_doubt && (ledger.was_resumed() || app.unseen) {
            // A route that the store does not know protects nothing any more
            // once a person has decided, and nothing that could not be asked for.
            return Ok(());
        }
        let label = ledger.label(container.deployment);
        let active = ledger.active(&app.name);
        if let Some(route) = &app.route {
            // An address is reused: only what answers there now gets requests.
            let answers = ledger.at(&container.endpoint).is_some_and(|there| there.name == *name)
                && !Self::is_held_by_live(ledger, app, container);
            if answers && route.endpoint == container.endpoint {
                return Err(format!("{label} was ended while requests were sent to it"));
            }
            if answers && route.backup.as_ref() == Some(&container.endpoint) {
                return Err(format!("{label} was ended while it stood in"));
            }
            if answers && route.canary.as_ref().is_some_and(|(_, endpoint)| *endpoint == container.endpoint) {
                return Err(format!("{label} was ended while it got a share of the requests"));
            }
        }
        // An app that is removed has no version worth keeping once its route is gone.
        if app.removing || !app.exists {
            return Ok(());
        }
        // What was begun before the store went back is ended by what was lost.
        if ledger.restored_at().is_some_and(|restored| when.at < restored + BEGUN_BEFORE) {
            return Ok(());
        }
        let Some(row) = app.instances.get(name) else { return Ok(()) };
        if app.serving.live.as_ref().is_some_and(|live| live.slot == row.slot) {
            return Err(format!("{label} was ended while it was live"));
        }
        let waits = app.serving.standby.as_ref().filter(|standby| !standby.retiring);
        if waits.is_some_and(|standby| standby.occupant.slot == row.slot) {
            return Err(format!("{label} was ended while it stood by"));
        }
        let gets_users = |state| matches!(state, State::Canary | State::Promoting);
        if let Some(active) = active.filter(|active| gets_users(active.state) && active.slot == Some(row.slot)) {
            return Err(format!("{label} was ended while it was {}", active.state));
        }
        Ok(())
    }
}

impl Invariant for Protected {
    fn name(&self) -> &'static str {
        "protected"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            // What the world does to a container is no engine's fault.
            _ if when.process == ProcessId::WORLD => Ok(()),
            Change::Asked { op: Op::RuntimeStop, container: Some(name), .. } if is_restarted(ledger, name, when) => {
                Ok(())
            }
            Change::Asked { op: Op::RuntimeStop | Op::RuntimeRemove, container: Some(name), .. }
            | Change::ContainerRemoved(name) => Self::check(ledger, name, when),
            Change::ContainerSeen(observed) => {
                let known = ledger.container(&observed.name);
                let ran = known.is_some_and(|known| known.is_running() && !known.harmed);
                let ends = observed.state != crate::backend::ContainerState::Running;
                let restarted = is_restarted(ledger, &observed.name, when);
                if ran && ends && !restarted { Self::check(ledger, &observed.name, when) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }
}

/// Whether a container is of what is live, which is being restarted because it
/// was not well.
fn is_restarted(ledger: &Ledger, name: &ContainerName, when: &Circumstances) -> bool {
    let Some(app) = ledger.container(name).and_then(|container| ledger.app(&container.app)) else { return false };
    let Some(live) = &app.serving.live else { return false };
    let is_live = app.instances.get(name).is_some_and(|row| row.slot == live.slot);
    let phase = ledger.deployment(live.deployment).and_then(|entry| entry.phase(StepName::Restart));
    is_live && phase.is_some_and(|phase| phase != StepPhase::Done || when.straggles)
}

/// A container is started once, unless something has harmed it.
#[derive(Debug)]
pub(super) struct StartedOnce;

impl Invariant for StartedOnce {
    fn name(&self) -> &'static str {
        "started-once"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        let Change::ContainerSeen(observed) = change else { return Ok(()) };
        let Some(known) = ledger.container(&observed.name) else { return Ok(()) };
        let again = known.started_at.is_some() && known.started_at != observed.started_at;
        // An order that arrives a second time, or after an old answer, may start
        // what has ended meanwhile.
        let restarted = is_restarted(ledger, &observed.name, when);
        if again && !restarted && !known.harmed && !known.misled && !when.straggles && when.process != ProcessId::WORLD
        {
            return Err(format!("{} was started again", ledger.label(known.deployment)));
        }
        Ok(())
    }
}

/// Users are only sent to a process that runs and was found well.
#[derive(Debug, Default)]
pub(super) struct HealthyRoute {
    led_to: Option<Endpoint>,
    /// Where a share of the requests led to.
    shared_to: Option<Endpoint>,
}

impl HealthyRoute {
    fn check(ledger: &Ledger, route: &Route, endpoint: &Endpoint) -> Verdict {
        // What the world has harmed was fit to serve when it was last looked at.
        let at_endpoint = |harmed: bool| {
            // What an order that came late has made there is nothing that anybody refers to.
            let refers = |name| harmed || ledger.app(&route.app).is_some_and(|app| app.instances.contains_key(name));
            ledger.containers().any(|it| it.endpoint == *endpoint && it.harmed == harmed && refers(&it.name))
        };
        match ledger.at(endpoint) {
            Some(container) if container.found_well || container.harmed => Ok(()),
            Some(container) => Err(format!(
                "users of {} are sent to {}, which was never found well",
                route.app,
                ledger.label(container.deployment)
            )),
            None if at_endpoint(true) || !at_endpoint(false) && was_removed_by_hand(ledger, &route.app, endpoint) => {
                Ok(())
            }
            None => Err(format!("users of {} are sent to {endpoint}, where nothing runs", route.app)),
        }
    }
}

impl Invariant for HealthyRoute {
    fn name(&self) -> &'static str {
        "healthy-route"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        if let Change::Routed(route) = change {
            let before = ledger.app(&route.app).and_then(|app| app.route.as_ref());
            self.led_to = before.map(|route| route.endpoint.clone());
            self.shared_to = before.and_then(|route| route.canary.as_ref()).map(|(_, endpoint)| endpoint.clone());
        }
        Ok(())
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        let Change::Routed(route) = change else { return Ok(()) };
        if when.straggles && ledger.was_restored() {
            // It was on its way when the store went back; who ordered it is forgotten.
            return Ok(());
        }
        let endpoint = route.endpoint(route.active);
        if self.led_to.as_ref() != Some(endpoint) {
            Self::check(ledger, route, endpoint)?;
        }
        let share = route.canary.map(|_| route.endpoint(route.active.other()));
        match share.filter(|endpoint| self.shared_to.as_ref() != Some(*endpoint)) {
            Some(endpoint) => Self::check(ledger, route, endpoint),
            None => Ok(()),
        }
    }
}

/// Whether a container that the store knows of at an address is gone: only the
/// world takes one away without a word to the store.
fn was_removed_by_hand(ledger: &Ledger, app: &AppName, endpoint: &Endpoint) -> bool {
    let Some(app) = ledger.app(app) else { return false };
    let there = app.instances.values().filter(|instance| instance.endpoint == *endpoint);
    there.into_iter().any(|instance| ledger.container(&instance.name).is_none())
}

/// Outside of a promotion users are sent to what the store says is live.
#[derive(Debug)]
pub(super) struct RouteKept;

impl RouteKept {
    fn check(ledger: &Ledger, app: &AppEntry) -> Verdict {
        if app.removing || !app.exists || app.in_doubt {
            return Ok(());
        }
        let active = ledger.active(&app.name);
        let switches = |state| matches!(state, State::Promoting | State::RollingBack | State::Reverting | State::Stuck);
        if active.is_some_and(|active| switches(active.state) || active.is_shifting) {
            return Ok(());
        }
        let share = app.route.as_ref().and_then(|route| route.canary.as_ref()).map(|(share, _)| *share);
        if share != app.serving.canary {
            let (meant, name) = (app.serving.canary, &app.name);
            return Err(format!("{share:?} of the requests to {name} go to another slot, and {meant:?} should"));
        }
        match (&app.serving.live, &app.route) {
            (None, None) => Ok(()),
            (Some(live), Some(route)) if live.slot == route.active => Ok(()),
            (Some(live), None) => {
                Err(format!("{} is live, and {} has no route", ledger.label(live.deployment), app.name))
            }
            (Some(live), Some(route)) => Err(format!(
                "{} is live in {}, and users of {} are sent to {}",
                ledger.label(live.deployment),
                live.slot,
                app.name,
                route.active
            )),
            (None, Some(route)) => Err(format!("nothing is live, and {} has a route to {}", app.name, route.active)),
        }
    }
}

impl Invariant for RouteKept {
    fn name(&self) -> &'static str {
        "route-kept"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let app = match change {
            Change::Committed(commit) => &commit.deployment.app,
            Change::Routed(route) => &route.app,
            Change::Unrouted(app) => *app,
            _ => return Ok(()),
        };
        ledger.app(app).map_or(Ok(()), |app| Self::check(ledger, app))
    }
}

/// No older route replaces a newer one.
#[derive(Debug)]
pub(super) struct RouteOrder;

impl Invariant for RouteOrder {
    fn name(&self) -> &'static str {
        "route-order"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Routed(route) = change else { return Ok(()) };
        let Some(before) = ledger.app(&route.app).and_then(|app| app.route.as_ref()) else { return Ok(()) };
        let (old, new) = ((before.fence, before.generation), (route.fence, route.generation));
        if new < old {
            return Err(format!(
                "{} was routed by generation {} under fence {} after {} under {}",
                route.app, new.1.0, new.0.0, old.1.0, old.0.0
            ));
        }
        Ok(())
    }
}

/// No more than two versions of an app run, three while something is undone.
#[derive(Debug)]
pub(super) struct FewGenerations;

impl Invariant for FewGenerations {
    fn name(&self) -> &'static str {
        "few-generations"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::ContainerSeen(observed) = change else { return Ok(()) };
        let Some(app) = ledger.container(&observed.name).map(|seen| &seen.app) else { return Ok(()) };
        if ledger.was_restored() {
            // A person removes what the store has forgotten.
            return Ok(());
        }
        let running = ledger.containers().filter(|other| other.app == *app && other.is_running()).count();
        let undoing = ledger
            .active(app)
            .is_some_and(|active| active.state == State::Unwinding || active.kind == DeploymentKind::Remove);
        if running > 2 + usize::from(undoing) {
            return Err(format!("{running} containers of {app} run"));
        }
        Ok(())
    }
}
