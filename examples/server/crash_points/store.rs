//! A store that kills its process at a given point.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot, Store,
};
use quark_core::deployment::{
    CancelRequest, IdempotencyKey, Instance, StepPhase, StepRecord, SupersedePolicy, Version,
};
use quark_core::process::{ProcessRef, Signal};
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{
    App, AppName, AppRecord, Deployment, DeploymentId, Event, EventKind, LogLine, LogStream, OwnerId, Result, State,
    Timestamp,
};

/// A store that kills its process at a given point.
#[derive(Debug)]
pub(super) struct Mortal {
    inner: Arc<dyn Store>,
    /// The file that says when to die.
    point: PathBuf,
}

impl Mortal {
    /// A store that lives on while there is no such file.
    pub(super) fn new(inner: Arc<dyn Store>, point: PathBuf) -> Self {
        Self { inner, point }
    }

    /// Dies if one of these points is the one. The file is read each time: it
    /// is there or not before the request that leads to the point.
    fn reach(&self, points: &BTreeSet<String>) {
        if fs::read_to_string(&self.point).is_ok_and(|point| points.contains(&point)) {
            // Nothing runs after this: no destructor, no flush, no handler.
            let _ = ProcessRef::of_pid(std::process::id()).is_some_and(|own| own.signal(Signal::Kill));
            // Another death than SIGKILL, which the test tells from it.
            std::process::abort();
        }
    }

    /// Does something that has a point before and one after it.
    async fn around<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.reach(&BTreeSet::from([format!("before:{what}")]));
        let done = work.await?;
        self.reach(&BTreeSet::from([format!("after:{what}")]));
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
fn points(commit: &Commit) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    for step in steps(commit) {
        let (first, second) = if step.phase == StepPhase::Intent { ("before", "intent") } else { ("outcome", "after") };
        before.insert(format!("{first}:{}", step.name));
        after.insert(format!("{second}:{}", step.name));
    }
    for state in states(commit) {
        before.insert(format!("before:{state}"));
        after.insert(format!("after:{state}"));
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
        self.reach(&lines.iter().map(|(_, _, text)| format!("log:{text}")).collect());
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

    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        self.around("project", self.inner.write_project(write)).await
    }

    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        self.inner.project(name).await
    }

    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.inner.projects().await
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

    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        self.inner.unfinished(app).await
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.inner.acquire_lease(app, owner, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.inner.renew_lease(lease, ttl).await
    }

    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        self.inner.check_lease(lease).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.inner.release_lease(lease).await
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.inner.events(deployment, after, most).await
    }

    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        self.inner.forget_logs(ended_before, most).await
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.inner.log(id, after, most).await
    }
}
