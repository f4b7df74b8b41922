//! A world of in-memory backends with an engine in it.

use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{ContainerState, ProbeTarget, Prober, Queue, Store};
use quark_core::deployment::InstanceState;
use quark_core::memory::{
    Behaviour, MemoryBuilder, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemorySource, MemoryStore, Tree,
};
use quark_core::{
    App, AppName, AppRecord, BranchName, Clock, CommitSha, Conclusion, DeployRequest, Deployment, DeploymentEngine,
    DeploymentId, Endpoint, EngineConfig, HealthCheck, OwnerId, RepositoryUrl, RollbackRequest, Source, SystemClock,
    Timing,
};

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) runtime: MemoryRuntime,
    pub(crate) router: MemoryRouter,
    pub(crate) builder: MemoryBuilder,
    pub(crate) source: MemorySource,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const REPOSITORY: &str = "https://git.test/acme/shop";

impl World {
    pub(crate) fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let queue = MemoryQueue::new(Arc::clone(&clock));
        let runtime = MemoryRuntime::new();
        Self {
            store: MemoryStore::with_queue(clock, queue.clone()),
            queue,
            router: MemoryRouter::new(),
            builder: MemoryBuilder::new(&runtime),
            source: MemorySource::new(),
            runtime,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// An engine that always has the same name, like one that is restarted.
    pub(crate) async fn engine(&self) -> DeploymentEngine {
        self.engine_on(Arc::new(self.store.clone()), Arc::new(self.queue.clone())).await
    }

    pub(crate) async fn engine_on(&self, store: Arc<dyn Store>, queue: Arc<dyn Queue>) -> DeploymentEngine {
        let config = EngineConfig {
            owner: OwnerId::parse("test").unwrap(),
            lease: Duration::from_secs(5),
            ..EngineConfig::new(self.folder.path().join("work"))
        };
        DeploymentEngine::builder_dyn(store, queue, Arc::new(self.runtime.clone()), Arc::new(self.router.clone()))
            .with_config(config)
            .with_builder(self.builder.clone())
            .with_source(self.source.clone())
            .with_prober(MemoryProber::new(&self.runtime))
            .start()
            .await
            .unwrap()
    }

    /// A commit whose program behaves like this.
    pub(crate) fn commit(&self, behaviour: Behaviour) -> CommitSha {
        let repository = RepositoryUrl::parse(REPOSITORY).unwrap();
        let branch = BranchName::parse("main").unwrap();
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

    /// The names of the containers that run.
    pub(crate) fn running(&self) -> Vec<String> {
        let running = self.runtime.containers().into_iter().filter(|c| c.state == ContainerState::Running);
        running.map(|container| container.name.to_string()).collect()
    }

    /// Whether something that is well listens at an endpoint.
    pub(crate) async fn answers(&self, endpoint: &Endpoint) -> bool {
        let check = app().health;
        let target = ProbeTarget { endpoint, host: None, check: &check };
        MemoryProber::new(&self.runtime).probe(target).await.is_ok()
    }

    /// What must hold whenever nothing is going on.
    pub(crate) async fn check_rest(&self) {
        assert!(self.store.unfinished().await.unwrap().is_empty(), "something is unfinished");
        let app = self.app().await;
        let route = self.router.route(&name());
        assert_eq!(route.as_ref().map(|route| route.active), app.serving.live.as_ref().map(|live| live.slot));
        let slots = app.serving.live.iter().map(|live| live.slot);
        let kept: Vec<_> = slots.chain(app.serving.standby.iter().map(|standby| standby.occupant.slot)).collect();
        let expected = kept.len();
        assert_eq!(self.runtime.containers().len(), expected, "containers are left over or missing");
        assert_eq!(self.running().len(), expected, "what serves must run");
        if let Some(live) = &app.serving.live {
            let snapshot = self.store.snapshot(live.deployment).await.unwrap().unwrap();
            let healthy = |slot| snapshot.instances.iter().any(|i| i.slot == slot && i.state == InstanceState::Healthy);
            assert!(kept.iter().all(|slot| healthy(*slot)));
        }
        let installations = std::fs::read_dir(self.folder.path().join("work")).unwrap().flatten();
        let left: Vec<_> =
            installations.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten()).collect();
        assert!(left.is_empty(), "checkouts are left over: {left:?}");
    }
}

pub(crate) fn name() -> AppName {
    AppName::parse("shop").unwrap()
}

/// An app with short times.
pub(crate) fn app() -> App {
    let check = HealthCheck {
        interval: Duration::from_millis(10),
        timeout: Duration::from_millis(50),
        deadline: Duration::from_millis(400),
        ..HealthCheck::http("/up".parse().unwrap())
    };
    App::new("shop", Source::git(REPOSITORY, "main").unwrap())
        .unwrap()
        .with_health(check)
        .with_timing(Timing { drain: Duration::from_millis(200), ..Timing::default() })
}

pub(crate) async fn deploy(engine: &DeploymentEngine, commit: &CommitSha) -> Deployment {
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    end(engine, deployment.id).await
}

pub(crate) async fn deploy_well(engine: &DeploymentEngine, commit: &CommitSha) -> Deployment {
    let deployment = deploy(engine, commit).await;
    assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded), "{:?}", deployment.failure);
    deployment
}

pub(crate) async fn roll_back(engine: &DeploymentEngine) -> Deployment {
    let deployment = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let deployment = end(engine, deployment.id).await;
    assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded), "{:?}", deployment.failure);
    deployment
}

pub(crate) async fn end(engine: &DeploymentEngine, id: DeploymentId) -> Deployment {
    tokio::time::timeout(Duration::from_secs(20), engine.wait(id)).await.expect("it never ended").unwrap()
}

/// Waits until a condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds).await.unwrap_or_else(|_| panic!("never: {what}"));
}
