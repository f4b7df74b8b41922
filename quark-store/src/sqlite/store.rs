//! `SqliteStore`: the store's trait over the statements beside this file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::app::{App, AppName};
use quark_core::backend::{CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, Snapshot, Store};
use quark_core::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, Event, IdempotencyKey, Instance, LogLine, LogStream, OwnerId,
    SupersedePolicy, Version,
};
use quark_core::{Clock, Result, Timestamp};
use tokio::sync::Notify;

use super::config::SqliteConfig;
use super::failure::failed;
use super::queue::SqliteQueue;
use super::readers::Readers;
use super::rows::Columns;
use super::writer::Writer;
use super::{apps, commit, creation, deployments, history, leap, leases, open, supersede};

/// What store and queue have in common.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) writer: Writer,
    pub(super) readers: Readers,
    /// Wakes those who wait for jobs.
    pub(super) jobs: Notify,
    installation: String,
}

/// A [`Store`] in one SQLite file. See the [module](super) for what it promises.
///
/// Clones share everything. It must be opened inside of a tokio runtime, and
/// lives as long as that.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

impl SqliteStore {
    /// Opens the file, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`](quark_core::ErrorKind::InvalidConfig) if the file belongs to something else
    /// (`foreign_database`), was written by a newer version (`newer_database`), or cannot be written;
    /// [`ErrorKind::PermissionDenied`](quark_core::ErrorKind::PermissionDenied) if it may not be made;
    /// [`ErrorKind::Unavailable`](quark_core::ErrorKind::Unavailable) if another process holds it for long.
    pub async fn open(config: SqliteConfig) -> Result<Self> {
        let opened = open::open(&config).await?;
        let mut reader = opened.readers.get().await?;
        let row = sqlx::query("SELECT value FROM quark_meta WHERE key = 'installation'")
            .fetch_one(reader.connection()?)
            .await
            .map_err(failed)?;
        let installation = Columns(&row).text("value")?;
        drop(reader);
        let shared = Shared {
            path: config.path,
            clock: config.clock,
            writer: Writer::spawn(opened.writer, opened.options),
            readers: opened.readers,
            jobs: Notify::new(),
            installation,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The queue in the same file.
    #[must_use]
    pub fn queue(&self) -> SqliteQueue {
        SqliteQueue::new(Arc::clone(&self.shared))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Finishes what was begun and closes the file; every later call of this
    /// store, its clones and its queues is `Unavailable` (`store_closed`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](quark_core::ErrorKind::Unavailable) if the disk fails. All that was answered
    /// before is stored nevertheless.
    pub async fn close(&self) -> Result<()> {
        // The writer last: whoever closes last folds the log into the file.
        self.shared.readers.close().await;
        self.shared.writer.close().await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn installation(&self) -> Result<String> {
        Ok(self.shared.installation.clone())
    }

    fn queues_jobs(&self) -> bool {
        true
    }

    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.shared.writer.write(move |connection| Box::pin(apps::create(connection, spec, at))).await
    }

    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.shared.writer.write(move |connection| Box::pin(apps::update(connection, spec, expected, at))).await
    }

    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        apps::find(self.shared.readers.get().await?.connection()?, name).await
    }

    async fn apps(&self) -> Result<Vec<AppRecord>> {
        apps::all(self.shared.readers.get().await?.connection()?).await
    }

    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        let clock = Arc::clone(&self.shared.clock);
        let quick = creation::quickly(&deployment, &job, clock.now());
        let write = self.shared.writer.quick(quick, move |connection| {
            Box::pin(creation::create(connection, deployment, job, policy, clock.now()))
        });
        let created = write.await?;
        if !created.existing {
            self.shared.jobs.notify_waiters();
        }
        Ok(created)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        deployments::find(self.shared.readers.get().await?.connection()?, id).await
    }

    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        supersede::by_key(self.shared.readers.get().await?.connection()?, app, key).await
    }

    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        deployments::of_app(self.shared.readers.get().await?.connection()?, app, before, most).await
    }

    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        deployments::snapshot(&self.shared.readers, id).await
    }

    async fn unfinished(&self) -> Result<Vec<Deployment>> {
        deployments::unfinished(self.shared.readers.get().await?.connection()?).await
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.shared.writer.only_quick(leases::acquire(app, owner, ttl, self.shared.clock.now())?).await?
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.shared.writer.only_quick(leases::renew(lease, ttl, self.shared.clock.now())?).await?
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.shared.writer.only_quick(leases::release(lease)?).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let clock = Arc::clone(&self.shared.clock);
        let queues = !commit.jobs.is_empty();
        let quick = commit::quickly(&commit, clock.now());
        let write = self
            .shared
            .writer
            .quick(quick, move |connection| Box::pin(commit::commit(connection, commit, clock.now())));
        let version = write.await?;
        if queues {
            self.shared.jobs.notify_waiters();
        }
        Ok(version)
    }

    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        let write =
            self.shared.writer.write(move |connection| Box::pin(deployments::request_cancel(connection, id, request)));
        write.await
    }

    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        deployments::instances(self.shared.readers.get().await?.connection()?, app).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.shared.clock.now())
    }

    async fn position(&self) -> Result<u64> {
        leap::position(self.shared.readers.get().await?.connection()?).await
    }

    async fn leap(&self) -> Result<()> {
        self.shared.writer.write(move |connection| Box::pin(leap::leap(connection))).await
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        history::events(self.shared.readers.get().await?.connection()?, deployment, after, most).await
    }

    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        let quick = history::append_log(id, &lines);
        let write = self.shared.writer.quick(quick, move |connection| {
            Box::pin(async move { history::append_log_if_known(connection, id, &lines).await })
        });
        write.await
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        history::log(self.shared.readers.get().await?.connection()?, id, after, most).await
    }
}
