//! A store that went back in time is not believed: nothing is touched until a
//! person has looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quark_core::backend::{Call, ContainerState, Metric, Route};
use quark_core::deployment::{Fence, Generation, StepName, StepPhase, SupersedePolicy};
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    App, AppName, Conclusion, DeployRequest, Deployment, DeploymentEngine, Error, ErrorKind, HealthCheck, Result,
    RollbackRequest, Router, State, Store, Timing,
};

use super::hooked::{Gate, Hooked};
use super::world::{Parts, World, app, deploy, deploy_well, name};

/// A pass of the comparison with the world.
const PASS: Duration = Duration::from_secs(61);
const HOUR: Duration = Duration::from_secs(3600);

async fn engine() -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::from_secs(600), ..app().timing };
    let health = HealthCheck { deadline: HOUR, interval: Duration::from_secs(1), ..app().health };
    engine.create_app(app().with_timing(timing).with_health(health)).await.unwrap();
    (world, engine)
}

/// Everything that users could notice.
fn seen(world: &World) -> (Vec<String>, Option<Route>, usize) {
    (world.running(), world.router.route(&name()), world.runtime.effects().len())
}

/// The engine is in safe mode because of this, and touches nothing for hours.
async fn assert_safe(world: &World, engine: &DeploymentEngine, why: &str) {
    let reason = engine.safe_mode().expect("the store is believed");
    assert!(reason.contains(why), "{reason}");
    let before = seen(world);
    world.pass(3 * HOUR).await;
    assert_eq!(seen(world), before, "something was touched");
    let error = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "safe_mode"));
    assert!(error.message().contains(why) && error.hint().is_some());
    assert!(world.metrics.says(Metric::SafeMode(true)));
}

/// After a person has looked, the engine goes on, and does not doubt again.
async fn assert_goes_on(world: &World, engine: &DeploymentEngine) {
    let (before, told) = (world.store.position().await.unwrap(), world.store.acquired().await);
    engine.resume().await.unwrap();
    assert_eq!(engine.safe_mode(), None);
    assert!(world.metrics.says(Metric::SafeMode(false)));
    assert!(world.store.position().await.unwrap() >= before + (1 << 32), "event numbers may be given twice");
    let deployment = deploy_well(engine, &world.good()).await;
    assert!(deployment.fence >= Fence(told.0 + (1 << 32)), "{:?} may have been given before", deployment.fence);
    for _ in 0..5 {
        world.pass(PASS).await;
        assert_eq!(engine.safe_mode(), None, "it doubts what a person has decided");
    }
    let route = world.router.route(&name()).unwrap();
    assert_eq!(Some(route.active), deployment.slot);
    assert!(world.answers(world.router.open(&name()).unwrap().endpoint()).await);
    // And a restart changes nothing about that.
    engine.shutdown().await;
    let next = world.engine().await;
    assert_eq!(next.safe_mode(), None);
    deploy_well(&next, &world.good()).await;
    next.shutdown().await;
}

/// The last fence of the app, asked in a way that gives none.
#[async_trait::async_trait]
trait Acquired {
    async fn acquired(&self) -> Fence;
}

#[async_trait::async_trait]
impl Acquired for quark_core::memory::MemoryStore {
    async fn acquired(&self) -> Fence {
        let deployments = self.deployments(&name(), None, 100).await.unwrap();
        deployments.iter().map(|deployment| deployment.fence).max().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_behind_the_note_is_not_believed_at_the_start() {
    let (world, engine) = engine().await;
    let live = deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    // Nothing of what follows is seen by the router.
    world.builder.fail(&live.revision.commit.clone().unwrap(), "unused");
    let broken = world.good();
    world.builder.fail(&broken, "it does not compile");
    deploy(&engine, &broken).await;
    world.pass(PASS).await;
    engine.shutdown().await;
    world.store.restore(&backup);
    let next = world.engine().await;
    assert_safe(&world, &next, "the store was at event").await;
    // Whoever restarts it in the meantime gets the same answer.
    next.shutdown().await;
    let next = world.engine().await;
    assert_safe(&world, &next, "the store was at event").await;
    assert_goes_on(&world, &next).await;
}

#[tokio::test(start_paused = true)]
async fn also_when_the_engine_was_stopped_right_after_its_last_work() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    let broken = world.good();
    world.builder.fail(&broken, "it does not compile");
    deploy(&engine, &broken).await;
    engine.shutdown().await;
    world.store.restore(&backup);
    let next = world.engine().await;
    assert_safe(&world, &next, "the store was at event").await;
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_of_a_later_generation_is_seen_while_the_engine_runs() {
    let (world, engine) = engine().await;
    let first = deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    let second = deploy_well(&engine, &world.good()).await;
    world.store.restore(&backup);
    let before = seen(&world);
    world.pass(PASS).await;
    assert_eq!(seen(&world), before, "something was touched before it was doubted");
    assert_safe(&world, &engine, "generation").await;
    assert_eq!(world.running().len(), 2);
    engine.resume().await.unwrap();
    world.pass(PASS).await;
    // What the store says counts again; what it does not know is left alone.
    assert_eq!(world.router.route(&name()).map(|route| route.active), first.slot);
    assert!(world.running().contains(&world.container(second.id).to_string()));
    assert_eq!(engine.safe_mode(), None);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_works_after_such_a_store_was_resumed() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    deploy_well(&engine, &world.good()).await;
    world.store.restore(&backup);
    world.pass(PASS).await;
    assert_safe(&world, &engine, "generation").await;
    assert_goes_on(&world, &engine).await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_was_never_deployed_as_far_as_the_store_knows_can_be_deployed() {
    let (world, engine) = engine().await;
    let backup = world.store.backup();
    deploy_well(&engine, &world.good()).await;
    world.store.restore(&backup);
    world.pass(PASS).await;
    assert_safe(&world, &engine, "generation").await;
    assert_goes_on(&world, &engine).await;
}

/// Simulation, seed 1022: such an app has no journal, so nobody looked at its route.
#[tokio::test(start_paused = true)]
async fn a_route_of_an_app_that_was_never_deployed_as_far_as_the_store_knows_is_taken_away() {
    let (world, engine) = engine().await;
    let backup = world.store.backup();
    deploy_well(&engine, &world.good()).await;
    world.store.restore(&backup);
    world.pass(PASS).await;
    assert_safe(&world, &engine, "generation").await;
    assert!(world.router.route(&name()).is_some());
    engine.resume().await.unwrap();
    world.pass(PASS).await;
    assert_eq!(world.router.route(&name()), None, "the store knows of nothing that it could lead to");
    assert_eq!(world.running().len(), 1, "what the store does not know is left alone");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_an_unknown_deployment_is_not_taken_for_garbage() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    let unknown = engine.deploy(&name(), DeployRequest::commit(silent)).await.unwrap();
    let probed = || async { engine.deployment(unknown.id).await.unwrap().state == State::Probing };
    world.until("it is probed", probed).await;
    engine.shutdown().await;
    world.store.restore(&backup);
    // An engine on another machine has no note.
    std::fs::remove_dir_all(world.folder.path().join("work")).unwrap();
    let next = world.engine().await;
    assert_safe(&world, &next, &unknown.id.to_string()).await;
    assert_goes_on(&world, &next).await;
    let left = world.running();
    assert!(left.contains(&world.container(unknown.id).to_string()), "what the store does not know is left alone");
}

/// Simulation, seed 89716: what the store has as waiting was live before the
/// store went back, in the slot that the store says something else is live in.
#[tokio::test(start_paused = true)]
async fn what_is_begun_for_a_second_time_after_a_restore_is_not_stopped_while_it_serves() {
    let (world, engine) = engine().await;
    let known = world.app().await;
    engine.update_app(known.spec.with_supersede(SupersedePolicy::Serial), known.version).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let (second, commit) = world.under_way(&engine).await;
    let third = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let backup = world.store.backup();
    world.builder.release(&commit);
    world.end(&engine, second.id).await;
    world.end(&engine, third.id).await;
    world.store.restore(&backup);
    world.pass(PASS).await;
    assert_safe(&world, &engine, "although the store says").await;
    // Without it the second cannot go on, and requests are sent back to what the
    // store says was live before it: to the third.
    assert!(world.runtime.kill(&world.container(second.id)));
    engine.resume().await.unwrap();
    assert_eq!(world.end(&engine, second.id).await.conclusion, Some(Conclusion::Failed));
    let ended = world.end(&engine, third.id).await;
    let failure = ended.failure.unwrap();
    assert_eq!((ended.conclusion, failure.code.as_str()), (Some(Conclusion::Failed), "serves_already"), "{failure}");
    assert!(world.running().contains(&world.container(third.id).to_string()), "users were served by it");
    engine.shutdown().await;
}

/// The router has seen more than the store knows of.
async fn see_later(world: &World, app: &AppName, later: impl FnOnce(Route) -> Route) {
    let later = later(world.router.route(app).unwrap());
    let call = Call::new("before", later.fence, PASS).with_clock(Arc::clone(&world.clock));
    world.router.apply(&call, &later).await.unwrap();
}

/// A deployment whose promotion a router refuses, because it has seen a later fence.
async fn refused(world: &World, engine: &DeploymentEngine) -> Deployment {
    refused_of(world, engine, &name()).await
}

async fn refused_of(world: &World, engine: &DeploymentEngine, app: &AppName) -> Deployment {
    see_later(world, app, |seen| Route { fence: Fence(1000), ..seen }).await;
    let deployment = engine.deploy(app, DeployRequest::commit(world.good())).await.unwrap();
    world.until("it is in safe mode", || async { engine.safe_mode().is_some() }).await;
    deployment
}

#[tokio::test(start_paused = true)]
async fn a_router_that_refuses_the_fence_of_the_holder_is_believed() {
    let (world, engine) = engine().await;
    let live = deploy_well(&engine, &world.good()).await;
    let deployment = refused(&world, &engine).await;
    assert_safe(&world, &engine, "although the store says").await;
    let rows = world.rows(deployment.id, StepName::Promote).await;
    assert_eq!((rows.len(), rows[0].phase), (1, StepPhase::Intent));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    assert_eq!(world.running().len(), 2, "what it has made is still there");
    engine.resume().await.unwrap();
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_that_writes_is_accepted() {
    let (world, engine) = engine().await;
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    deploy_well(&engine, &world.good()).await;
    let live = deploy_well(&engine, &world.good()).await;
    let waiting = refused(&world, &engine).await;
    let record = engine.app(&name()).await.unwrap();
    let position = world.store.position().await.unwrap();
    let refused: Vec<(&str, Result<()>)> = vec![
        ("deploy", engine.deploy(&name(), DeployRequest::commit(silent)).await.map(drop)),
        ("rollback", engine.rollback(&name(), RollbackRequest::default()).await.map(drop)),
        ("remove_app", engine.remove_app(&name(), "alice").await.map(drop)),
        ("retry", engine.retry(waiting.id).await),
        ("abandon", engine.abandon(waiting.id, "alice").await),
        ("cancel", engine.cancel(waiting.id, "alice").await),
        ("collect_garbage", engine.collect_garbage().await.map(drop)),
        ("update_app", engine.update_app(record.spec.clone(), record.version).await.map(drop)),
        ("create_app", engine.create_app(quark_core::App { name: "b".parse().unwrap(), ..app() }).await.map(drop)),
    ];
    let accepted =
        refused.iter().filter(|(_, done)| done.as_ref().err().map(quark_core::Error::code) != Some("safe_mode"));
    assert_eq!(accepted.map(|(call, done)| format!("{call}: {done:?}")).collect::<Vec<_>>(), [] as [String; 0]);
    assert_eq!(world.store.position().await.unwrap(), position);
    // Whoever only looks is answered.
    assert_eq!(engine.apps().await.unwrap().len(), 1);
    assert_eq!(engine.deployment(live.id).await.unwrap().conclusion, Some(Conclusion::Succeeded));
    engine.ready().await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_retired_or_mended_in_the_meantime() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let live = deploy_well(&engine, &world.good()).await;
    let deployment = refused(&world, &engine).await;
    assert!(world.runtime.kill(&world.container(live.id)));
    // Longer than the grace of the standby, shorter than a deployment may take.
    world.pass(HOUR / 3).await;
    let state = |container: &quark_core::backend::ObservedContainer| container.state != ContainerState::Running;
    assert_eq!(world.runtime.containers().iter().filter(|container| state(container)).count(), 1);
    // What was put off is done afterwards.
    engine.resume().await.unwrap();
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    world.pass(12 * PASS).await;
    let serving = world.app().await.serving;
    assert_eq!((serving.live.map(|live| live.deployment), serving.standby), (Some(deployment.id), None));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_doubts_nothing_has_nothing_to_resume() {
    let (world, engine) = engine().await;
    let position = world.store.position().await.unwrap();
    engine.resume().await.unwrap();
    assert_eq!(world.store.position().await.unwrap(), position);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_runs_sees_that_its_store_went_back() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let backup = world.store.backup();
    let broken = world.good();
    world.builder.fail(&broken, "it does not compile");
    for _ in 0..3 {
        deploy(&engine, &broken).await;
    }
    // Once noted, a lower position does not take its place, wherever in the minute it is looked at.
    world.pass(PASS).await;
    for _ in 0..2 {
        world.store.restore(&backup);
        world.pass(2 * PASS).await;
        assert_safe(&world, &engine, "the store was at event").await;
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_taken_away_stays_if_the_doubt_comes_right_before() {
    let world = World::paused();
    let gate = Gate::new("drained");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    gate.close_after(0);
    // It needs the slot of the standby, which is drained and would be stopped next.
    let third = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    gate.reached().await;
    see_later(&world, &name(), |seen| Route { generation: Generation(seen.generation.0 + 1000), ..seen }).await;
    world.until("it is in safe mode", || async { engine.safe_mode().is_some() }).await;
    gate.open();
    assert_safe(&world, &engine, "generation").await;
    assert_eq!(world.running().len(), 2);
    engine.resume().await.unwrap();
    let ended = world.end(&engine, third.id).await;
    // Its hour is over by then.
    assert_eq!(
        (ended.conclusion, ended.failure.unwrap().code.as_str()),
        (Some(Conclusion::Failed), "deadline_exceeded")
    );
    deploy_well(&engine, &world.good()).await;
    world.check_rest().await;
    engine.shutdown().await;
}

/// A world with two apps in which nothing can be stopped while the switch is on.
async fn unstoppable() -> (World, Arc<AtomicBool>, DeploymentEngine, AppName) {
    let (world, broken) = (World::paused(), Arc::new(AtomicBool::new(false)));
    let is_broken = Arc::clone(&broken);
    let fault = move |operation: &'static str| {
        let fails = operation == "stop" && is_broken.load(Ordering::SeqCst);
        fails.then(|| Error::new(ErrorKind::Unavailable, "it does not answer"))
    };
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), fault));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let other = App { name: "other".parse().unwrap(), ..app() };
    engine.create_app(other.clone()).await.unwrap();
    let live = engine.deploy(&other.name, DeployRequest::commit(world.good())).await.unwrap();
    assert_eq!(world.end(&engine, live.id).await.conclusion, Some(Conclusion::Succeeded));
    (world, broken, engine, other.name)
}

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_its_next_try_is_not_tried_in_the_meantime() {
    let (world, broken, engine, other) = unstoppable().await;
    broken.store(true, Ordering::SeqCst);
    let sick = DeployRequest::commit(world.commit(Behaviour::with_health(Health::Status(500))));
    let sick = engine.deploy(&name(), sick).await.unwrap();
    // The next try comes in eight seconds.
    let rows = || world.rows(sick.id, StepName::Undo);
    let waits = || async { rows().await.get(4).is_some_and(|row| row.phase == StepPhase::Failed) };
    world.until("it was tried five times", waits).await;
    refused_of(&world, &engine, &other).await;
    let tried = rows().await;
    assert_eq!(tried.len(), 5);
    world.pass(HOUR).await;
    assert_eq!(rows().await, tried, "something was written in safe mode");
    broken.store(false, Ordering::SeqCst);
    engine.resume().await.unwrap();
    let ended = world.end(&engine, sick.id).await;
    assert_eq!((ended.conclusion, ended.failure.unwrap().code.as_str()), (Some(Conclusion::Failed), "unhealthy"));
    assert!(world.runtime.spec(&world.container(sick.id)).is_none());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_serves_is_not_cleaned_up_because_it_looks_unfinished() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    let second = engine.deploy(&name(), DeployRequest::commit(silent)).await.unwrap();
    let probed = || async { engine.deployment(second.id).await.unwrap().state == State::Probing };
    world.until("it is probed", probed).await;
    let backup = world.store.backup();
    assert!(world.runtime.set_health(&world.container(second.id), Health::Healthy));
    assert_eq!(world.end(&engine, second.id).await.conclusion, Some(Conclusion::Succeeded));
    // The store says that it is probed; a person believes it, before the engine has looked.
    world.store.restore(&backup);
    engine.cancel(second.id, "alice").await.unwrap();
    world.until("it is in safe mode", || async { engine.safe_mode().is_some() }).await;
    assert!(!world.rows(second.id, StepName::Undo).await.is_empty(), "something else has doubted before");
    assert!(world.answers(world.router.open(&name()).unwrap().endpoint()).await, "what serves was taken away");
    assert_safe(&world, &engine, "generation").await;
    engine.shutdown().await;
}
