//! A store through which a test can make calls fail, wait or do more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use quark_core::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot, Store,
};
use quark_core::deployment::{CancelRequest, IdempotencyKey, Instance, SupersedePolicy, Version};
use quark_core::memory::MemoryStore;
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{
    App, AppName, AppRecord, Deployment, DeploymentId, Event, LogLine, LogStream, OwnerId, Result, Timestamp,
};

/// What the store is asked for.
pub(crate) enum Touch<'a> {
    /// Anything else.
    Call,
    /// This is about to be written.
    Commit(&'a Commit),
    /// Something was written, and nobody was told yet.
    Committed,
}

/// What happens at each call; an error is the call's answer.
pub(crate) type StoreHook = Arc<dyn Fn(Touch<'_>) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A memory store with a hook at each of its calls.
#[derive(Clone)]
pub(crate) struct HookedStore {
    inner: MemoryStore,
    hook: StoreHook,
    /// How far its clock is ahead, in microseconds.
    ahead: Arc<AtomicU64>,
}

impl HookedStore {
    pub(crate) fn new(inner: &MemoryStore, hook: StoreHook) -> Self {
        Self { inner: inner.clone(), hook, ahead: Arc::default() }
    }

    /// Does something right before a commit is written.
    pub(crate) fn before_commit(
        inner: &MemoryStore,
        act: impl Fn(&Commit) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let hook = move |touch: Touch<'_>| match touch {
            Touch::Commit(commit) => {
                let acted = act(commit);
                Box::pin(async {
                    acted.await;
                    Ok(())
                }) as BoxFuture<'static, Result<()>>
            }
            Touch::Call | Touch::Committed => Box::pin(async { Ok(()) }),
        };
        Self::new(inner, Arc::new(hook))
    }

    /// What sets its clock: how far it is ahead, in microseconds.
    pub(crate) fn clock(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ahead)
    }

    async fn at(&self) -> Result<&MemoryStore> {
        (self.hook)(Touch::Call).await?;
        Ok(&self.inner)
    }
}

impl fmt::Debug for HookedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl Store for HookedStore {
    async fn installation(&self) -> Result<String> {
        self.inner.installation().await
    }
    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        self.at().await?.write_project(write).await
    }
    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        self.at().await?.project(name).await
    }
    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.at().await?.projects().await
    }
    fn queues_jobs(&self) -> bool {
        self.inner.queues_jobs()
    }
    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.at().await?.create_app(spec, at).await
    }
    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.at().await?.update_app(spec, expected, at).await
    }
    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        self.at().await?.app(name).await
    }
    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.at().await?.apps().await
    }
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.at().await?.create_deployment(deployment, job, policy).await
    }
    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.at().await?.deployment(id).await
    }
    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        self.at().await?.deployment_by_key(app, key).await
    }
    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.at().await?.deployments(app, before, most).await
    }
    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.at().await?.snapshot(id).await
    }
    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        self.at().await?.unfinished(app).await
    }
    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.at().await?.acquire_lease(app, owner, ttl).await
    }
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.at().await?.renew_lease(lease, ttl).await
    }
    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        self.at().await?.check_lease(lease).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.at().await?.release_lease(lease).await
    }
    async fn commit(&self, commit: Commit) -> Result<Version> {
        (self.hook)(Touch::Commit(&commit)).await?;
        let version = self.inner.commit(commit).await?;
        (self.hook)(Touch::Committed).await?;
        Ok(version)
    }
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.at().await?.request_cancel(id, request).await
    }
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.at().await?.instances(app).await
    }
    async fn now(&self) -> Result<Timestamp> {
        let now = self.at().await?.now().await?;
        Ok(now.after(Duration::from_micros(self.ahead.load(Ordering::SeqCst))))
    }
    async fn position(&self) -> Result<u64> {
        self.at().await?.position().await
    }
    async fn leap(&self) -> Result<()> {
        self.at().await?.leap().await
    }
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.at().await?.events(deployment, after, most).await
    }
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        self.at().await?.append_log(id, lines).await
    }
    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        self.at().await?.forget_logs(ended_before, most).await
    }
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.at().await?.log(id, after, most).await
    }
}
