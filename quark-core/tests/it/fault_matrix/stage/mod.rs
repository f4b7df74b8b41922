//! One world of memory backends for several processes, each with its own fate.
//!
//! The tests run in one thread on paused time: it passes only when nobody has
//! anything to do, so that hours cost nothing and every run is the same.

mod fate;
mod records;
mod scene;
mod world;

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::backend::container_runtime::label;
use quark_core::backend::{ContainerState, ObservedContainer, ProbeTarget, Prober, Snapshot, Store};
use quark_core::deployment::{InstanceState, StepRecord};
use quark_core::memory::{
    Behaviour, MemoryBuilder, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemorySource, MemoryStore, Tree,
};
use quark_core::{
    App, AppName, AppRecord, BranchName, Clock, CommitSha, Conclusion, ContainerName, DeployRequest, Deployment,
    DeploymentEngine, DeploymentEngineBuilder, DeploymentId, EngineConfig, OwnerId, RepositoryUrl, Source, StepName,
};

pub(crate) use self::fate::{
    Fate, Gate, Outage, after, after_commit, away, before, before_commit, before_route, begins, ends, silence,
};
use self::records::{FatedQueue, FatedStore};
pub(crate) use self::scene::Scene;
use self::world::{Fated, FatedClock, IdleTime};

const REPOSITORY: &str = "https://git.test/acme/shop";

/// How long the right to act on an app lasts here.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Longer than anything here takes.
const EVER: Duration = Duration::from_secs(6 * 3600);

/// The world that all processes share.
pub(crate) struct Stage {
    pub(crate) store: MemoryStore,
    pub(crate) queue: Arc<Mutex<MemoryQueue>>,
    pub(crate) runtime: MemoryRuntime,
    pub(crate) router: MemoryRouter,
    pub(crate) builder: MemoryBuilder,
    pub(crate) source: MemorySource,
    pub(crate) clock: IdleTime,
    /// The name that the store goes by, if it is a copy of another store.
    pub(crate) installation: Option<String>,
    pub(crate) folder: Arc<tempfile::TempDir>,
    /// Of all processes that were started here.
    pub(crate) fates: Mutex<Vec<Fate>>,
}

impl Drop for Stage {
    /// Nothing of it is left to disturb the next one.
    fn drop(&mut self) {
        for fate in self.fates.lock().unwrap().drain(..) {
            fate.kill();
        }
    }
}

impl Stage {
    /// The store writes jobs into the queue itself.
    pub(crate) fn new() -> Self {
        Self::build(true)
    }

    /// The queue is another program than the store.
    pub(crate) fn with_queue_apart() -> Self {
        Self::build(false)
    }

    fn build(together: bool) -> Self {
        let time = IdleTime::new();
        let clock = || Arc::new(time.clone()) as Arc<dyn Clock>;
        let queue = MemoryQueue::new(clock());
        let runtime = MemoryRuntime::with_clock(clock());
        Self {
            store: if together { MemoryStore::with_queue(clock(), queue.clone()) } else { MemoryStore::new(clock()) },
            queue: Arc::new(Mutex::new(queue)),
            router: MemoryRouter::with_clock(clock()),
            builder: MemoryBuilder::new(&runtime),
            source: MemorySource::new(),
            runtime,
            clock: time,
            installation: None,
            folder: Arc::new(tempfile::tempdir().unwrap()),
            fates: Mutex::default(),
        }
    }

    pub(crate) fn time(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    /// An engine that always has the same name, like one that is restarted.
    pub(crate) async fn engine(&self, fate: &Fate) -> DeploymentEngine {
        self.builder("test", fate).start().await.unwrap()
    }

    /// An engine that nothing happens to.
    pub(crate) async fn next(&self) -> DeploymentEngine {
        self.engine(&Fate::default()).await
    }

    pub(crate) fn builder(&self, owner: &str, fate: &Fate) -> DeploymentEngineBuilder {
        self.builder_with(owner, fate, &Arc::default())
    }

    /// An engine whose time of day is `ahead` microseconds ahead.
    pub(crate) fn builder_with(&self, owner: &str, fate: &Fate, ahead: &Arc<AtomicI64>) -> DeploymentEngineBuilder {
        self.fates.lock().unwrap().push(fate.clone());
        let fate = || fate.clone();
        let (inner, installation) = (self.store.clone(), self.installation.clone());
        DeploymentEngine::builder_dyn(
            Arc::new(FatedStore { inner, installation, fate: fate() }),
            Arc::new(FatedQueue { inner: Arc::clone(&self.queue), clock: self.time(), fate: fate() }),
            Arc::new(Fated { inner: self.runtime.clone(), fate: fate() }),
            Arc::new(Fated { inner: self.router.clone(), fate: fate() }),
        )
        .with_config(EngineConfig {
            owner: OwnerId::parse(owner).unwrap(),
            lease: LEASE,
            ..EngineConfig::new(self.folder.path().join("work"))
        })
        .with_builder(Fated { inner: self.builder.clone(), fate: fate() })
        .with_source(Fated { inner: self.source.clone(), fate: fate() })
        .with_prober(Fated { inner: MemoryProber::new(&self.runtime), fate: fate() })
        .with_clock(Arc::new(FatedClock { inner: self.clock.clone(), fate: fate(), ahead: Arc::clone(ahead) }))
    }

    /// A commit whose program behaves like this.
    pub(crate) fn commit(&self, behaviour: Behaviour) -> CommitSha {
        let (repository, branch) = (RepositoryUrl::parse(REPOSITORY).unwrap(), BranchName::parse("main").unwrap());
        let commit = self.source.push(&repository, &branch, Tree::new()).unwrap();
        self.builder.define(&commit, behaviour);
        commit
    }

    pub(crate) fn good(&self) -> CommitSha {
        self.commit(Behaviour::healthy())
    }

    pub(crate) async fn app(&self) -> AppRecord {
        self.store.app(&name()).await.unwrap().unwrap()
    }

    pub(crate) async fn snapshot(&self, id: DeploymentId) -> Snapshot {
        self.store.snapshot(id).await.unwrap().unwrap()
    }

    pub(crate) async fn deployment(&self, id: DeploymentId) -> Deployment {
        self.snapshot(id).await.deployment
    }

    /// The records of one step.
    pub(crate) async fn records(&self, id: DeploymentId, step: StepName) -> Vec<StepRecord> {
        self.snapshot(id).await.steps.into_iter().filter(|record| record.name == step).collect()
    }

    /// Which deployment is live.
    pub(crate) async fn live(&self) -> Option<DeploymentId> {
        self.app().await.serving.live.map(|live| live.deployment)
    }

    /// The container that a deployment made, if it is there.
    pub(crate) fn container(&self, id: DeploymentId) -> Option<ObservedContainer> {
        let name = container_name(id);
        self.runtime.containers().into_iter().find(|container| container.name == name)
    }

    pub(crate) fn runs(&self, id: DeploymentId) -> bool {
        self.container(id).is_some_and(|container| container.state == ContainerState::Running)
    }

    /// Whether a request of a user is answered, and by which deployment.
    pub(crate) async fn served_by(&self) -> Option<DeploymentId> {
        let request = self.router.open(&name())?;
        let check = app().health;
        let target = ProbeTarget { endpoint: request.endpoint(), host: None, check: &check };
        MemoryProber::new(&self.runtime).probe(target).await.ok()?;
        let containers = self.runtime.containers().into_iter().filter(|it| it.state == ContainerState::Running);
        let mut specs = containers.filter_map(|container| self.runtime.spec(&container.name));
        specs.find(|spec| spec.endpoint() == Some(request.endpoint())).map(|spec| spec.deployment)
    }

    /// The calls of the engines that changed the runtime: operation and key.
    pub(crate) fn effects(&self, operation: &str, key: &str) -> usize {
        let meant = |effect: &&quark_core::memory::Effect| effect.operation == operation && effect.key == key;
        self.runtime.effects().iter().filter(meant).count()
    }

    /// What must hold whenever nothing is going on.
    pub(crate) async fn at_rest(&self) {
        assert!(self.store.unfinished(None).await.unwrap().is_empty(), "something is unfinished");
        let serving = self.app().await.serving;
        let route = self.router.route(&name());
        assert_eq!(route.map(|route| route.active), serving.live.as_ref().map(|live| live.slot));
        let standby = serving.standby.iter().map(|standby| standby.occupant.slot);
        let mut kept: Vec<_> = serving.live.iter().map(|live| live.slot).chain(standby).collect();
        kept.sort();
        let instances = self.store.instances(&name()).await.unwrap();
        let mut healthy: Vec<_> = instances.iter().filter(|it| it.state == InstanceState::Healthy).collect();
        healthy.sort_by_key(|instance| instance.slot);
        assert_eq!(healthy.iter().map(|instance| instance.slot).collect::<Vec<_>>(), kept, "{instances:?}");
        let mut known: Vec<_> = healthy.iter().map(|instance| instance.name.clone()).collect();
        known.sort();
        let mut containers = self.runtime.containers();
        containers.retain(|container| container.labels.get(label::APP).is_some_and(|app| app == name().as_str()));
        let there: Vec<_> = containers.iter().map(|container| container.name.clone()).collect();
        assert_eq!(there, known, "containers are left over or missing");
        assert!(containers.iter().all(|it| it.state == ContainerState::Running), "what serves must run");
        let checkouts = self.checkouts();
        assert!(checkouts.is_empty(), "checkouts are left over: {checkouts:?}");
    }

    fn checkouts(&self) -> Vec<String> {
        let installations = std::fs::read_dir(self.folder.path().join("work")).unwrap().flatten();
        let entries = installations.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.parse::<DeploymentId>().is_ok()).collect()
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits until a condition holds.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        let began = self.clock.monotonic();
        while !condition().await {
            assert!(self.clock.monotonic() - began < Duration::from_secs(1800), "never: {what}");
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }
}

pub(crate) fn name() -> AppName {
    AppName::parse("shop").unwrap()
}

/// An app with the default times, whose versions are not watched.
pub(crate) fn app() -> App {
    named("shop")
}

pub(crate) fn named(text: &str) -> App {
    App::new(text, Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake()
}

pub(crate) fn repository() -> RepositoryUrl {
    RepositoryUrl::parse(REPOSITORY).unwrap()
}

pub(crate) fn container_name(id: DeploymentId) -> ContainerName {
    ContainerName::of(&name(), id, 0)
}

/// Fails if it never ends.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(EVER, work).await.unwrap_or_else(|_| panic!("never: {what}"))
}

pub(crate) async fn want(engine: &DeploymentEngine, commit: &CommitSha) -> Deployment {
    engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap()
}

pub(crate) async fn end(engine: &DeploymentEngine, id: DeploymentId) -> Deployment {
    soon("the deployment ends", engine.wait(id)).await.unwrap()
}

/// Waits for an end that must be a success.
pub(crate) async fn succeed(engine: &DeploymentEngine, id: DeploymentId) -> Deployment {
    let ended = end(engine, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    ended
}

/// Waits for an end that must be a failure with this code.
pub(crate) async fn fail(engine: &DeploymentEngine, id: DeploymentId, code: &str) -> Deployment {
    let ended = end(engine, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed), "{:?}", ended.failure);
    assert_eq!(ended.failure.as_ref().unwrap().code, code, "{:?}", ended.failure);
    ended
}
