//! What a reader with fresh eyes has doubted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use quark_core::backend::{
    BuildKey, BuildRequest, Call, ContainerId, ContainerSpec, CreatedContainer, Drained, EffectiveRoute, Labels,
    Listening, LogChunk, LogSelection, LogSink, ObservedContainer, ProbeFailure, ProbeTarget, Route,
    RuntimeCapabilities, StopOutcome,
};
use quark_core::deployment::SupersedePolicy;
use quark_core::memory::{Behaviour, Health, MemoryBuilder, MemoryProber, MemoryRouter, MemoryRuntime, MemoryStore};
use quark_core::{
    App, AppName, Artifact, Conclusion, ContainerName, ContainerRuntime, DeployRequest, DeploymentEngine,
    DeploymentEngineBuilder, DeploymentId, Endpoint, EngineConfig, Error, ErrorKind, EventKind, HealthCheck,
    ImageBuilder, ImageRef, OwnerId, Prober, Result, RollbackRequest, Router, Slot, Source, State, StepName, Store,
};

use super::world::{REPOSITORY, World, app, deploy_well, end, eventually, name};

/// An engine of another name on the same backends, to be changed and started.
fn another(world: &World, router: Arc<dyn Router>, runtime: Arc<dyn ContainerRuntime>) -> DeploymentEngineBuilder {
    DeploymentEngine::builder_dyn(Arc::new(world.store.clone()), Arc::new(world.queue.clone()), runtime, router)
        .with_config(config(world.folder.path().join("work")))
        .with_builder(world.builder.clone())
        .with_source(world.source.clone())
        .with_prober(MemoryProber::new(&world.runtime))
}

fn config(work_dir: PathBuf) -> EngineConfig {
    EngineConfig {
        owner: OwnerId::parse("another").unwrap(),
        lease: Duration::from_secs(5),
        ..EngineConfig::new(work_dir)
    }
}

fn router(world: &World) -> Arc<dyn Router> {
    Arc::new(world.router.clone())
}

fn runtime(world: &World) -> Arc<dyn ContainerRuntime> {
    Arc::new(world.runtime.clone())
}

fn named(text: &str) -> App {
    let spec = App::new(text, Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake();
    spec.with_health(app().health).with_timing(app().timing)
}

// --- 1. What serves users ---------------------------------------------------

/// Asks the container, and lets it die as soon as it was found well.
#[derive(Debug)]
struct LastWords {
    runtime: MemoryRuntime,
    left: AtomicUsize,
}

#[async_trait]
impl Prober for LastWords {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        let endpoint = target.endpoint;
        let answer = MemoryProber::new(&self.runtime).probe(target).await;
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            let containers = self.runtime.containers().into_iter();
            let at = |name: &ContainerName| self.runtime.spec(name).is_some_and(|s| s.endpoint() == Some(endpoint));
            let asked = containers.map(|container| container.name).find(at).unwrap();
            assert!(self.runtime.kill(&asked));
        }
        answer
    }
}

/// Stands for every way in which the probed process is gone when its promotion
/// comes: it died, or the machine was restarted between the two.
#[tokio::test]
async fn what_has_died_since_its_probe_is_not_promoted() {
    let world = World::new();
    // Two answers make each of the two deployments healthy.
    let prober = LastWords { runtime: world.runtime.clone(), left: AtomicUsize::new(4) };
    let engine = another(&world, router(&world), runtime(&world)).with_prober(prober).start().await.unwrap();
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let second = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let ended = end(&engine, second.id).await;
    let served = world.router.open(&name()).unwrap();
    assert!(world.answers(served.endpoint()).await, "users are sent to a dead instance ({:?})", ended.conclusion);
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    engine.shutdown().await;
}

/// A router through which something happens when a certain app is observed.
#[derive(Debug)]
struct Meddling {
    inner: MemoryRouter,
    at: AppName,
    other: DeploymentEngine,
    commit: Mutex<Option<quark_core::CommitSha>>,
}

#[async_trait]
impl Router for Meddling {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.inner.apply(call, route).await
    }
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        let commit = if *app == self.at { self.commit.lock().unwrap().take() } else { None };
        if let Some(commit) = commit {
            deploy_well(&self.other, &commit).await;
        }
        self.inner.observe(app).await
    }
    async fn drained(&self, app: &AppName, slot: Slot, at: &Endpoint, longest: Duration) -> Result<Drained> {
        self.inner.drained(app, slot, at, longest).await
    }
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        self.inner.remove(call, app).await
    }
}

#[tokio::test]
async fn an_engine_that_starts_does_not_undo_what_another_promotes_meanwhile() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(named("alpha")).await.unwrap();
    engine.create_app(app()).await.unwrap();
    let alpha = named("alpha").name;
    let first = engine.deploy(&alpha, DeployRequest::commit(world.good())).await.unwrap();
    end(&engine, first.id).await;
    deploy_well(&engine, &world.good()).await;
    let meddling = Meddling {
        inner: world.router.clone(),
        at: alpha,
        other: engine.clone(),
        commit: Mutex::new(Some(world.good())),
    };
    let second = another(&world, Arc::new(meddling), runtime(&world)).start().await.unwrap();
    let live = world.app().await.serving.live.unwrap();
    assert_eq!(world.router.route(&name()).unwrap().active, live.slot, "the old version was put back");
    second.shutdown().await;
    engine.shutdown().await;
}

/// The proxy in the process of the engine forgets its routes when that is
/// killed; the lease of the killed engine lasts longer.
#[tokio::test]
async fn an_app_whose_lease_a_dead_engine_holds_is_restored_when_it_has_run_out() {
    let mut world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
    let dead = OwnerId::parse("dead").unwrap();
    world.store.acquire_lease(&name(), &dead, Duration::from_millis(300)).await.unwrap();
    world.router = MemoryRouter::new();
    let next = another(&world, router(&world), runtime(&world)).start().await.unwrap();
    eventually("the app has its route again", || async { world.router.route(&name()).is_some() }).await;
    next.shutdown().await;
}

/// A runtime that does not answer the next questions.
#[derive(Debug)]
struct Away {
    inner: MemoryRuntime,
    left: Arc<AtomicUsize>,
}

impl Away {
    fn here(&self) -> Result<&MemoryRuntime> {
        let away = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if away { Err(Error::new(ErrorKind::Unavailable, "the daemon restarts")) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl ContainerRuntime for Away {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }
    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        self.inner.allocate_endpoint(app, slot, taken).await
    }
    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        self.inner.ensure_image(call, image).await
    }
    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        self.inner.create(call, spec).await
    }
    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.inner.start(call, id).await
    }
    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        self.here()?.inspect(name).await
    }
    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        self.inner.listening(id, endpoint).await
    }
    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        self.inner.list(labels).await
    }
    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        self.inner.stop(call, id, grace).await
    }
    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        self.inner.remove(call, id, expected).await
    }
    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.inner.logs(id, selection).await
    }
}

#[tokio::test]
async fn a_runtime_that_is_away_for_a_moment_costs_no_warm_standby() {
    let world = World::new();
    let left = Arc::new(AtomicUsize::new(0));
    let away = Away { inner: world.runtime.clone(), left: Arc::clone(&left) };
    let engine = another(&world, router(&world), Arc::new(away)).start().await.unwrap();
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let effects = world.runtime.effects().len();
    left.store(1, Ordering::SeqCst);
    let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    assert_eq!(end(&engine, back.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(world.runtime.effects().len(), effects, "the standby that ran was thrown away");
    engine.shutdown().await;
}

#[tokio::test]
async fn a_runtime_that_is_away_for_a_moment_fails_no_deployment() {
    let world = World::new();
    let left = Arc::new(AtomicUsize::new(0));
    let away = Away { inner: world.runtime.clone(), left: Arc::clone(&left) };
    let engine = another(&world, router(&world), Arc::new(away)).start().await.unwrap();
    let health = HealthCheck { deadline: Duration::from_secs(10), ..app().health };
    engine.create_app(app().with_health(health)).await.unwrap();
    let slow = world.commit(Behaviour::with_health(Health::WarmsUp(30)));
    let deployment = engine.deploy(&name(), DeployRequest::commit(slow)).await.unwrap();
    let state = || async { engine.deployment(deployment.id).await.unwrap().state };
    eventually("it is probed", || async { state().await == State::Probing }).await;
    left.store(1, Ordering::SeqCst);
    let ended = end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    engine.shutdown().await;
}

// --- 2. Stuck, lost, hot ----------------------------------------------------

/// Somebody cancels while the container gives its last answer.
#[derive(Debug)]
struct Cancelling {
    runtime: MemoryRuntime,
    store: MemoryStore,
    id: Arc<Mutex<Option<DeploymentId>>>,
}

#[async_trait]
impl Prober for Cancelling {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        let answer = MemoryProber::new(&self.runtime).probe(target).await;
        let id = *self.id.lock().unwrap();
        if let Some(id) = id {
            // By another engine on the same store: nobody here is told at once.
            let request = quark_core::deployment::CancelRequest::new("alice", quark_core::Timestamp::from_micros(1));
            self.store.request_cancel(id, request).await.unwrap();
        }
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_cancel_that_comes_with_the_last_answer_of_the_probe_is_honoured() {
    let world = World::new();
    let id = Arc::new(Mutex::new(None));
    let prober = Cancelling { runtime: world.runtime.clone(), store: world.store.clone(), id: Arc::clone(&id) };
    let engine = another(&world, router(&world), runtime(&world)).with_prober(prober).start().await.unwrap();
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    world.builder.hold(&commit);
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    *id.lock().unwrap() = Some(deployment.id);
    world.builder.release(&commit);
    let ended = tokio::time::timeout(Duration::from_secs(10), engine.wait(deployment.id)).await;
    engine.shutdown().await;
    let ended = ended.expect("it goes round and round").unwrap();
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    assert!(world.router.route(&name()).is_none());
}

#[tokio::test]
async fn a_waiting_deployment_does_not_take_the_lease_from_the_one_at_work() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let commit = world.good();
    world.builder.hold(&commit);
    let first = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    world.builder.building(&commit).await;
    let second = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let parked = || async { quark_core::Queue::depth(&world.queue).await.unwrap().delayed > 0 };
    eventually("the second was looked at and put aside", parked).await;
    world.builder.release(&commit);
    end(&engine, first.id).await;
    let events: Vec<_> = engine.watch(first.id, 0).try_collect().await.unwrap();
    let begun = |step| move |event: &&quark_core::Event| matches!(event.kind, EventKind::StepStarted { step: s, .. } if s == step);
    assert_eq!(events.iter().filter(begun(StepName::Build)).count(), 1, "the build was broken off and begun again");
    end(&engine, second.id).await;
    engine.shutdown().await;
}

#[test]
fn an_engine_whose_places_are_all_taken_sleeps_while_work_waits() {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        single.block_on(async {
            let world = World::new();
            let one = EngineConfig { workers: 1, ..config(world.folder.path().join("work")) };
            let engine = another(&world, router(&world), runtime(&world)).with_config(one).start().await.unwrap();
            engine.create_app(app()).await.unwrap();
            engine.create_app(named("alpha")).await.unwrap();
            let commit = world.good();
            world.builder.hold(&commit);
            let first = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
            world.builder.building(&commit).await;
            let other = DeployRequest::commit(world.good());
            let second = engine.deploy(&named("alpha").name, other).await.unwrap();
            world.builder.release(&commit);
            end(&engine, first.id).await;
            end(&engine, second.id).await;
            engine.shutdown().await;
        });
        tell.send(()).unwrap();
    });
    // Not a measurement: a loop that never gives way never ends.
    told.recv_timeout(Duration::from_secs(20)).expect("the engine spins and lets nothing else run");
}

#[tokio::test]
async fn cleaning_up_after_a_cancel_waits_between_its_attempts() {
    let world = World::new();
    let engine = world.engine().await;
    let health = HealthCheck { deadline: Duration::from_secs(60), ..app().health };
    engine.create_app(app().with_health(health)).await.unwrap();
    let hangs = world.commit(Behaviour::with_health(Health::Hangs));
    let deployment = engine.deploy(&name(), DeployRequest::commit(hangs)).await.unwrap();
    let state = || async { engine.deployment(deployment.id).await.unwrap().state };
    eventually("it is probed", || async { state().await == State::Probing }).await;
    for _ in 0..8 {
        world.runtime.fail_next("stop", Error::new(ErrorKind::Unavailable, "the daemon restarts"));
    }
    engine.cancel(deployment.id, "alice").await.unwrap();
    let second = || async {
        let steps = engine.steps(deployment.id).await.unwrap();
        steps.iter().any(|step| step.name == StepName::Undo && step.attempt == 2)
    };
    eventually("it was tried again", second).await;
    let steps = engine.steps(deployment.id).await.unwrap();
    let begun = |n| steps.iter().find(|s| s.name == StepName::Undo && s.attempt == n).unwrap().started_at;
    let waited = begun(2).since(begun(1));
    assert!(waited >= Duration::from_millis(500), "it waited {waited:?} and is {}", state().await);
    engine.shutdown().await;
}

#[tokio::test]
async fn an_engine_leaves_the_checkouts_of_another_installation_alone() {
    let (world, stranger) = (World::new(), World::new());
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    world.builder.hold(&commit);
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    world.builder.building(&commit).await;
    let folders = || files(world.folder.path().join("work"));
    let before = folders();
    assert!(before.iter().any(|path| path.contains(&deployment.id.to_string())));
    // Both use the default folder of the machine.
    let shared = config(world.folder.path().join("work"));
    let next = another(&stranger, router(&stranger), runtime(&stranger)).with_config(shared).start().await.unwrap();
    assert!(before.is_subset(&folders()), "a checkout vanished in the middle of its build");
    next.shutdown().await;
    engine.shutdown().await;
}

/// The folders below `root`, at any depth.
fn files(root: PathBuf) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root];
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                found.insert(entry.path().display().to_string());
                left.push(entry.path());
            }
        }
    }
    found
}

/// A builder that needs what it builds.
#[derive(Debug)]
struct Strict(MemoryBuilder);

#[async_trait]
impl ImageBuilder for Strict {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        self.0.find(key).await
    }
    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        if !request.source.is_dir() {
            return Err(Error::new(ErrorKind::BuildFailed, "there is no source"));
        }
        self.0.build(call, request, log).await
    }
    async fn discard(&self, key: &BuildKey) -> Result<()> {
        self.0.discard(key).await
    }
}

#[tokio::test]
async fn a_build_goes_on_where_the_checkout_is_not() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    world.builder.hold(&commit);
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    world.builder.building(&commit).await;
    engine.shutdown().await;
    world.builder.release(&commit);
    let elsewhere = config(world.folder.path().join("elsewhere"));
    let next = another(&world, router(&world), runtime(&world)).with_config(elsewhere);
    let next = next.with_builder(Strict(world.builder.clone())).start().await.unwrap();
    let ended = end(&next, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    next.shutdown().await;
}

// --- 6. Streams -------------------------------------------------------------

#[tokio::test]
async fn who_has_seen_the_end_is_not_kept_waiting_for_it() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let deployment = deploy_well(&engine, &world.good()).await;
    let events: Vec<_> = engine.watch(deployment.id, 0).try_collect().await.unwrap();
    let rest = engine.watch(deployment.id, events.last().unwrap().sequence).collect::<Vec<_>>();
    let rest = tokio::time::timeout(Duration::from_secs(5), rest).await.expect("the stream never ends");
    assert!(rest.is_empty());
    engine.shutdown().await;
}

#[tokio::test]
async fn nothing_follows_the_end_of_a_stream_of_events() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    // Its slot is needed: by then the journal of the first goes on after its end.
    let timing = quark_core::Timing { grace: Duration::ZERO, ..app().timing };
    let record = engine.app(&name()).await.unwrap();
    engine.update_app(app().with_timing(timing), record.version).await.unwrap();
    let third = deploy_well(&engine, &world.good()).await;
    let fourth = deploy_well(&engine, &world.good()).await;
    eventually("the third is retired", || async { world.app().await.serving.standby.is_none() }).await;
    for id in [first.id, third.id, fourth.id] {
        let events: Vec<_> = engine.watch(id, 0).try_collect().await.unwrap();
        let last = &events.last().unwrap().kind;
        assert!(matches!(last, EventKind::Completed { .. }), "{last:?} came after the end");
    }
    engine.shutdown().await;
}
