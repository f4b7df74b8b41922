//! A store that kills its process at a given point.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use async_trait::async_trait;
use quark_core::backend::{CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, Snapshot, Store};
use quark_core::deployment::{
    CancelRequest, IdempotencyKey, Instance, StepPhase, StepRecord, SupersedePolicy, Version,
};
use quark_core::{
    App, AppName, AppRecord, Deployment, DeploymentId, Event, EventKind, LogLine, LogStream, OwnerId, Result, State,
    Timestamp,
};
use quark_store::SqliteStore;

/// When to die: see the list in `main.rs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point(String);

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let phase = text.split_once(':').map(|(phase, _)| phase);
        let known = phase.is_some_and(|phase| ["before", "intent", "outcome", "after", "log"].contains(&phase));
        ensure!(known, "`{text}` is not a point to die at");
        Ok(Self(text.to_owned()))
    }
}

/// A store that kills its process at a given point.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: SqliteStore,
    point: Mutex<Option<Point>>,
}

impl Mortal {
    /// A store that lives on.
    pub(crate) fn new(inner: SqliteStore) -> Self {
        Self { inner, point: Mutex::default() }
    }

    /// Dies when this point is reached.
    pub(crate) fn die_at(&self, point: Point) {
        *self.point.lock().unwrap_or_else(PoisonError::into_inner) = Some(point);
    }

    fn reach(&self, points: &BTreeSet<Point>) {
        let point = self.point.lock().unwrap_or_else(PoisonError::into_inner);
        if point.as_ref().is_some_and(|point| points.contains(point)) {
            // Nothing runs after this: no destructor, no flush, no handler.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }

    /// Does something that has a point before and one after it.
    async fn around<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.reach(&BTreeSet::from([Point(format!("before:{what}"))]));
        let done = work.await?;
        self.reach(&BTreeSet::from([Point(format!("after:{what}"))]));
        Ok(done)
    }
}

/// The steps that begin or end with a commit.
fn steps(commit: &Commit) -> impl Iterator<Item = &StepRecord> {
    commit.steps.iter()
}

/// The states that are entered with a commit.
fn states(commit: &Commit) -> impl Iterator<Item = State> {
    commit.events.iter().filter_map(|event| match event {
        EventKind::StateChanged { to, .. } => Some(*to),
        _ => None,
    })
}

/// The points right before and right after a commit.
fn points(commit: &Commit) -> (BTreeSet<Point>, BTreeSet<Point>) {
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    for step in steps(commit) {
        let (first, second) = if step.phase == StepPhase::Intent { ("before", "intent") } else { ("outcome", "after") };
        before.insert(Point(format!("{first}:{}", step.name)));
        after.insert(Point(format!("{second}:{}", step.name)));
    }
    for state in states(commit) {
        before.insert(Point(format!("before:{state}")));
        after.insert(Point(format!("after:{state}")));
    }
    (before, after)
}

#[async_trait]
impl Store for Mortal {
    async fn commit(&self, commit: Commit) -> Result<Version> {
        let (before, after) = points(&commit);
        self.reach(&before);
        let version = self.inner.commit(commit).await?;
        self.reach(&after);
        Ok(version)
    }
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        self.reach(&lines.iter().map(|(_, _, text)| Point(format!("log:{text}"))).collect());
        self.inner.append_log(id, lines).await
    }
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.around(State::Queued.as_str(), self.inner.create_deployment(deployment, job, policy)).await
    }
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.around("cancel", self.inner.request_cancel(id, request)).await
    }
    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        self.inner.deployment_by_key(app, key).await
    }
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.inner.instances(app).await
    }
    async fn now(&self) -> Result<Timestamp> {
        self.inner.now().await
    }
    async fn position(&self) -> Result<u64> {
        self.inner.position().await
    }
    async fn leap(&self) -> Result<()> {
        self.inner.leap().await
    }
    async fn installation(&self) -> Result<String> {
        self.inner.installation().await
    }
    fn queues_jobs(&self) -> bool {
        self.inner.queues_jobs()
    }
    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.inner.create_app(spec, at).await
    }
    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.inner.update_app(spec, expected, at).await
    }
    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        self.inner.app(name).await
    }
    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.inner.apps().await
    }
    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.inner.deployment(id).await
    }
    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.inner.deployments(app, before, most).await
    }
    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.inner.snapshot(id).await
    }
    async fn unfinished(&self) -> Result<Vec<Deployment>> {
        self.inner.unfinished().await
    }
    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.inner.acquire_lease(app, owner, ttl).await
    }
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.inner.renew_lease(lease, ttl).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.inner.release_lease(lease).await
    }
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.inner.events(deployment, after, most).await
    }
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.inner.log(id, after, most).await
    }
}
