//! `Ledger`: what is true in a simulated world, whatever anybody was told.

mod apply;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::app::{AppName, CommitSha, HookPoint};
use crate::backend::ContainerState;
use crate::clock::Timestamp;
use crate::deployment::{
    Conclusion, ContainerName, Deployment, DeploymentId, DeploymentKind, Endpoint, Fence, Generation, IdempotencyKey,
    Instance, OwnerId, Serving, Share, Slot, State, StepName, StepPhase, Trigger,
};

pub(crate) use told::Told;

/// What is true in a simulated world, put together from its [changes](super::Change).
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    apps: BTreeMap<AppName, AppEntry>,
    deployments: BTreeMap<DeploymentId, DeploymentEntry>,
    containers: BTreeMap<ContainerName, ContainerEntry>,
    /// The containers of hooks, which are no instances.
    hooks: BTreeMap<ContainerName, HookEntry>,
    /// What the world has harmed, also what is gone by now.
    harmed: BTreeSet<ContainerName>,
    /// The commits that were pushed, numbered in their order from 1.
    pushes: BTreeMap<CommitSha, u64>,
    /// When the store went back in time, if it did.
    restored_at: Option<Duration>,
    /// Whether a person has let engines go on with a store that went back.
    resumed: bool,
    /// Since when nothing goes wrong any more.
    healed_at: Option<Duration>,
    /// How far ahead of the right time the store's clock ever was.
    store_ahead: Duration,
    /// The memory that all instances may use together, in bytes, if it is little.
    room: Option<u64>,
    /// Counts the changes.
    version: u64,
}

/// An app, from its first creation on: also while it is removed.
#[derive(Clone, Debug)]
pub struct AppEntry {
    /// Its name.
    pub name: AppName,
    /// Whether it is in the store.
    pub exists: bool,
    /// Whether it is being removed.
    pub removing: bool,
    /// What the store says about what serves.
    pub serving: Serving,
    /// The route that is in force.
    pub route: Option<RouteEntry>,
    /// The highest fence that the router has seen.
    pub route_fence: Fence,
    /// The highest sequence that was live since the app was created.
    pub newest_live: u64,
    /// The number of the newest commit that was live since the app was created.
    pub newest_commit: u64,
    /// Whether the world was not yet brought to what a restored store says.
    pub in_doubt: bool,
    /// Whether somebody asked for its route, and got no answer or an old one.
    pub unseen: bool,
    /// The last lease that was given.
    pub lease: LeaseEntry,
    /// The rows of its instances that are not removed.
    pub instances: BTreeMap<ContainerName, Instance>,
}

/// The last lease of an app.
#[derive(Clone, Debug, Default)]
pub struct LeaseEntry {
    /// Its fence.
    pub fence: Fence,
    /// Who holds it; nobody once it was given back.
    pub owner: Option<OwnerId>,
    /// Until when, in virtual time.
    pub until: Duration,
}

/// A route that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The slot that serves.
    pub active: Slot,
    /// Where it leads.
    pub endpoint: Endpoint,
    /// The slot that stands in, if one does, and where that is.
    pub backup: Option<Endpoint>,
    /// The share that the other slot gets, if it gets one, and where that is.
    pub canary: Option<(Share, Endpoint)>,
    /// Its generation.
    pub generation: Generation,
    /// The fence under which it was applied.
    pub fence: Fence,
}

/// A deployment.
#[derive(Clone, Debug)]
pub struct DeploymentEntry {
    /// Which.
    pub id: DeploymentId,
    /// Of which app.
    pub app: AppName,
    /// Its number among those of the app.
    pub sequence: u64,
    /// What it does.
    pub kind: DeploymentKind,
    /// Where it stands.
    pub state: State,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
    /// Whether a wish to cancel was accepted.
    pub cancelled: bool,
    /// The slot, once it has one.
    pub slot: Option<Slot>,
    /// The key of the wish, if it has one.
    pub key: Option<IdempotencyKey>,
    /// Which commit, once it is known.
    pub commit: Option<CommitSha>,
    /// What made somebody want it.
    pub trigger: Trigger,
    /// When a worker took it.
    pub started_at: Option<Timestamp>,
    /// Its steps, in the order in which they were begun.
    pub steps: Vec<StepEntry>,
    /// Whether it was ever live.
    pub was_live: bool,
    /// Whether the share of the requests that it gets is being changed.
    pub is_shifting: bool,
}

/// A step of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepEntry {
    /// Which.
    pub name: StepName,
    /// From 1.
    pub attempt: u32,
    /// How far it has come.
    pub phase: StepPhase,
    /// Until when it may take.
    pub deadline: Timestamp,
}

/// A container that is there.
#[derive(Clone, Debug)]
pub struct ContainerEntry {
    /// Its name.
    pub name: ContainerName,
    /// Of which app.
    pub app: AppName,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Whether it runs.
    pub state: ContainerState,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
    /// Whether this process was found well.
    pub found_well: bool,
    /// Whether somebody was told how it was, and not how it is.
    pub misled: bool,
    /// Whether the world has harmed it, or one of its name before it.
    pub harmed: bool,
}

/// The container of a hook that is there.
#[derive(Clone, Debug)]
pub struct HookEntry {
    /// Its name.
    pub name: ContainerName,
    /// The deployment in whose journal it is.
    pub deployment: DeploymentId,
    /// Which hook.
    pub point: HookPoint,
    /// Whether it runs.
    pub state: ContainerState,
    /// Whether the world has harmed it, or one of its name before it.
    pub harmed: bool,
}

impl ContainerEntry {
    /// Whether its process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }
}

impl DeploymentEntry {
    fn new(deployment: &Deployment) -> Self {
        Self {
            id: deployment.id,
            app: deployment.app.clone(),
            sequence: deployment.sequence,
            kind: deployment.kind.clone(),
            state: deployment.state,
            conclusion: deployment.conclusion,
            cancelled: false,
            slot: deployment.slot,
            key: deployment.key.clone(),
            commit: deployment.revision.commit.clone(),
            trigger: deployment.trigger,
            started_at: deployment.started_at,
            steps: Vec::new(),
            was_live: false,
            is_shifting: false,
        }
    }

    /// How far the last attempt at a step has come.
    #[must_use]
    pub fn phase(&self, step: StepName) -> Option<StepPhase> {
        self.steps.iter().rev().find(|entry| entry.name == step).map(|entry| entry.phase)
    }
}

impl AppEntry {
    /// Whether somebody has the right to act on it.
    #[must_use]
    pub fn is_leased(&self, at: Duration) -> bool {
        self.lease.owner.is_some() && self.lease.until > at
    }
}

impl Ledger {
    /// All apps that ever were, by name.
    pub fn apps(&self) -> impl Iterator<Item = &AppEntry> {
        self.apps.values()
    }

    /// An app that was created at least once.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&AppEntry> {
        self.apps.get(name)
    }

    /// All deployments, by id.
    pub fn deployments(&self) -> impl Iterator<Item = &DeploymentEntry> {
        self.deployments.values()
    }

    /// The deployments of an app, by id.
    pub fn deployments_of(&self, app: &AppName) -> impl Iterator<Item = &DeploymentEntry> {
        self.deployments.values().filter(move |entry| entry.app == *app)
    }

    /// A deployment.
    #[must_use]
    pub fn deployment(&self, id: DeploymentId) -> Option<&DeploymentEntry> {
        self.deployments.get(&id)
    }

    /// Whether the world has harmed a container, which may be gone by now.
    #[must_use]
    pub fn was_harmed(&self, name: &ContainerName) -> bool {
        self.harmed.contains(name)
    }

    /// All containers that are there, by name.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerEntry> {
        self.containers.values()
    }

    /// A container that is there.
    #[must_use]
    pub fn container(&self, name: &ContainerName) -> Option<&ContainerEntry> {
        self.containers.get(name)
    }

    /// All containers of hooks that are there, by name.
    pub fn hooks(&self) -> impl Iterator<Item = &HookEntry> {
        self.hooks.values()
    }

    /// The container of a hook that is there.
    #[must_use]
    pub fn hook(&self, name: &ContainerName) -> Option<&HookEntry> {
        self.hooks.get(name)
    }

    /// The container that answers at an endpoint.
    #[must_use]
    pub fn at(&self, endpoint: &Endpoint) -> Option<&ContainerEntry> {
        self.containers.values().find(|entry| entry.is_running() && entry.endpoint == *endpoint)
    }

    /// The active deployment of an app.
    #[must_use]
    pub fn active(&self, app: &AppName) -> Option<&DeploymentEntry> {
        self.deployments_of(app).find(|entry| entry.state.is_active())
    }

    /// What people call a deployment: its app and its number.
    #[must_use]
    pub fn label(&self, id: DeploymentId) -> String {
        match self.deployments.get(&id) {
            Some(entry) => format!("{}#{}", entry.app, entry.sequence),
            None => "unknown".to_owned(),
        }
    }

    /// The number of a commit among those that were pushed, from 1; 0 if it was not.
    #[must_use]
    pub fn push_of(&self, commit: &CommitSha) -> u64 {
        self.pushes.get(commit).copied().unwrap_or(0)
    }

    /// Whether the store went back in time.
    #[must_use]
    pub fn was_restored(&self) -> bool {
        self.restored_at.is_some()
    }

    /// When the store went back in time, in virtual time, if it did.
    #[must_use]
    pub fn restored_at(&self) -> Option<Duration> {
        self.restored_at
    }

    /// Whether a person has let engines go on with a store that went back:
    /// from then on what it says is true, whatever the world was.
    #[must_use]
    pub fn was_resumed(&self) -> bool {
        self.resumed
    }

    /// Since when nothing goes wrong any more, in virtual time, if it is so.
    #[must_use]
    pub fn healed_at(&self) -> Option<Duration> {
        self.healed_at
    }

    /// How far ahead of the right time the store's clock ever was.
    #[must_use]
    pub fn store_ahead(&self) -> Duration {
        self.store_ahead
    }

    /// The memory that all instances may use together, in bytes, if there is little.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        self.room
    }

    pub(crate) fn set_room(&mut self, room: Option<u64>) {
        self.room = room;
    }

    /// How many changes there were.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
}
