//! An engine that dies at any point is followed by one that brings the same
//! history to the same end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{
    CancelOutcome, Claim, ClaimToken, ClaimedJob, Commit, CreatedDeployment, DeadJob, Enqueued, Lease, NewJob, Queue,
    QueueDepth, Snapshot, Store,
};
use quark_core::deployment::{CancelRequest, Instance, SupersedePolicy, Version};
use quark_core::memory::{Behaviour, Health, MemoryQueue, MemoryStore};
use quark_core::{
    App, AppName, AppRecord, Conclusion, DeployRequest, Deployment, DeploymentId, Error, ErrorKind, Event, LogLine,
    LogStream, OwnerId, Result, RollbackRequest, Timestamp,
};

use super::world::{World, app, deploy_well, end, name};

/// A store whose process dies at a commit: before it is written, or after it
/// was written and before anybody was told. From then on nothing works.
#[derive(Debug)]
struct Mortal {
    inner: MemoryStore,
    left: AtomicI64,
    after: bool,
}

impl Mortal {
    fn dead() -> Error {
        Error::new(ErrorKind::Unavailable, "this process is dead")
    }

    fn alive(&self) -> Result<&MemoryStore> {
        if self.left.load(Ordering::SeqCst) > 0 { Ok(&self.inner) } else { Err(Self::dead()) }
    }
}

#[async_trait]
impl Store for Mortal {
    async fn installation(&self) -> Result<String> {
        self.inner.installation().await
    }
    fn queues_jobs(&self) -> bool {
        self.inner.queues_jobs()
    }
    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        self.alive()?.create_app(spec, at).await
    }
    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        self.alive()?.update_app(spec, expected, at).await
    }
    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        self.alive()?.app(name).await
    }
    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.alive()?.apps().await
    }
    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.alive()?.create_deployment(deployment, job, policy).await
    }
    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.alive()?.deployment(id).await
    }
    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.alive()?.deployments(app, before, most).await
    }
    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.alive()?.snapshot(id).await
    }
    async fn unfinished(&self) -> Result<Vec<Deployment>> {
        self.alive()?.unfinished().await
    }
    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        self.alive()?.acquire_lease(app, owner, ttl).await
    }
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        self.alive()?.renew_lease(lease, ttl).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.alive()?.release_lease(lease).await
    }
    async fn commit(&self, commit: Commit) -> Result<Version> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        match left {
            2.. => self.inner.commit(commit).await,
            1 if self.after => {
                self.inner.commit(commit).await?;
                Err(Self::dead())
            }
            _ => Err(Self::dead()),
        }
    }
    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.alive()?.request_cancel(id, request).await
    }
    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.alive()?.instances(app).await
    }
    async fn position(&self) -> Result<u64> {
        self.alive()?.position().await
    }
    async fn leap(&self) -> Result<()> {
        self.alive()?.leap().await
    }
    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.alive()?.events(deployment, after, most).await
    }
    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        self.alive()?.append_log(id, lines).await
    }
    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.alive()?.log(id, after, most).await
    }
}

/// The queue of the same process: it dies with the store.
#[derive(Debug)]
struct MortalQueue {
    inner: MemoryQueue,
    store: Arc<Mortal>,
}

impl MortalQueue {
    fn alive(&self) -> Result<&MemoryQueue> {
        self.store.alive().map(|_| &self.inner)
    }
}

#[async_trait]
impl Queue for MortalQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        self.alive()?.enqueue(job).await
    }
    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        self.alive()?.claim(owner, most, visibility).await
    }
    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        self.alive()?.heartbeat(token, visibility).await
    }
    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        self.alive()?.ack(token).await
    }
    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        self.alive()?.nack(token, delay, counted, reason).await
    }
    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        self.alive()?.reclaim(owner).await
    }
    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        self.alive()?.dead(most).await
    }
    async fn depth(&self) -> Result<QueueDepth> {
        self.alive()?.depth().await
    }
    async fn wait(&self, longest: Duration) {
        self.inner.wait(longest).await;
    }
}

/// What an engine is doing when it dies.
#[derive(Clone, Copy, Debug)]
enum Work {
    Deploy,
    DeployBad,
    WarmRollback,
    Remove,
}

impl Work {
    /// One for the intent of each step, together with what was decided before,
    /// and one for the end.
    fn commits(self) -> i64 {
        match self {
            // Fetch, build, clear, create, start, probe; then promote or undo.
            Self::Deploy | Self::DeployBad => 8,
            // Probe and promote; unroute and undo.
            Self::WarmRollback | Self::Remove => 3,
        }
    }
}

/// Dies at the `n`-th commit of `work`; whether there was one.
async fn dies_at(work: Work, n: i64, after: bool) -> bool {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;

    let mortal = Arc::new(Mortal { inner: world.store.clone(), left: AtomicI64::new(n), after });
    let queue = MortalQueue { inner: world.queue.clone(), store: Arc::clone(&mortal) };
    let dying = world.engine_on(Arc::clone(&mortal) as Arc<dyn Store>, Arc::new(queue)).await;
    let wanted = match work {
        Work::Deploy => dying.deploy(&name(), DeployRequest::commit(world.good())).await,
        Work::DeployBad => {
            let bad = world.commit(Behaviour::with_health(Health::Status(500)));
            dying.deploy(&name(), DeployRequest::commit(bad)).await
        }
        Work::WarmRollback => dying.rollback(&name(), RollbackRequest::default()).await,
        Work::Remove => dying.remove_app(&name(), "test").await,
    };
    let wanted = wanted.unwrap();
    let died = match dying.wait(wanted.id).await {
        Ok(_) => false,
        Err(_) if mortal.left.load(Ordering::SeqCst) <= 0 => true,
        Err(error) => panic!("{}", error.report()),
    };
    dying.shutdown().await;

    // Users are served whatever has happened, by something that runs.
    if !matches!(work, Work::Remove) {
        let served = world.router.open(&name()).expect("the route is gone");
        let answers = world.answers(served.endpoint()).await;
        assert!(answers, "{work:?} {n}: users are not served");
    }

    let next = world.engine().await;
    let ended = end(&next, wanted.id).await;
    match work {
        Work::Deploy | Work::WarmRollback => {
            assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{work:?} {n}: {:?}", ended.failure);
            let serving = world.app().await.serving;
            assert_eq!(serving.live.unwrap().deployment, wanted.id);
            assert_eq!(serving.previous, Some(second.id));
            if matches!(work, Work::WarmRollback) {
                assert_eq!(ended.artifact, first.artifact);
            }
            world.check_rest().await;
        }
        Work::DeployBad => {
            assert_eq!(ended.conclusion, Some(Conclusion::Failed), "{n}");
            assert_eq!(world.app().await.serving.live.unwrap().deployment, second.id);
            world.check_rest().await;
        }
        Work::Remove => {
            assert!(world.runtime.containers().is_empty(), "{n}");
            assert!(world.router.route(&name()).is_none(), "{n}");
            assert!(world.store.app(&name()).await.unwrap().is_none(), "{n}");
        }
    }
    next.shutdown().await;
    died
}

async fn dies_everywhere(work: Work) {
    for after in [false, true] {
        let mut n = 1;
        while dies_at(work, n, after).await {
            n += 1;
            assert!(n < 100, "the work never ends");
        }
        assert_eq!(n - 1, work.commits(), "{work:?}: as many points as it has commits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::Deploy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_deployment_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::DeployBad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::WarmRollback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::Remove).await;
}

#[tokio::test]
async fn a_deployment_that_engines_die_of_is_given_up() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
    let mut wanted = None;
    for _ in 0..6 {
        let mortal = Arc::new(Mortal { inner: world.store.clone(), left: AtomicI64::new(1), after: true });
        let queue = MortalQueue { inner: world.queue.clone(), store: Arc::clone(&mortal) };
        let dying = world.engine_on(Arc::clone(&mortal) as Arc<dyn Store>, Arc::new(queue)).await;
        let id = match wanted {
            Some(id) => id,
            None => dying.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap().id,
        };
        wanted = Some(id);
        dying.wait(id).await.unwrap_err();
        dying.shutdown().await;
    }
    let next = world.engine().await;
    let ended = end(&next, wanted.unwrap()).await;
    assert_eq!(ended.failure.unwrap().code, "poisoned");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    next.shutdown().await;
}
