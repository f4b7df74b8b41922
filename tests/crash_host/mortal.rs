//! A store that kills its process at a given point.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use async_trait::async_trait;
use quark_core::backend::{CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, Snapshot, Store};
use quark_core::deployment::{CancelRequest, Instance, StepPhase, SupersedePolicy, Version};
use quark_core::{
    App, AppName, AppRecord, Deployment, DeploymentId, Event, LogLine, LogStream, OwnerId, Result, Timestamp,
};
use quark_store::SqliteStore;

/// When to die.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The intent of this step is in the store.
    Intent(String),
    /// This step is done, and its outcome is not in the store.
    Outcome(String),
    /// The log says this.
    Log(String),
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some(("intent", step)) => Ok(Self::Intent(step.to_owned())),
            Some(("outcome", step)) => Ok(Self::Outcome(step.to_owned())),
            Some(("log", text)) => Ok(Self::Log(text.to_owned())),
            _ => bail!("`{text}` is not a point to die at"),
        }
    }
}

/// A store that kills its process at a given point.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: SqliteStore,
    point: Option<Point>,
}

impl Mortal {
    pub(crate) fn new(inner: SqliteStore, point: Option<Point>) -> Self {
        Self { inner, point }
    }

    fn die_at(&self, point: &Point) {
        if self.point.as_ref() == Some(point) {
            // Nothing runs after this: no destructor, no flush, no handler.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}

#[async_trait]
impl Store for Mortal {
    async fn commit(&self, commit: Commit) -> Result<Version> {
        let steps: Vec<_> = commit.steps.iter().map(|step| (step.name.to_string(), step.phase)).collect();
        for (name, _) in steps.iter().filter(|(_, phase)| *phase == StepPhase::Done) {
            self.die_at(&Point::Outcome(name.clone()));
        }
        let version = self.inner.commit(commit).await?;
        for (name, _) in steps.iter().filter(|(_, phase)| *phase == StepPhase::Intent) {
            self.die_at(&Point::Intent(name.clone()));
        }
        Ok(version)
    }
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        for (_, _, text) in &lines {
            self.die_at(&Point::Log(text.clone()));
        }
        self.inner.append_log(id, lines).await
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
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.inner.create_deployment(deployment, job, policy).await
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
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.inner.request_cancel(id, request).await
    }
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.inner.instances(app).await
    }
    async fn position(&self) -> Result<u64> {
        self.inner.position().await
    }
    async fn leap(&self) -> Result<()> {
        self.inner.leap().await
    }
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.inner.events(deployment, after, most).await
    }
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.inner.log(id, after, most).await
    }
}
