//! `MemoryStore`: a store that lives as long as its program.

mod apps;
mod commit;
mod deployments;
mod leases;
mod projects;
mod tables;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use self::tables::Tables;
use super::MemoryQueue;
use crate::Result;
use crate::app::{App, AppName};
use crate::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot, Store,
};
use crate::clock::{Clock, Timestamp};
use crate::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, Event, IdempotencyKey, Instance, LogLine, LogStream, OwnerId,
    SupersedePolicy, Version,
};
use crate::planted::planted;
use crate::project::{ProjectName, ProjectRecord, ProjectSnapshot};

/// A store that lives as long as its program. Clones share what they keep, as
/// two engines share one database.
///
/// ```
/// # async fn example(app: quark_core::App) -> quark_core::Result<()> {
/// use std::sync::Arc;
/// use quark_core::{Clock, Store, SystemClock, memory::{MemoryQueue, MemoryStore}};
/// let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
/// let queue = MemoryQueue::new(Arc::clone(&clock));
/// let store = MemoryStore::with_queue(Arc::clone(&clock), queue);
/// let record = store.create_app(app, clock.now()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// What a [`MemoryStore`] kept at one moment.
#[derive(Clone)]
pub struct Backup(Tables);

impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("position", &self.0.position()).finish_non_exhaustive()
    }
}

struct Shared {
    installation: String,
    clock: Arc<dyn Clock>,
    queue: Option<MemoryQueue>,
    tables: Mutex<Tables>,
}

impl MemoryStore {
    /// An empty store. Jobs must be queued by whoever writes.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::named(clock, None, Uuid::new_v4().to_string())
    }

    /// An empty store that queues the jobs of a write together with the write.
    #[must_use]
    pub fn with_queue(clock: Arc<dyn Clock>, queue: MemoryQueue) -> Self {
        Self::named(clock, Some(queue), Uuid::new_v4().to_string())
    }

    /// An empty store of this name, with or without a queue.
    pub(crate) fn named(clock: Arc<dyn Clock>, queue: Option<MemoryQueue>, installation: String) -> Self {
        Self { shared: Arc::new(Shared { installation, clock, queue, tables: Mutex::default() }) }
    }

    /// A copy of everything that is kept now, as a backup of a database is.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup(self.tables().clone())
    }

    /// Goes back to what was kept when the copy was made. The queue stays as it
    /// is: its jobs may name deployments that the store does not know any more.
    pub fn restore(&self, backup: &Backup) {
        *self.tables() = backup.0.clone();
    }

    /// What leases are measured with: no step of the time of day ends one.
    fn lease_time(&self) -> Duration {
        if planted!(WallClockLeases) {
            return Duration::from_micros(self.shared.clock.now().as_micros().unsigned_abs());
        }
        self.shared.clock.monotonic()
    }

    /// The tables, whatever became of other threads: each change to them is
    /// complete before the lock is given back.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.shared.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called with the tables still locked: who sees the job sees the write.
    fn queue_job(&self, job: NewJob) {
        if let Some(queue) = &self.shared.queue {
            queue.push(job);
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("installation", &self.shared.installation)
            .field("queue", &self.shared.queue)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn installation(&self) -> Result<String> {
        Ok(self.shared.installation.clone())
    }

    fn queues_jobs(&self) -> bool {
        self.shared.queue.is_some()
    }

    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.tables().create_app(spec, at)
    }

    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.tables().update_app(spec, expected, at)
    }

    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        Ok(self.tables().apps.get(name).cloned())
    }

    async fn apps(&self) -> Result<Vec<AppRecord>> {
        Ok(self.tables().apps.values().cloned().collect())
    }

    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        let mut tables = self.tables();
        let created = tables.create_deployment(deployment, policy)?;
        if !created.existing {
            self.queue_job(job);
        }
        Ok(created)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        Ok(self.tables().deployments.get(&id).map(|row| row.deployment.clone()))
    }

    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        Ok(self.tables().by_key(app, key).cloned())
    }

    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        Ok(self.tables().deployments_of(app, before, most))
    }

    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        Ok(self.tables().snapshot(id))
    }

    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        Ok(self.tables().unfinished(app))
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        let now = self.lease_time();
        self.tables().leases.acquire(app, owner, now, ttl)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let now = self.lease_time();
        self.tables().leases.renew(lease, now, ttl)
    }

    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        self.tables().leases.check(lease)
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.tables().leases.release(lease);
        Ok(())
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let mut tables = self.tables();
        tables.check(&commit)?;
        let claim = commit.hand_back.as_ref().and_then(|back| back.claim);
        let (version, jobs) = tables.apply(commit)?;
        // Before new ones are queued: one of the same name would be taken for this one.
        if let Some((claim, queue)) = claim.zip(self.shared.queue.as_ref()) {
            queue.done(claim);
        }
        for job in jobs {
            self.queue_job(job);
        }
        Ok(version)
    }

    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.tables().request_cancel(id, request)
    }

    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        Ok(self.tables().instances_of(app))
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.shared.clock.now())
    }

    async fn position(&self) -> Result<u64> {
        Ok(self.tables().position())
    }

    async fn leap(&self) -> Result<()> {
        self.tables().leap();
        Ok(())
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        Ok(self.tables().events(deployment, after, most))
    }

    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        self.tables().append_log(id, lines)
    }

    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        Ok(self.tables().forget_logs(ended_before, most))
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        Ok(self.tables().log(id, after, most))
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        let mut tables = self.tables();
        // A copy, so that a refusal in the middle leaves no trace; a project is changed seldom.
        let mut changed = tables.clone();
        let (written, jobs) = changed.write_project(write)?;
        *tables = changed;
        for job in jobs {
            self.queue_job(job);
        }
        Ok(written)
    }

    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        Ok(self.tables().project(name))
    }

    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        Ok(self.tables().projects.values().cloned().collect())
    }
}
