//! A world of in-memory backends with an engine in it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::backend::{
    ContainerRuntime, ContainerState, ImageBuilder, Metric, MetricsSink, ProbeTarget, Prober, Queue, Router, Store,
};
use quark_core::deployment::{InstanceState, StepRecord};
use quark_core::memory::{
    Behaviour, MemoryAnalysis, MemoryBuilder, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemorySource,
    MemoryStore, Tree,
};
use quark_core::testing::TokioClock;
use quark_core::{
    App, AppName, AppRecord, BranchName, Clock, CommitSha, Conclusion, ContainerName, DeployRequest, Deployment,
    DeploymentEngine, DeploymentId, Endpoint, EngineConfig, HealthCheck, OwnerId, RepositoryUrl, RollbackRequest,
    Source, StepName, SystemClock, Timing,
};

use super::hooked::Hooked;

pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) runtime: MemoryRuntime,
    pub(crate) router: MemoryRouter,
    pub(crate) builder: MemoryBuilder,
    pub(crate) source: MemorySource,
    pub(crate) metrics: Arc<Counted>,
    pub(crate) analysis: MemoryAnalysis,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) const REPOSITORY: &str = "https://git.test/acme/shop";

/// The name of the engines of [`World::engine`].
pub(crate) const OWNER: &str = "test";

/// What an engine is put together from: a world's backends, some of them
/// replaced by a test.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) router: Arc<dyn Router>,
    pub(crate) builder: Arc<dyn ImageBuilder>,
    pub(crate) source: Hooked<MemorySource>,
}

impl World {
    /// A world in the time of the machine.
    pub(crate) fn new() -> Self {
        Self::in_the_time_of(Arc::new(SystemClock::new()))
    }

    /// A world whose time jumps when nothing is left to do. For tests whose
    /// tokio runtime is paused.
    pub(crate) fn paused() -> Self {
        Self::in_the_time_of(Arc::new(TokioClock::new()))
    }

    fn in_the_time_of(clock: Arc<dyn Clock>) -> Self {
        let queue = MemoryQueue::new(Arc::clone(&clock));
        let runtime = MemoryRuntime::with_clock(Arc::clone(&clock));
        Self {
            store: MemoryStore::with_queue(Arc::clone(&clock), queue.clone()),
            queue,
            router: MemoryRouter::with_clock(Arc::clone(&clock)),
            builder: MemoryBuilder::new(&runtime),
            source: MemorySource::new(),
            runtime,
            metrics: Arc::default(),
            analysis: MemoryAnalysis::new(Arc::clone(&clock)),
            folder: tempfile::tempdir().unwrap(),
            clock,
        }
    }

    /// An engine that always has the same name, like one that is restarted.
    pub(crate) async fn engine(&self) -> DeploymentEngine {
        self.start(OWNER, self.parts()).await
    }

    pub(crate) async fn engine_on(&self, store: Arc<dyn Store>, queue: Arc<dyn Queue>) -> DeploymentEngine {
        self.start(OWNER, Parts { store, queue, ..self.parts() }).await
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts {
            store: Arc::new(self.store.clone()),
            queue: Arc::new(self.queue.clone()),
            runtime: Arc::new(self.runtime.clone()),
            router: Arc::new(self.router.clone()),
            builder: Arc::new(self.builder.clone()),
            source: Hooked::failing(self.source.clone(), |_| None),
        }
    }

    /// An engine of any name and parts, on the same machine.
    pub(crate) async fn start(&self, owner: &str, parts: Parts) -> DeploymentEngine {
        self.start_with(EngineConfig { owner: OwnerId::parse(owner).unwrap(), ..self.config() }, parts).await
    }

    /// What engines of this world are told.
    pub(crate) fn config(&self) -> EngineConfig {
        EngineConfig { lease: Duration::from_secs(5), ..EngineConfig::new(self.folder.path().join("work")) }
    }

    pub(crate) async fn start_with(&self, config: EngineConfig, parts: Parts) -> DeploymentEngine {
        DeploymentEngine::builder_dyn(parts.store, parts.queue, parts.runtime, parts.router)
            .with_config(config)
            .with_builder_dyn(parts.builder)
            .with_source(parts.source)
            .with_prober(MemoryProber::new(&self.runtime))
            .with_analysis(self.analysis.clone())
            .with_metrics(Arc::clone(&self.metrics) as Arc<dyn MetricsSink>)
            .with_clock(Arc::clone(&self.clock))
            .start()
            .await
            .unwrap()
    }

    /// Lets time pass.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// Waits until a condition holds; for worlds whose time jumps.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        let began = self.clock.monotonic();
        while !condition().await {
            assert!(self.clock.monotonic() - began < LONGEST, "never: {what}");
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a deployment has ended, or is stuck; for worlds whose time jumps.
    pub(crate) async fn end(&self, engine: &DeploymentEngine, id: DeploymentId) -> Deployment {
        tokio::time::timeout(LONGEST, engine.wait(id)).await.expect("it never ended").unwrap()
    }

    /// A deployment whose build waits to be released.
    pub(crate) async fn under_way(&self, engine: &DeploymentEngine) -> (Deployment, CommitSha) {
        let commit = self.good();
        self.builder.hold(&commit);
        let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
        self.builder.building(&commit).await;
        (deployment, commit)
    }

    /// The journal's rows of one step.
    pub(crate) async fn rows(&self, id: DeploymentId, step: StepName) -> Vec<StepRecord> {
        let snapshot = self.store.snapshot(id).await.unwrap().unwrap();
        snapshot.steps.into_iter().filter(|record| record.name == step).collect()
    }

    /// The name of the one container of a deployment.
    pub(crate) fn container(&self, id: DeploymentId) -> ContainerName {
        ContainerName::of(&name(), id, 0)
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
        assert!(self.store.unfinished(None).await.unwrap().is_empty(), "something is unfinished");
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
        let left: Vec<_> = installations
            .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
            // How far the store has come is noted beside the checkouts.
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .collect();
        assert!(left.is_empty(), "checkouts are left over: {left:?}");
    }
}

/// How long something may take in a time that jumps.
const LONGEST: Duration = Duration::from_secs(10 * 24 * 3600);

/// The numbers that engines have told.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Vec<Metric>>);

impl MetricsSink for Counted {
    fn record(&self, metric: Metric) {
        self.0.lock().unwrap().push(metric);
    }
}

impl Counted {
    /// How many deployments have ended like this.
    pub(crate) fn ended(&self, wanted: Conclusion) -> usize {
        let like = |metric: &&Metric| matches!(metric, Metric::DeploymentCompleted { conclusion, .. } if *conclusion == wanted);
        self.0.lock().unwrap().iter().filter(like).count()
    }

    /// Whether this was counted last of its kind.
    pub(crate) fn says(&self, wanted: Metric) -> bool {
        let kind = std::mem::discriminant(&wanted);
        let recorded = self.0.lock().unwrap();
        recorded.iter().rev().find(|metric| std::mem::discriminant(*metric) == kind) == Some(&wanted)
    }

    /// How many deployments were asked for.
    pub(crate) fn created(&self) -> usize {
        let created = |metric: &&Metric| matches!(metric, Metric::DeploymentCreated { .. });
        self.0.lock().unwrap().iter().filter(created).count()
    }
}

pub(crate) fn name() -> AppName {
    AppName::parse("shop").unwrap()
}

/// An app with short times, whose versions are not watched.
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
        .without_bake()
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
