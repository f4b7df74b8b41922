//! The store and the queue as one process reaches them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{
    CancelOutcome, Claim, ClaimToken, ClaimedJob, Commit, CreatedDeployment, DeadJob, Enqueued, Lease, NewJob,
    ProjectWrite, ProjectWritten, Queue, QueueDepth, Snapshot, Store,
};
use quark_core::deployment::{CancelRequest, IdempotencyKey, Instance, SupersedePolicy, Version};
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{
    App, AppName, AppRecord, Clock, Deployment, DeploymentId, Event, LogLine, LogStream, OwnerId, Result, Timestamp,
};

use super::fate::{Detail, Fate};

/// A store as one process reaches it.
#[derive(Debug)]
pub(crate) struct FatedStore {
    pub(crate) inner: MemoryStore,
    /// The name that it goes by, if it is a copy of another store.
    pub(crate) installation: Option<String>,
    pub(crate) fate: Fate,
}

impl FatedStore {
    async fn pass<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.fate.pass(operation, Detail::Nothing, work).await
    }
}

#[async_trait]
impl Store for FatedStore {
    async fn installation(&self) -> Result<String> {
        let inner = self.pass("store.installation", self.inner.installation()).await?;
        Ok(self.installation.clone().unwrap_or(inner))
    }
    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        self.pass("store.write_project", self.inner.write_project(write)).await
    }
    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        self.pass("store.project", self.inner.project(name)).await
    }
    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.pass("store.projects", self.inner.projects()).await
    }
    fn queues_jobs(&self) -> bool {
        self.inner.queues_jobs()
    }
    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.pass("store.create_app", self.inner.create_app(spec, at)).await
    }
    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.pass("store.update_app", self.inner.update_app(spec, expected, at)).await
    }
    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        self.pass("store.app", self.inner.app(name)).await
    }
    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.pass("store.apps", self.inner.apps()).await
    }
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.pass("store.create_deployment", self.inner.create_deployment(deployment, job, policy)).await
    }
    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        self.pass("store.by_key", self.inner.deployment_by_key(app, key)).await
    }
    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.pass("store.deployment", self.inner.deployment(id)).await
    }
    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.pass("store.deployments", self.inner.deployments(app, before, most)).await
    }
    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.pass("store.snapshot", self.inner.snapshot(id)).await
    }
    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        self.pass("store.unfinished", self.inner.unfinished(app)).await
    }
    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.pass("store.acquire_lease", self.inner.acquire_lease(app, owner, ttl)).await
    }
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.pass("store.renew_lease", self.inner.renew_lease(lease, ttl)).await
    }
    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        self.pass("store.check_lease", self.inner.check_lease(lease)).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.pass("store.release_lease", self.inner.release_lease(lease)).await
    }
    async fn commit(&self, commit: Commit) -> Result<Version> {
        let seen = commit.clone();
        self.fate.pass("store.commit", Detail::Commit(&seen), self.inner.commit(commit)).await
    }
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.pass("store.request_cancel", self.inner.request_cancel(id, request)).await
    }
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.pass("store.instances", self.inner.instances(app)).await
    }
    async fn now(&self) -> Result<Timestamp> {
        self.pass("store.now", self.inner.now()).await
    }
    async fn position(&self) -> Result<u64> {
        self.pass("store.position", self.inner.position()).await
    }
    async fn leap(&self) -> Result<()> {
        self.pass("store.leap", self.inner.leap()).await
    }
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.pass("store.events", self.inner.events(deployment, after, most)).await
    }
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        self.pass("store.append_log", self.inner.append_log(id, lines)).await
    }
    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        self.pass("store.forget_logs", self.inner.forget_logs(ended_before, most)).await
    }
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.pass("store.log", self.inner.log(id, after, most)).await
    }
}

/// A queue as one process reaches it.
#[derive(Debug)]
pub(crate) struct FatedQueue {
    /// What is behind its address: another queue after a flush.
    pub(crate) inner: Arc<Mutex<MemoryQueue>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fate: Fate,
}

impl FatedQueue {
    fn now(&self) -> MemoryQueue {
        self.inner.lock().unwrap().clone()
    }

    async fn pass<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.fate.pass(operation, Detail::Nothing, work).await
    }
}

#[async_trait]
impl Queue for FatedQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        self.pass("queue.enqueue", self.now().enqueue(job)).await
    }
    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        self.pass("queue.claim", self.now().claim(owner, most, visibility)).await
    }
    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        self.pass("queue.heartbeat", self.now().heartbeat(token, visibility)).await
    }
    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        self.pass("queue.ack", self.now().ack(token)).await
    }
    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        self.pass("queue.nack", self.now().nack(token, delay, counted, reason)).await
    }
    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        self.pass("queue.reclaim", self.now().reclaim(owner)).await
    }
    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        self.pass("queue.dead", self.now().dead(most)).await
    }
    async fn depth(&self) -> Result<QueueDepth> {
        self.pass("queue.depth", self.now().depth()).await
    }
    async fn wait(&self, longest: Duration) {
        let waited = async {
            self.now().wait(longest).await;
            Ok(())
        };
        if self.pass("queue.wait", waited).await.is_err() {
            // Who cannot be asked says nothing.
            self.fate.alive(self.clock.sleep(longest)).await;
        }
    }
}
