//! What is live and was disturbed from outside is brought back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, ContainerState, Drained, EffectiveRoute, Route};
use quark_core::deployment::StepPhase;
use quark_core::memory::MemoryRouter;
use quark_core::{
    App, AppName, ContainerName, ContainerRuntime, DeployRequest, Deployment, DeploymentEngine, Endpoint, Error,
    ErrorKind, EventKind, Result, Router, Slot, Source, State, StepName, Store, Timing,
};

use super::hooked::{Gate, Hooked};
use super::world::{Parts, REPOSITORY, World, app, deploy_well, name, roll_back};

/// A pass of the comparison with the world.
const PASS: Duration = Duration::from_secs(61);

async fn two_versions() -> (World, DeploymentEngine, Deployment) {
    let world = World::paused();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::from_secs(7 * 24 * 3600), ..app().timing };
    engine.create_app(app().with_timing(timing)).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let live = deploy_well(&engine, &world.good()).await;
    (world, engine, live)
}

fn call(world: &World) -> Call {
    let fence = world.router.route(&name()).unwrap().fence;
    Call::new("by hand", fence, Duration::from_secs(5)).with_clock(Arc::clone(&world.clock))
}

pub(super) async fn remove_by_hand(world: &World, container: &ContainerName) {
    world.runtime.kill(container);
    let observed = world.runtime.inspect(container).await.unwrap().unwrap();
    world.runtime.remove(&call(world), &observed.id, &observed.labels).await.unwrap();
}

async fn state(world: &World, container: &ContainerName) -> Option<ContainerState> {
    world.runtime.inspect(container).await.unwrap().map(|observed| observed.state)
}

/// How often a deployment was mended.
async fn mended(world: &World, deployment: &Deployment) -> usize {
    let rows = world.rows(deployment.id, StepName::Mend).await;
    assert!(rows.iter().all(|row| row.phase == StepPhase::Done && row.finished_at.is_some()));
    rows.len()
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_removed_is_made_again() {
    let (world, engine, live) = two_versions().await;
    let container = world.container(live.id);
    let spec = world.runtime.spec(&container).unwrap();
    remove_by_hand(&world, &container).await;
    world.pass(PASS).await;
    assert_eq!(state(&world, &container).await, Some(ContainerState::Running));
    assert_eq!(world.runtime.spec(&container).unwrap().hash(), spec.hash(), "it is the same again");
    assert_eq!(mended(&world, &live).await, 1);
    let events = world.store.events(Some(live.id), 0, 1000).await.unwrap();
    let begun = |event: &&quark_core::Event| matches!(event.kind, EventKind::StepStarted { step: StepName::Mend, .. });
    assert_eq!(events.iter().filter(begun).count(), 1);
    assert_eq!(engine.deployment(live.id).await.unwrap().state, State::Completed);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_stopped_is_started() {
    let (world, engine, live) = two_versions().await;
    let container = world.container(live.id);
    let before = world.runtime.inspect(&container).await.unwrap().unwrap();
    assert!(world.runtime.kill(&container));
    world.pass(PASS).await;
    let after = world.runtime.inspect(&container).await.unwrap().unwrap();
    assert_eq!((after.id, after.state), (before.id, ContainerState::Running), "the same container was started");
    assert_eq!(mended(&world, &live).await, 1);
    // And again, under the same journal.
    assert!(world.runtime.kill(&container));
    world.pass(PASS).await;
    assert_eq!(mended(&world, &live).await, 2);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_rollback_brought_back_is_mended_like_what_it_is() {
    let (world, engine, _) = two_versions().await;
    let back = roll_back(&engine).await;
    let first = engine.deployments(&name(), None, 10).await.unwrap().pop().unwrap();
    let container = world.container(first.id);
    let spec = world.runtime.spec(&container).unwrap();
    remove_by_hand(&world, &container).await;
    world.pass(PASS).await;
    assert_eq!(world.runtime.spec(&container).unwrap().hash(), spec.hash());
    assert_eq!(mended(&world, &back).await, 1);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_was_removed_is_put_back() {
    let (world, engine, live) = two_versions().await;
    let before = world.router.route(&name()).unwrap();
    world.router.remove(&call(&world), &name()).await.unwrap();
    world.pass(PASS).await;
    let after = world.router.route(&name()).unwrap();
    assert_eq!((after.active, after.backup, &after.domains), (before.active, before.backup, &before.domains));
    assert_eq!((&after.blue, &after.green), (&before.blue, &before.green));
    assert_eq!(mended(&world, &live).await, 1);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_points_elsewhere_is_put_back() {
    let (world, engine, live) = two_versions().await;
    let before = world.router.route(&name()).unwrap();
    let elsewhere = Route { active: before.active.other(), backup: false, ..before.clone() };
    world.router.apply(&call(&world), &elsewhere).await.unwrap();
    world.pass(PASS).await;
    assert_eq!(world.router.route(&name()).unwrap().active, before.active);
    assert_eq!(mended(&world, &live).await, 1);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_does_not_run_does_not_stand_in() {
    let (world, engine, _) = two_versions().await;
    let standby = world.app().await.serving.standby.unwrap().occupant.deployment;
    assert!(world.runtime.kill(&world.container(standby)));
    world.router.remove(&call(&world), &name()).await.unwrap();
    world.pass(PASS).await;
    assert!(!world.router.route(&name()).unwrap().backup);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_starts_looks_at_once() {
    let (world, engine, live) = two_versions().await;
    engine.shutdown().await;
    remove_by_hand(&world, &world.container(live.id)).await;
    let next = world.engine().await;
    assert_eq!(state(&world, &world.container(live.id)).await, Some(ContainerState::Running));
    assert_eq!(mended(&world, &live).await, 1);
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_where_nothing_is_wrong() {
    let (world, engine, live) = two_versions().await;
    let other = world.start("other", world.parts()).await;
    let (effects, switches) = (world.runtime.effects(), world.router.switches());
    let position = world.store.position().await.unwrap();
    world.pass(Duration::from_secs(3 * 3600)).await;
    assert_eq!((world.runtime.effects(), world.router.switches()), (effects, switches));
    assert_eq!(world.store.position().await.unwrap(), position);
    assert_eq!(mended(&world, &live).await, 0);
    engine.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_do_not_fight() {
    let (world, one, live) = two_versions().await;
    let two = world.start("other", world.parts()).await;
    for times in 1..=5 {
        let effects = world.runtime.effects().len();
        assert!(world.runtime.kill(&world.container(live.id)));
        world.pass(PASS).await;
        let done: Vec<_> = world.runtime.effects()[effects..].iter().map(|effect| effect.operation).collect();
        assert_eq!(done, ["start"], "once, by one of them");
        assert_eq!(mended(&world, &live).await, times);
    }
    world.check_rest().await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_while_a_deployment_is_promoted() {
    let world = World::paused();
    let gate = Gate::new("applied");
    // Either of them may get the deployment, and both look at the world.
    let parts = || Parts { router: Arc::new(Hooked::new(world.router.clone(), gate.hook())), ..world.parts() };
    let engine = world.start("test", parts()).await;
    let other = world.start("other", parts()).await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    // The switch is done; whoever has ordered it does not know.
    gate.close_after(0);
    let next = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    gate.reached().await;
    let switched = world.router.route(&name()).unwrap();
    assert_ne!(switched.active, world.app().await.serving.live.unwrap().slot);
    world.pass(5 * PASS).await;
    assert_eq!(world.router.route(&name()).unwrap(), switched, "the switch was undone");
    gate.open();
    world.end(&engine, next.id).await;
    assert_eq!(world.app().await.serving.live.unwrap().deployment, next.id);
    for deployment in [live, next] {
        assert_eq!(mended(&world, &deployment).await, 0);
    }
    world.check_rest().await;
    engine.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_is_asked_again_soon() {
    let world = World::paused();
    let (away, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_away, count) = (Arc::clone(&away), Arc::clone(&asked));
    let fault = move |operation: &'static str| {
        count.fetch_add(usize::from(operation == "list"), Ordering::SeqCst);
        is_away.load(Ordering::SeqCst).then(|| Error::new(ErrorKind::Unavailable, "the daemon restarts"))
    };
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), fault));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    away.store(true, Ordering::SeqCst);
    assert!(world.runtime.kill(&world.container(live.id)));
    world.pass(PASS).await;
    let before = asked.load(Ordering::SeqCst);
    world.pass(Duration::from_secs(60)).await;
    let asked_meanwhile = asked.load(Ordering::SeqCst) - before;
    assert!((10..=12).contains(&asked_meanwhile), "every five to six seconds: {asked_meanwhile} times");
    away.store(false, Ordering::SeqCst);
    world.pass(Duration::from_secs(6)).await;
    assert_eq!(state(&world, &world.container(live.id)).await, Some(ContainerState::Running));
    // From then on it is asked as seldom as before.
    let before = asked.load(Ordering::SeqCst);
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(asked.load(Ordering::SeqCst) - before, 10);
    world.check_rest().await;
    engine.shutdown().await;
}

/// A router that cannot tell where one app is routed.
#[derive(Debug)]
struct Unreadable {
    inner: MemoryRouter,
    app: AppName,
}

#[async_trait]
impl Router for Unreadable {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.inner.apply(call, route).await
    }
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        if *app == self.app {
            return Err(Error::new(ErrorKind::Unavailable, "its file cannot be read"));
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

#[tokio::test(start_paused = true)]
async fn one_app_that_cannot_be_looked_at_does_not_keep_the_others_waiting() {
    let world = World::paused();
    let alpha = App::new("alpha", Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake();
    let router = Unreadable { inner: world.router.clone(), app: alpha.name.clone() };
    let engine = world.start("test", Parts { router: Arc::new(router), ..world.parts() }).await;
    engine.create_app(alpha.clone()).await.unwrap();
    engine.create_app(app()).await.unwrap();
    let first = engine.deploy(&alpha.name, DeployRequest::commit(world.good())).await.unwrap();
    world.end(&engine, first.id).await;
    let live = deploy_well(&engine, &world.good()).await;
    assert!(world.runtime.kill(&world.container(live.id)));
    world.pass(PASS).await;
    assert_eq!(state(&world, &world.container(live.id)).await, Some(ContainerState::Running));
    engine.shutdown().await;
}
