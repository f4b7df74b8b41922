//! How each change alters the ledger.

use std::time::Duration;

use super::{AppEntry, ContainerEntry, DeploymentEntry, HookEntry, LeaseEntry, Ledger, RouteEntry, StepEntry};
use crate::app::{AppName, CommitSha, HookPoint};
use crate::backend::{
    CancelOutcome, Commit, ContainerSpec, ContainerState, CreatedDeployment, ObservedContainer, Purpose, Route,
};
use crate::deployment::{
    AppRecord, Canary, Conclusion, ContainerName, DeploymentId, DeploymentKind, Fence, InstanceState, State, StepRecord,
};
use crate::simulation::change::{Change, Circumstances};

impl Ledger {
    /// Writes a change down.
    pub(crate) fn apply(&mut self, change: &Change<'_>, circumstances: &Circumstances) {
        self.version += 1;
        match change {
            Change::AppCreated(record) => self.app_created(record),
            Change::DeploymentCreated(created) => self.deployment_created(created),
            Change::Committed(commit) => self.committed(commit),
            Change::CancelAccepted(id, outcome, request) => {
                let ended = (*outcome == CancelOutcome::Ended).then(|| request.conclusion());
                self.cancelled(*id, ended);
            }
            Change::LeaseTaken(lease, ttl) | Change::LeaseRenewed(lease, ttl) => {
                if let Some(app) = self.apps.get_mut(&lease.app) {
                    let until = circumstances.at.saturating_add(*ttl);
                    app.lease = LeaseEntry { fence: lease.fence, owner: Some(lease.owner.clone()), until };
                }
            }
            Change::LeaseReleased(lease) => {
                if let Some(app) = self.apps.get_mut(&lease.app).filter(|app| app.lease.fence == lease.fence) {
                    app.lease.owner = None;
                }
            }
            Change::ContainerCreated(spec) => self.container_created(spec),
            Change::ContainerSeen(observed) => self.container_seen(observed),
            Change::ContainerRemoved(name) => {
                self.containers.remove(*name);
                self.hooks.remove(*name);
            }
            Change::ContainerHarmed(name) => {
                self.harmed.insert(ContainerName::clone(name));
                if let Some(entry) = self.containers.get_mut(*name) {
                    entry.harmed = true;
                }
                if let Some(entry) = self.hooks.get_mut(*name) {
                    entry.harmed = true;
                }
            }
            Change::Misled(name) => {
                if let Some(entry) = self.containers.get_mut(*name) {
                    entry.misled = true;
                }
            }
            Change::RouteUnseen(app) => {
                if let Some(app) = self.apps.get_mut(*app) {
                    app.unseen = true;
                }
            }
            Change::FoundWell(endpoint) => {
                let asked = self.containers.values_mut().filter(|entry| entry.is_running());
                for entry in asked.filter(|entry| entry.endpoint == **endpoint) {
                    entry.found_well = true;
                }
            }
            Change::Routed(route) => self.routed(route),
            Change::Unrouted(app) => {
                if let Some(app) = self.apps.get_mut(*app) {
                    app.route = None;
                    app.compare();
                }
            }
            Change::Pushed(_, commit) => {
                let number = self.pushes.len() as u64 + 1;
                self.pushes.insert(CommitSha::clone(commit), number);
            }
            Change::StoreRestored(then) => {
                self.restored_at = Some(circumstances.at);
                self.restored(then);
            }
            Change::StoreLeapt => {
                self.resumed = true;
                self.apps.values_mut().for_each(|app| app.lease.owner = None);
            }
            Change::StoreClockSet(micros) => {
                let ahead = Duration::from_micros(u64::try_from(*micros).unwrap_or(0));
                self.store_ahead = self.store_ahead.max(ahead);
            }
            Change::Healed => self.healed_at = Some(circumstances.at),
            Change::Asked { .. } | Change::SafeMode(_) | Change::GoesOn | Change::ProjectWritten(..) => {}
        }
    }

    fn app_created(&mut self, record: &AppRecord) {
        let name = &record.spec.name;
        let entry = self.apps.entry(name.clone()).or_insert_with(|| AppEntry::of(name));
        entry.exists = true;
        entry.removing = false;
        entry.serving = record.serving.clone();
        entry.newest_live = 0;
        entry.newest_commit = 0;
        entry.instances.clear();
    }

    fn deployment_created(&mut self, created: &CreatedDeployment) {
        if created.existing {
            return;
        }
        for ended in &created.ended {
            self.cancelled(ended.id, ended.conclusion);
        }
        for stopping in &created.stopping {
            self.cancelled(*stopping, None);
        }
        let deployment = &created.deployment;
        self.deployments.insert(deployment.id, DeploymentEntry::new(deployment));
        if deployment.kind == DeploymentKind::Remove
            && let Some(app) = self.apps.get_mut(&deployment.app)
        {
            app.removing = true;
        }
    }

    /// Somebody asked a deployment to stop; it has ended if there is a conclusion.
    fn cancelled(&mut self, id: DeploymentId, ended: Option<Conclusion>) {
        let Some(entry) = self.deployments.get_mut(&id) else { return };
        entry.cancelled = true;
        if ended.is_some() && !entry.state.is_terminal() {
            entry.state = State::Completed;
            entry.conclusion = ended;
        }
    }

    fn committed(&mut self, commit: &Commit) {
        let Some(entry) = self.deployments.get_mut(&commit.deployment.id) else { return };
        let Some(app) = self.apps.get_mut(&entry.app) else { return };
        entry.state = commit.deployment.state;
        entry.conclusion = commit.deployment.conclusion;
        entry.slot = commit.deployment.slot;
        entry.started_at = commit.deployment.started_at;
        let canary = commit.deployment.canary.as_ref().filter(|_| entry.state == State::Canary);
        entry.is_shifting = canary.is_some_and(Canary::is_shifting);
        if commit.deployment.revision.commit.is_some() && entry.commit != commit.deployment.revision.commit {
            entry.commit.clone_from(&commit.deployment.revision.commit);
        }
        for step in &commit.steps {
            write_step(&mut entry.steps, step);
        }
        for instance in &commit.instances {
            if instance.state == InstanceState::Removed {
                app.instances.remove(&instance.name);
            } else {
                app.instances.insert(instance.name.clone(), instance.clone());
            }
        }
        if let Some(serving) = &commit.serving {
            app.serving = serving.clone();
        }
        if app.serving.live.as_ref().is_some_and(|live| live.deployment == entry.id) {
            entry.was_live = true;
            app.newest_live = app.newest_live.max(entry.sequence);
            let push = entry.commit.as_ref().and_then(|commit| self.pushes.get(commit));
            app.newest_commit = app.newest_commit.max(push.copied().unwrap_or(0));
        }
        app.compare();
        if commit.forget_app {
            app.exists = false;
        }
    }

    fn container_created(&mut self, spec: &ContainerSpec) {
        let instance = match &spec.purpose {
            Purpose::Instance(instance) => instance,
            Purpose::Hook(point) => return self.hook_created(spec, *point),
        };
        let entry = ContainerEntry {
            name: spec.name.clone(),
            app: spec.app.clone(),
            deployment: spec.deployment,
            endpoint: instance.endpoint.clone(),
            state: ContainerState::Created,
            started_at: None,
            found_well: false,
            misled: false,
            harmed: self.harmed.contains(&spec.name),
        };
        self.containers.entry(spec.name.clone()).or_insert(entry);
    }

    fn hook_created(&mut self, spec: &ContainerSpec, point: HookPoint) {
        let entry = HookEntry {
            name: spec.name.clone(),
            deployment: spec.deployment,
            point,
            state: ContainerState::Created,
            harmed: self.harmed.contains(&spec.name),
        };
        self.hooks.entry(spec.name.clone()).or_insert(entry);
    }

    fn container_seen(&mut self, observed: &ObservedContainer) {
        if let Some(hook) = self.hooks.get_mut(&observed.name) {
            hook.state = observed.state.clone();
        }
        let Some(entry) = self.containers.get_mut(&observed.name) else { return };
        if entry.started_at != observed.started_at {
            entry.found_well = false;
        }
        entry.state = observed.state.clone();
        entry.started_at = observed.started_at;
    }

    fn routed(&mut self, route: &Route) {
        let Some(app) = self.apps.get_mut(&route.app) else { return };
        app.route_fence = app.route_fence.max(route.fence);
        app.route = Some(RouteEntry::of(route));
        // What was on its way when the store went back is not what it says.
        app.in_doubt |= self.restored_at.is_some() && !self.resumed;
        app.compare();
    }

    /// The store is what it was; the world is not.
    fn restored(&mut self, then: &Self) {
        self.deployments.clone_from(&then.deployments);
        for app in self.apps.values_mut() {
            let then = then.apps.get(&app.name).cloned().unwrap_or_else(|| AppEntry::of(&app.name));
            let (route, route_fence) = (app.route.take(), app.route_fence);
            *app = AppEntry { route, route_fence, in_doubt: true, ..then };
            app.compare();
            self.harmed.extend(app.instances.keys().cloned());
        }
        // What has become of a container is not what the store says: the world's doing.
        for container in self.containers.values_mut() {
            container.harmed = true;
            self.harmed.insert(container.name.clone());
        }
        self.hooks.values_mut().for_each(|hook| hook.harmed = true);
    }
}

impl RouteEntry {
    /// What a route says.
    #[must_use]
    pub fn of(route: &Route) -> Self {
        Self {
            active: route.active,
            endpoint: route.endpoint(route.active).clone(),
            backup: route.backup.then(|| route.endpoint(route.active.other()).clone()),
            canary: route.canary.map(|share| (share, route.endpoint(route.active.other()).clone())),
            generation: route.generation,
            fence: route.fence,
        }
    }
}

impl AppEntry {
    fn of(name: &AppName) -> Self {
        Self {
            name: name.clone(),
            exists: false,
            removing: false,
            serving: crate::deployment::Serving::default(),
            route: None,
            route_fence: Fence::default(),
            newest_live: 0,
            newest_commit: 0,
            in_doubt: false,
            unseen: false,
            lease: LeaseEntry::default(),
            instances: std::collections::BTreeMap::new(),
        }
    }

    /// The world is what the store says again, if it is.
    fn compare(&mut self) {
        let (live, routed) = (self.serving.live.as_ref().map(|live| live.slot), self.route.as_ref());
        // The same slot may have been given to what the store has forgotten.
        let has_standby = self.serving.standby.is_some();
        let is_known =
            |route: &RouteEntry| route.generation <= self.serving.generation && (route.backup.is_none() || has_standby);
        let known = routed.is_none_or(is_known);
        let share = routed.and_then(|route| route.canary.as_ref()).map(|(share, _)| *share);
        if known && live == routed.map(|route| route.active) && share == self.serving.canary {
            self.in_doubt = false;
        }
    }
}

fn write_step(steps: &mut Vec<StepEntry>, step: &StepRecord) {
    let new = StepEntry { name: step.name, attempt: step.attempt, phase: step.phase, deadline: step.deadline };
    match steps.iter_mut().find(|known| (known.name, known.attempt) == (new.name, new.attempt)) {
        Some(known) => *known = new,
        None => steps.push(new),
    }
}
