//! What the machine has no room for is refused, with the reason, and what serves
//! is not touched by it.

use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{HostCapacity, HostGauge, Metric, MetricsSink};
use quark_core::deployment::Shortage;
use quark_core::engine::Wait;
use quark_core::memory::{MemoryHost, MemoryProber};
use quark_core::{
    App, AppName, CommitSha, Conclusion, DeployRequest, Deployment, DeploymentEngine, EngineConfig, Error, ErrorKind,
    OwnerId, Resources, Result, RollbackRequest, State, StepName, Store, Timing,
};

use super::world::{OWNER, World, app, name};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A machine with room for so many instances of 512 MiB, on which nothing runs.
fn machine(instances: u64) -> HostCapacity {
    let memory = (instances * 512 * MIB * 8).div_ceil(7);
    HostCapacity {
        cpu_millis: Some(4000),
        cpu_load_millis: Some(0),
        memory_bytes: Some(memory),
        memory_available_bytes: Some(memory),
        disk_bytes: Some(100 * GIB),
        disk_free_bytes: Some(50 * GIB),
        ..HostCapacity::default()
    }
}

struct Scene {
    world: World,
    host: MemoryHost,
    engine: DeploymentEngine,
}

impl Scene {
    /// Room for so many instances, and these apps.
    async fn new(instances: u64, apps: &[&str]) -> Self {
        let (world, host) = (World::paused(), MemoryHost::new(machine(instances)));
        let engine = engine(&world, OWNER, host.clone()).await;
        for app in apps {
            engine.create_app(named(app)).await.unwrap();
        }
        Self { world, host, engine }
    }

    async fn deploy(&self, app: &str) -> Deployment {
        let wanted = ask(&self.engine, app, &self.world.good()).await.unwrap();
        self.world.end(&self.engine, wanted.id).await
    }

    async fn deploys(&self, app: &str) -> Deployment {
        let ended = self.deploy(app).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
        ended
    }

    async fn waits_for(&self, deployment: &Deployment) -> Option<Wait> {
        let explanation = self.engine.explain(&deployment.app).await.unwrap();
        explanation.work.into_iter().find(|work| work.deployment == deployment.id)?.waits_for
    }

    async fn waits_for_host(&self, deployment: &Deployment) {
        let waits = || async { matches!(self.waits_for(deployment).await, Some(Wait::Host { .. })) };
        self.world.until("it waits for the machine", waits).await;
    }

    fn busy(&self, busy: bool) {
        self.host.change(|host| host.cpu_load_millis = Some(if busy { 4000 } else { 100 }));
    }

    fn refused(&self, reason: Shortage) -> bool {
        self.world.metrics.says(Metric::AdmissionRefused { reason })
    }
}

async fn engine(world: &World, owner: &str, host: impl HostGauge) -> DeploymentEngine {
    let parts = world.parts();
    DeploymentEngine::builder_dyn(parts.store, parts.queue, parts.runtime, parts.router)
        .with_config(EngineConfig { owner: OwnerId::parse(owner).unwrap(), ..world.config() })
        .with_builder_dyn(parts.builder)
        .with_source(parts.source)
        .with_prober(MemoryProber::new(&world.runtime))
        .with_metrics(Arc::clone(&world.metrics) as Arc<dyn MetricsSink>)
        .with_clock(Arc::clone(&world.clock))
        .with_host(host)
        .start()
        .await
        .unwrap()
}

fn named(name: &str) -> App {
    App { name: name.parse().unwrap(), ..app() }
}

async fn ask(engine: &DeploymentEngine, app: &str, commit: &CommitSha) -> Result<Deployment> {
    let app: AppName = app.parse().unwrap();
    engine.deploy(&app, DeployRequest::commit(commit.clone())).await
}

fn failure(deployment: &Deployment) -> (&str, &str, &str) {
    let failure = deployment.failure.as_ref().expect("it has not failed");
    assert_eq!((deployment.conclusion, failure.kind), (Some(Conclusion::Failed), ErrorKind::ResourceExhausted));
    (&failure.code, &failure.message, failure.hint.as_deref().unwrap_or_default())
}

fn hog(memory: u64) -> App {
    named("hog").with_resources(Resources::new(1000, memory, 64).unwrap())
}

#[tokio::test(start_paused = true)]
async fn more_than_the_machine_could_ever_run_is_refused_at_once() {
    let scene = Scene::new(28, &["shop"]).await;
    scene.engine.create_app(hog(15 * GIB)).await.unwrap();
    let error = ask(&scene.engine, "hog", &scene.world.good()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "no_room_for_memory"));
    assert_eq!(error.message(), "it needs 15.0 GiB of memory, and all versions of all apps together may use 14.0 GiB");
    assert_eq!(error.field(), Some("app.resources"));
    assert!(scene.refused(Shortage::Memory));
    let greedy = named("greedy").with_resources(Resources::new(5000, GIB, 64).unwrap());
    scene.engine.create_app(greedy).await.unwrap();
    let error = ask(&scene.engine, "greedy", &scene.world.good()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), ("no_room_for_cpu", "it may use 5 CPUs, and the machine has 4"));
    assert!(scene.world.store.unfinished(None).await.unwrap().is_empty());
    scene.deploys("shop").await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_beside_others_is_refused_before_it_is_built() {
    let scene = Scene::new(4, &["shop", "blog"]).await;
    let live = scene.deploys("shop").await;
    scene.deploys("blog").await;
    scene.engine.create_app(hog(3 * 512 * MIB)).await.unwrap();
    let built = scene.world.builder.builds().len();
    let ended = scene.deploy("hog").await;
    let (code, message, hint) = failure(&ended);
    assert_eq!(code, "no_room_for_memory");
    let text = "it needs 1.5 GiB of memory, and 1.0 GiB of 2.0 GiB are left: blog 1 x 512 MiB, shop 1 x 512 MiB";
    assert_eq!(message, text);
    assert!(hint.contains("side by side"), "{hint}");
    assert_eq!(scene.world.builder.builds().len(), built, "it was built in vain");
    assert!(scene.world.rows(ended.id, StepName::Create).await.is_empty());
    assert!(scene.refused(Shortage::Memory));
    assert_eq!(scene.world.app().await.serving.live.unwrap().deployment, live.id);
    let text = scene.engine.explain(&ended.app).await.unwrap().to_string();
    assert!(text.contains("it needs 1.5 GiB of memory"), "{text}");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_counts_until_it_is_gone_and_is_named() {
    let scene = Scene::new(3, &["shop", "blog"]).await;
    scene.deploys("shop").await;
    scene.deploys("blog").await;
    scene.deploys("shop").await;
    let ended = scene.deploy("blog").await;
    let (code, message, hint) = failure(&ended);
    assert_eq!(code, "no_room_for_memory");
    let text = "it needs 512 MiB of memory, and 0 MiB of 1.5 GiB are left: shop 2 x 512 MiB, blog 1 x 512 MiB";
    assert_eq!(message, text);
    assert!(hint.starts_with("the standby of `shop` holds 512 MiB for another 10 min"), "{hint}");
    assert_eq!(scene.world.running().len(), 3, "the standby was taken away");
    scene.world.pass(app().timing.grace).await;
    scene.world.until("it is retired", || async { scene.world.app().await.serving.standby.is_none() }).await;
    scene.deploys("blog").await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_keeps_the_own_standby() {
    let scene = Scene::new(3, &["shop", "blog"]).await;
    let before = scene.deploys("shop").await;
    scene.deploys("blog").await;
    scene.deploys("shop").await;
    // Memory was taken out of the machine.
    scene.host.change(|host| *host = machine(2));
    failure(&scene.deploy("shop").await);
    let standby = scene.world.app().await.serving.standby.unwrap();
    assert_eq!((standby.occupant.deployment, standby.retiring), (before.id, false));
    // Back to it needs no room.
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let back = scene.world.end(&scene.engine, back.id).await;
    assert_eq!(back.conclusion, Some(Conclusion::Succeeded), "{:?}", back.failure);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_build_at_once_one_gets_the_last_room() {
    let scene = Scene::new(2, &["shop", "blog", "docs"]).await;
    scene.deploys("docs").await;
    let mut asked = Vec::new();
    for app in ["shop", "blog"] {
        let commit = scene.world.good();
        scene.world.builder.hold(&commit);
        let wanted = ask(&scene.engine, app, &commit).await.unwrap();
        scene.world.builder.building(&commit).await;
        asked.push((wanted, commit));
    }
    asked.iter().for_each(|(_, commit)| scene.world.builder.release(commit));
    let mut ended = Vec::new();
    for (wanted, _) in asked {
        ended.push(scene.world.end(&scene.engine, wanted.id).await);
    }
    let (well, refused): (Vec<_>, Vec<_>) = ended.iter().partition(|it| it.conclusion == Some(Conclusion::Succeeded));
    assert_eq!((well.len(), refused.len()), (1, 1), "{ended:?}");
    let (code, message, _) = failure(refused[0]);
    assert_eq!(code, "no_room_for_memory");
    assert!(message.contains("are left: "), "{message}");
    assert_eq!(scene.world.running().len(), 2);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_is_waited_for() {
    let scene = Scene::new(4, &["shop"]).await;
    scene.deploys("shop").await;
    scene.busy(true);
    let wanted = ask(&scene.engine, "shop", &scene.world.good()).await.unwrap();
    scene.waits_for_host(&wanted).await;
    let text = scene.engine.explain(&name()).await.unwrap().to_string();
    let why = "at most: programs wanted 4 of 4 CPUs over the last minute, and 3.2 may be in use.";
    assert!(text.contains("waits for room on the machine, for another") && text.contains(why), "{text}");
    let Some(Wait::Host { shortage, .. }) = scene.waits_for(&wanted).await else { panic!("it waits no more") };
    assert_eq!(shortage, Shortage::Cpu);
    scene.world.pass(Duration::from_secs(60)).await;
    scene.busy(false);
    let ended = scene.world.end(&scene.engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert!(!scene.refused(Shortage::Cpu));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stays_busy_is_not_waited_for_for_ever() {
    let scene = Scene::new(4, &["shop"]).await;
    scene.busy(true);
    let asked = scene.world.clock.monotonic();
    let ended = scene.deploy("shop").await;
    let waited = scene.world.clock.monotonic() - asked;
    assert!((120..130).contains(&waited.as_secs()), "{waited:?}");
    let (code, _, hint) = failure(&ended);
    assert_eq!((code, hint), ("no_room_for_cpu", "deploy again when the machine has less to do"));
    assert!(scene.refused(Shortage::Cpu) && scene.world.running().is_empty());
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_machine_can_be_cancelled() {
    let scene = Scene::new(4, &["shop"]).await;
    scene.busy(true);
    let wanted = ask(&scene.engine, "shop", &scene.world.good()).await.unwrap();
    scene.waits_for_host(&wanted).await;
    scene.engine.cancel(wanted.id, "alice").await.unwrap();
    let cancelled = scene.world.clock.monotonic();
    let ended = scene.world.end(&scene.engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    assert!(scene.world.clock.monotonic() - cancelled < Duration::from_secs(2));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_built_on_a_full_disk_nor_started_without_memory() {
    let scene = Scene::new(4, &["shop"]).await;
    scene.host.change(|host| host.disk_free_bytes = Some(9 * GIB));
    let ended = scene.deploy("shop").await;
    let text = "9.0 GiB of 100.0 GiB of disk are free, and 10.0 GiB must be";
    assert_eq!((failure(&ended).0, failure(&ended).1), ("disk_floor", text));
    assert!(scene.world.builder.builds().is_empty());
    scene.host.change(|host| {
        host.disk_free_bytes = Some(50 * GIB);
        // Enough for a build, not for what it needs then.
        host.memory_available_bytes = Some(host.memory_bytes.unwrap() / 8 + 100 * MIB);
    });
    let ended = scene.deploy("shop").await;
    assert_eq!(failure(&ended).0, "no_room_for_memory");
    assert!(failure(&ended).1.contains("may be in use on the machine"), "{}", failure(&ended).1);
    assert_eq!(scene.world.builder.builds().len(), 1);
    assert!(scene.world.runtime.containers().is_empty());
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_load_keeps_a_rollback_waiting() {
    let scene = Scene::new(4, &[]).await;
    let timing = Timing { grace: Duration::ZERO, ..app().timing };
    scene.engine.create_app(app().with_timing(timing)).await.unwrap();
    let first = scene.deploys("shop").await;
    scene.deploys("shop").await;
    scene.world.until("it is retired", || async { scene.world.running().len() == 1 }).await;
    scene.busy(true);
    scene.world.builder.prune();
    let asked = scene.world.clock.monotonic();
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let back = scene.world.end(&scene.engine, back.id).await;
    assert_eq!(back.conclusion, Some(Conclusion::Succeeded), "{:?}", back.failure);
    assert!(scene.world.clock.monotonic() - asked < Duration::from_secs(30));
    assert_eq!(scene.world.app().await.serving.live.unwrap().release(), first.id);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_mended_whatever_is_left() {
    let scene = Scene::new(2, &["shop"]).await;
    let live = scene.deploys("shop").await;
    scene.host.change(|host| {
        *host = machine(1);
        host.memory_available_bytes = Some(0);
        host.disk_free_bytes = Some(0);
        host.cpu_load_millis = Some(40_000);
    });
    assert!(scene.world.runtime.kill(&scene.world.container(live.id)));
    scene.world.pass(Duration::from_secs(61)).await;
    assert_eq!(scene.world.running().len(), 1);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_gauge_nothing_is_refused() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(hog(4 << 40)).await.unwrap();
    let wanted = ask(&engine, "hog", &world.good()).await.unwrap();
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

/// A machine that cannot be looked at.
#[derive(Debug)]
struct Unseen;

#[async_trait::async_trait]
impl HostGauge for Unseen {
    async fn capacity(&self) -> Result<HostCapacity> {
        Err(Error::new(ErrorKind::Unavailable, "`/proc` is not mounted").with_code("host_unseen"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_looked_at_is_not_taken_for_one_with_room() {
    let world = World::paused();
    let engine = engine(&world, OWNER, Unseen).await;
    engine.create_app(app()).await.unwrap();
    let wanted = ask(&engine, "shop", &world.good()).await.unwrap();
    let ended = world.end(&engine, wanted.id).await;
    assert_eq!(ended.failure.map(|failure| failure.code).as_deref(), Some("host_unseen"));
    assert_eq!(world.rows(ended.id, StepName::Fetch).await.len(), 4, "it was not tried again");
    assert_eq!(ended.state, State::Completed);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_meant_starts_no_engine() {
    let world = World::paused();
    let parts = world.parts();
    let mut config = world.config();
    config.host.memory_permille = 0;
    let started = DeploymentEngine::builder_dyn(parts.store, parts.queue, parts.runtime, parts.router)
        .with_config(config)
        .with_clock(Arc::clone(&world.clock))
        .start()
        .await;
    assert_eq!(started.unwrap_err().code(), "invalid_host_policy");
}
