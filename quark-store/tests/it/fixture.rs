//! A store on a file of its own, and things to store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quark_core::app::{App, AppName, Source};
use quark_core::backend::{Commit, Guard, JobKind, Lease, NewJob, Priority, Store};
use quark_core::deployment::{
    AppRecord, Deployment, DeploymentId, DeploymentKind, Fence, OwnerId, Revision, State, SupersedePolicy, TeamId,
    Trigger, Version,
};
use quark_core::testing::ManualClock;
use quark_core::{Clock, Timestamp};
use quark_store::{SqliteConfig, SqliteStore, Synchronous};
use tempfile::TempDir;

/// Longer than any test lasts.
pub(crate) const TTL: Duration = Duration::from_secs(30);

/// A store on a file of its own.
pub(crate) struct Fixture {
    pub(crate) store: SqliteStore,
    pub(crate) clock: ManualClock,
    pub(crate) folder: TempDir,
    config: SqliteConfig,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(Synchronous::default()).await
    }

    pub(crate) async fn with(synchronous: Synchronous) -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let config = SqliteConfig::new(folder.path().join("quark.db"))
            .with_clock(Arc::new(clock.clone()))
            .with_synchronous(synchronous);
        Self { store: SqliteStore::open(config.clone()).await.unwrap(), clock, folder, config }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("quark.db")
    }

    /// A second store on the same file, as a second process would have it.
    pub(crate) async fn open_again(&self) -> SqliteStore {
        SqliteStore::open(self.config.clone()).await.unwrap()
    }

    /// An app with a deployment that holds its lease and is admitted.
    pub(crate) async fn admitted(&self, app: &str) -> Active {
        admitted(&self.store, app, self.clock.now()).await
    }
}

pub(crate) fn spec(app: &str) -> App {
    App::new(app, Source::git("https://git.test/acme/shop", "main").unwrap())
        .unwrap()
        .with_domain(format!("{app}.example.test").parse().unwrap())
        .with_env("TOKEN", "hunter2")
        .unwrap()
}

pub(crate) fn name(app: &str) -> AppName {
    AppName::parse(app).unwrap()
}

pub(crate) fn owner(text: &str) -> OwnerId {
    OwnerId::parse(text).unwrap()
}

pub(crate) fn deployment(app: &str, at: Timestamp) -> Deployment {
    Deployment {
        id: DeploymentId::generate(),
        app: name(app),
        team: TeamId::default(),
        sequence: 0,
        kind: DeploymentKind::Deploy,
        release: Arc::new(spec(app)),
        revision: Revision::default(),
        artifact: None,
        slot: None,
        state: State::Queued,
        conclusion: None,
        failure: None,
        cancel: None,
        fence: Fence(0),
        version: Version(0),
        created_by: "test".to_owned(),
        trigger: Trigger::Request,
        key: None,
        approval: None,
        bake: None,
        expects: None,
        liveness: None,
        canary: None,
        created_at: at,
        started_at: None,
        finished_at: None,
    }
}

pub(crate) fn job(deployment: &Deployment) -> NewJob {
    NewJob::new(JobKind::Deploy, deployment.id, deployment.app.clone(), Priority::DEPLOY, deployment.created_at)
}

/// Writes a deployment and its job down.
pub(crate) async fn create(store: &SqliteStore, app: &str, at: Timestamp) -> Deployment {
    let deployment = deployment(app, at);
    let job = job(&deployment);
    store.create_deployment(deployment, job, SupersedePolicy::Serial).await.unwrap().deployment
}

/// A deployment that may act.
pub(crate) struct Active {
    pub(crate) app: AppRecord,
    pub(crate) lease: Lease,
    pub(crate) deployment: Deployment,
}

impl Active {
    /// A commit that changes nothing but the version.
    pub(crate) fn commit(&self) -> Commit {
        Commit {
            guard: Guard {
                lease: self.lease.clone(),
                version: self.deployment.version,
                unless_cancelled: false,
                admits: false,
                room: None,
            },
            deployment: self.deployment.clone(),
            serving: None,
            steps: Vec::new(),
            instances: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            forget_app: false,
            hand_back: None,
            at: self.deployment.created_at,
        }
    }
}

pub(crate) async fn admitted(store: &SqliteStore, app: &str, at: Timestamp) -> Active {
    let record = store.create_app(spec(app), at).await.unwrap();
    let deployment = create(store, app, at).await;
    let lease = store.acquire_lease(&name(app), &owner("engine-1"), TTL).await.unwrap();
    let mut active = Active { app: record, lease, deployment };
    active.deployment.state = State::Admitted;
    active.deployment.started_at = Some(at);
    let mut commit = active.commit();
    commit.guard.admits = true;
    active.deployment.version = store.commit(commit).await.unwrap();
    active
}
