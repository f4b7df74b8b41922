//! `SqliteStore`: the store's trait over the statements beside this file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::app::{App, AppName};
use quark_core::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot, Store,
};
use quark_core::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, Event, IdempotencyKey, Instance, LogLine, LogStream, OwnerId,
    SupersedePolicy, Version,
};
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::Notify;

use super::commit::Prepared;
use super::config::SqliteConfig;
use super::open::{self, Opened};
use super::queue::{POLL, SqliteQueue};
use super::readers::Readers;
use super::writer::Writer;
use super::{apps, commit, creation, deployments, history, instances, leap, leases, projects, snapshot};

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

impl Shared {
    /// Wakes those who wait for jobs if one that is ready at `ready_at` must not
    /// wait until they look anyway: to find nothing costs as much as to claim.
    pub(super) fn wake_for(&self, ready_at: Timestamp) {
        if ready_at <= self.clock.now().after(POLL) {
            self.jobs.notify_waiters();
        }
    }
}

/// A [`Store`] in one SQLite file. See the [module](super) for what it promises.
///
/// Clones share everything. It must be opened and used inside of a tokio
/// runtime; one of a single thread will do.
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
        let (path, clock) = (config.path.clone(), Arc::clone(&config.clock));
        let opening = tokio::task::spawn_blocking(move || open::open(&config)).await;
        let Opened { writer, connector, installation } = match opening {
            Ok(opened) => opened?,
            Err(error) => return Err(Error::new(ErrorKind::Internal, "opening was interrupted").with_source(error)),
        };
        let writer = Writer::new(writer, connector.clone());
        let shared = Shared {
            path,
            clock,
            readers: Readers::new(connector, writer.clone()),
            writer,
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
        self.shared.writer.write(move |connection| apps::create(connection, &spec, at)).await
    }

    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.shared.writer.write(move |connection| apps::update(connection, &spec, expected, at)).await
    }

    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        let name = name.clone();
        self.shared.readers.small(move |connection| apps::find(connection, &name)).await
    }

    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.shared.readers.large(apps::all).await
    }

    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        let clock = Arc::clone(&self.shared.clock);
        let documents = deployments::Documents::of(&deployment)?;
        let write =
            move |connection: &_| creation::create(connection, &deployment, &documents, &job, policy, clock.now());
        let created = self.shared.writer.write(write).await?;
        if !created.existing {
            self.shared.jobs.notify_waiters();
        }
        Ok(created)
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.shared.readers.small(move |connection| deployments::find(connection, id)).await
    }

    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        let (app, key) = (app.clone(), key.clone());
        self.shared.readers.small(move |connection| deployments::by_key(connection, &app, &key)).await
    }

    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        let app = app.clone();
        self.shared.readers.large(move |connection| deployments::of_app(connection, &app, before, most)).await
    }

    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.shared.readers.small(move |connection| snapshot::read(connection, id)).await
    }

    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        let Some(app) = app.cloned() else { return self.shared.readers.large(deployments::unfinished).await };
        self.shared.readers.small(move |connection| deployments::unfinished_of_app(connection, &app)).await
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        let (app, owner, clock) = (app.clone(), owner.clone(), Arc::clone(&self.shared.clock));
        let write = move |connection: &_| leases::acquire(connection, &app, &owner, ttl, clock.now());
        self.shared.writer.write(write).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let (lease, clock) = (lease.clone(), Arc::clone(&self.shared.clock));
        self.shared.writer.write(move |connection| leases::renew(connection, &lease, ttl, clock.now())).await
    }

    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        self.shared.readers.small(move |connection| leases::check(connection, &lease)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let lease = lease.clone();
        self.shared.writer.write(move |connection| leases::release(connection, &lease)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let clock = Arc::clone(&self.shared.clock);
        let ready_at = commit.jobs.iter().map(|job| job.run_at).min();
        let commit = Prepared::new(commit)?;
        let write = move |connection: &_| commit::commit(connection, &commit, clock.now());
        let version = self.shared.writer.write(write).await?;
        if let Some(ready_at) = ready_at {
            self.shared.wake_for(ready_at);
        }
        Ok(version)
    }

    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.shared.writer.write(move |connection| creation::request_cancel(connection, id, &request)).await
    }

    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        let app = app.clone();
        self.shared.readers.small(move |connection| instances::present(connection, &app)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.shared.clock.now())
    }

    async fn position(&self) -> Result<u64> {
        self.shared.readers.small(leap::position).await
    }

    async fn leap(&self) -> Result<()> {
        self.shared.writer.write_much(usize::MAX, leap::leap).await
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.shared.readers.large(move |connection| history::events(connection, deployment, after, most)).await
    }

    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        // About as long as a commit, per so many lines.
        let size = 1 + lines.len() / 16;
        self.shared.writer.write_much(size, move |connection| history::append_log(connection, id, &lines)).await
    }

    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        // Looked for where nobody waits for it, and looked at again where it is done.
        let find = move |connection: &_| history::forgettable(connection, ended_before, most);
        let found = self.shared.readers.large(find).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let write = move |connection: &_| history::forget_logs(connection, &found, ended_before);
        self.shared.writer.write_much(usize::MAX, write).await
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.shared.readers.large(move |connection| history::log(connection, id, after, most)).await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        let clock = Arc::clone(&self.shared.clock);
        let removes = !write.removals.is_empty();
        // About as long as a commit, per app.
        let size = 1 + write.apps.len() + write.removals.len();
        let write = projects::Prepared::new(write)?;
        let write = move |connection: &_| projects::write(connection, &write, clock.now());
        let written = self.shared.writer.write_much(size, write).await?;
        if removes {
            self.shared.jobs.notify_waiters();
        }
        Ok(written)
    }

    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        let name = name.clone();
        self.shared.readers.large(move |connection| projects::snapshot(connection, &name)).await
    }

    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.shared.readers.large(projects::all).await
    }
}
