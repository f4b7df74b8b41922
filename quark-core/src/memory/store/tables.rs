//! What a `MemoryStore` keeps, and how events and log lines are read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::leases::Leases;
use crate::Result;
use crate::app::{AppName, Domain};
use crate::backend::store::refusal;
use crate::clock::Timestamp;
use crate::deployment::{
    AppRecord, ContainerName, Deployment, DeploymentId, Endpoint, Event, EventKind, Generation, Instance, LogLine,
    LogStream, Serving, StepRecord,
};
use crate::planted::planted;
use crate::project::{ProjectName, ProjectRecord};

/// Everything, changed under one lock.
#[derive(Clone, Default)]
pub(super) struct Tables {
    pub(super) apps: BTreeMap<AppName, AppRecord>,
    pub(super) projects: BTreeMap<ProjectName, ProjectRecord>,
    pub(super) domains: HashMap<Domain, AppName>,
    pub(super) endpoints: HashMap<Endpoint, AppName>,
    pub(super) deployments: BTreeMap<DeploymentId, DeploymentRow>,
    /// The deployments of each app in the order of their sequence. Stays when
    /// the app goes: the numbering goes on should one of its name come again.
    pub(super) histories: HashMap<AppName, Vec<DeploymentId>>,
    /// What has not ended, by the time at which it was asked for.
    pub(super) unfinished: BTreeMap<(Timestamp, DeploymentId), AppName>,
    /// The instances of each app that are not removed.
    pub(super) instances: HashMap<AppName, BTreeMap<ContainerName, Instance>>,
    pub(super) leases: Leases,
    /// In the order of their numbers.
    events: Vec<Event>,
    /// The number of the last event, and what a leap has added to it.
    position: u64,
    /// What leaps have added to every number: apps that come new begin above it.
    leapt: u64,
}

/// How far a leap goes: more numbers than a store gives between two backups.
const LEAP: u64 = 1 << 32;

/// A deployment and what belongs to it alone.
#[derive(Clone)]
pub(super) struct DeploymentRow {
    pub(super) deployment: Deployment,
    pub(super) steps: Vec<StepRecord>,
    /// The sequence numbers of its events.
    events: Vec<u64>,
    log: Vec<LogLine>,
}

impl DeploymentRow {
    pub(super) fn new(deployment: Deployment) -> Self {
        Self { deployment, steps: Vec::new(), events: Vec::new(), log: Vec::new() }
    }
}

impl Tables {
    pub(super) fn row(&self, id: DeploymentId) -> Result<&DeploymentRow> {
        self.deployments.get(&id).ok_or_else(|| refusal::deployment_not_found(id))
    }

    pub(super) fn row_mut(&mut self, id: DeploymentId) -> Result<&mut DeploymentRow> {
        self.deployments.get_mut(&id).ok_or_else(|| refusal::deployment_not_found(id))
    }

    /// Appends an event to a deployment that is there.
    pub(super) fn tell(&mut self, id: DeploymentId, kind: EventKind, at: Timestamp) {
        let Some(row) = self.deployments.get_mut(&id) else { return };
        self.position += 1;
        let sequence = self.position;
        row.events.push(sequence);
        self.events.push(Event { sequence, app: row.deployment.app.clone(), deployment: id, at, kind });
    }

    pub(super) fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Vec<Event> {
        let from = |after: u64| self.events.partition_point(|event| event.sequence <= after);
        let Some(id) = deployment else {
            return self.events.iter().skip(from(after)).take(most).cloned().collect();
        };
        let Some(row) = self.deployments.get(&id) else { return Vec::new() };
        let start = row.events.partition_point(|sequence| *sequence <= after);
        let sequences = row.events.iter().skip(start).take(most);
        let events = sequences.filter_map(|sequence| self.events.get(from(sequence.saturating_sub(1))));
        events.cloned().collect()
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What serves of an app that comes new: nothing. Its generations go on
    /// above those that the world may have seen of one of the same name.
    pub(super) fn new_serving(&self) -> Serving {
        Serving { generation: Generation(self.leapt), ..Serving::default() }
    }

    pub(super) fn leap(&mut self) {
        self.leapt = self.leapt.saturating_add(LEAP);
        self.position = self.position.saturating_add(LEAP);
        self.leases.leap(LEAP);
        for app in self.apps.values_mut() {
            let generation = &mut app.serving.generation.0;
            *generation = generation.saturating_add(LEAP);
        }
    }

    pub(super) fn append_log(&mut self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        let log = &mut self.row_mut(id)?.log;
        for (at, stream, text) in lines {
            let sequence = if planted!(LogStartsAnew) { 1 } else { log.len() as u64 + 1 };
            log.push(LogLine { sequence, at, stream, text });
        }
        Ok(())
    }

    pub(super) fn forget_logs(&mut self, ended_before: Timestamp, most: usize) -> usize {
        let instances = self.instances.values().flat_map(BTreeMap::values);
        let occupied: BTreeSet<_> = instances.map(|instance| instance.deployment).collect();
        let is_old = |row: &&mut DeploymentRow| {
            let ended = row.deployment.finished_at.is_some_and(|at| at < ended_before);
            ended && !row.log.is_empty() && !occupied.contains(&row.deployment.id)
        };
        self.deployments.values_mut().filter(is_old).take(most).map(|row| row.log.clear()).count()
    }

    pub(super) fn log(&self, id: DeploymentId, after: u64, most: usize) -> Vec<LogLine> {
        let start = usize::try_from(after).unwrap_or(usize::MAX);
        let row = self.deployments.get(&id);
        row.map(|row| row.log.iter().skip(start).take(most).cloned().collect()).unwrap_or_default()
    }
}
