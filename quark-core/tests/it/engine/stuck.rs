//! A deployment that cannot be cleaned up, and what a person can do about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use quark_core::backend::Metric;
use quark_core::deployment::StepPhase;
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    Conclusion, DeployRequest, Deployment, DeploymentEngine, Error, ErrorKind, EventKind, State, StepName,
};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well, name};

/// A pass of the comparison with the world.
const PASS: Duration = Duration::from_secs(61);

/// After it, what waits was counted.
const SWEEP: Duration = Duration::from_secs(31);

/// A switch for the faults of a backend.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>);

impl Broken {
    fn set(&self, broken: bool) {
        self.0.store(broken, Ordering::SeqCst);
    }

    /// An error for this operation while the switch is on.
    fn fault(&self, operation: &'static str) -> impl Fn(&'static str) -> Option<Error> + Clone + use<> {
        let broken = Arc::clone(&self.0);
        move |at| {
            let fails = at == operation && broken.load(Ordering::SeqCst);
            fails.then(|| Error::new(ErrorKind::Unavailable, "it does not answer"))
        }
    }
}

/// A world whose containers cannot be stopped while the switch is on.
async fn unstoppable() -> (World, Broken, DeploymentEngine) {
    let (world, broken) = (World::paused(), Broken::default());
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), broken.fault("stop")));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    (world, broken, engine)
}

/// A deployment that has failed and cannot be taken away.
async fn stuck(world: &World, engine: &DeploymentEngine) -> Deployment {
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    let deployment = engine.deploy(&name(), DeployRequest::commit(sick)).await.unwrap();
    let stuck = world.end(engine, deployment.id).await;
    assert_eq!(stuck.state, State::Stuck);
    stuck
}

#[tokio::test(start_paused = true)]
async fn it_says_what_is_left_and_why() {
    let (world, broken, engine) = unstoppable().await;
    let live = deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    assert_eq!(stuck.failure.unwrap().code, "unhealthy", "what it failed of is its failure");
    assert_eq!((stuck.conclusion, stuck.finished_at), (None, None));
    let leftovers = engine.leftovers(stuck.id).await.unwrap();
    assert_eq!((leftovers.step, leftovers.failure.kind), (StepName::Undo, ErrorKind::Unavailable));
    assert!(leftovers.failure.message.contains("it does not answer"));
    let instances: Vec<_> = leftovers.instances.iter().map(|instance| instance.name.clone()).collect();
    assert_eq!(instances, [world.container(stuck.id)]);
    assert!(!leftovers.maybe_routed);
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    assert_eq!(engine.leftovers(live.id).await.unwrap_err().code(), "not_stuck");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn only_a_person_moves_it() {
    let (world, broken, engine) = unstoppable().await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    broken.set(false);
    engine.shutdown().await;
    let next = world.engine().await;
    world.pass(Duration::from_secs(3600)).await;
    assert_eq!(next.deployment(stuck.id).await.unwrap(), stuck);
    assert_eq!(next.cancel(stuck.id, "alice").await.unwrap_err().code(), "too_late");
    assert_eq!(world.runtime.containers().len(), 1);
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_retried_after_the_cause_is_gone() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    world.pass(SWEEP).await;
    assert!(world.metrics.says(Metric::StuckDeployments(1)));
    // Too early: it says so once more.
    engine.retry(stuck.id).await.unwrap();
    assert_eq!(world.end(&engine, stuck.id).await.state, State::Stuck);
    broken.set(false);
    engine.retry(stuck.id).await.unwrap();
    let ended = world.end(&engine, stuck.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    assert_eq!(ended.failure, stuck.failure);
    world.pass(SWEEP).await;
    assert!(world.metrics.says(Metric::StuckDeployments(0)));
    assert_eq!(engine.retry(stuck.id).await.unwrap_err().code(), "not_stuck");
    assert_eq!(engine.abandon(stuck.id, "alice").await.unwrap_err().code(), "not_stuck");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_abandoned_is_collected_when_that_can_be_done() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    engine.abandon(stuck.id, "alice").await.unwrap();
    let ended = engine.deployment(stuck.id).await.unwrap();
    assert_eq!((ended.state, ended.conclusion), (State::Completed, Some(Conclusion::Failed)));
    assert_eq!(ended.failure, stuck.failure);
    let events: Vec<_> = engine.watch(stuck.id, 0).try_collect().await.unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Abandoned { by: "alice".into() }));
    assert!(matches!(events.last().unwrap().kind, EventKind::Completed { .. }));
    assert_eq!(world.metrics.ended(Conclusion::Failed), 1);
    // The app goes on while the cause is still there.
    assert_eq!(world.runtime.containers().len(), 2);
    world.pass(PASS).await;
    assert_eq!(world.runtime.containers().len(), 2);
    broken.set(false);
    world.pass(PASS).await;
    let rows = world.rows(stuck.id, StepName::Collect).await;
    assert_eq!(rows.last().unwrap().phase, StepPhase::Done);
    world.check_rest().await;
    deploy_well(&engine, &world.good()).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_keeps_the_next_deployment_waiting_until_somebody_has_decided() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    broken.set(false);
    let next = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    world.pass(5 * PASS).await;
    assert_eq!(engine.deployment(next.id).await.unwrap().state, State::Queued);
    engine.abandon(stuck.id, "alice").await.unwrap();
    let ended = world.end(&engine, next.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    world.pass(PASS).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_its_app_takes_it_along() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let stuck = stuck(&world, &engine).await;
    broken.set(false);
    let removal = engine.remove_app(&name(), "bob").await.unwrap();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    let ended = engine.deployment(stuck.id).await.unwrap();
    assert_eq!((ended.state, ended.conclusion), (State::Completed, Some(Conclusion::Failed)));
    let events: Vec<_> = engine.watch(stuck.id, 0).try_collect().await.unwrap();
    assert!(events.iter().any(|event| event.kind == EventKind::Abandoned { by: "bob".into() }));
    assert_eq!(world.runtime.containers(), []);
    assert!(world.router.route(&name()).is_none());
    assert_eq!(engine.app(&name()).await.unwrap_err().code(), "app_not_found");
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
}

/// A world whose router has done the second switch, and fails since.
async fn half_switched(before: bool) -> (World, Broken, DeploymentEngine, Deployment) {
    let (world, broken, calls) = (World::paused(), Broken::default(), Arc::new(AtomicUsize::new(0)));
    let armed = broken.clone();
    let fault = move |operation: &'static str| {
        if !matches!(operation, "apply" | "remove") || !armed.0.load(Ordering::SeqCst) {
            return None;
        }
        // The first call gets through; its answer is lost on the way.
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        (!first).then(|| Error::new(ErrorKind::Unavailable, "it does not answer"))
    };
    let router = Arc::new(Hooked::failing(world.router.clone(), fault));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    if before {
        deploy_well(&engine, &world.good()).await;
    }
    broken.set(true);
    world.router.lose_answer(Error::new(ErrorKind::InvalidConfig, "what it said cannot be understood"));
    let deployment = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let stuck = world.end(&engine, deployment.id).await;
    assert_eq!(stuck.state, State::Stuck);
    let leftovers = engine.leftovers(stuck.id).await.unwrap();
    assert_eq!((leftovers.step, leftovers.maybe_routed), (StepName::Revert, true));
    let served = world.router.open(&name()).unwrap();
    assert_eq!(world.runtime.spec(&world.container(stuck.id)).unwrap().endpoint(), Some(served.endpoint()));
    (world, broken, engine, stuck)
}

/// Whether users are sent to something that answers.
async fn is_served(world: &World) -> bool {
    match world.router.open(&name()) {
        Some(request) => world.answers(request.endpoint()).await,
        None => false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_left_is_put_back_by_a_retry() {
    let (world, broken, engine, stuck) = half_switched(true).await;
    broken.set(false);
    engine.retry(stuck.id).await.unwrap();
    let ended = world.end(&engine, stuck.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_left_is_put_back_after_it_was_abandoned() {
    let (world, broken, engine, stuck) = half_switched(true).await;
    engine.abandon(stuck.id, "alice").await.unwrap();
    for _ in 0..20 {
        world.pass(Duration::from_secs(30)).await;
        assert!(is_served(&world).await, "what users are sent to was taken away");
    }
    engine.collect_garbage().await.unwrap();
    assert!(is_served(&world).await, "what users are sent to was taken for garbage");
    broken.set(false);
    world.pass(PASS).await;
    assert_eq!(world.router.route(&name()).unwrap().active, world.app().await.serving.live.unwrap().slot);
    world.pass(PASS).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_is_left_of_the_first_deployment_is_taken_away() {
    let (world, broken, engine, stuck) = half_switched(false).await;
    engine.abandon(stuck.id, "alice").await.unwrap();
    broken.set(false);
    world.pass(3 * PASS).await;
    assert_eq!(world.runtime.containers(), []);
    assert!(world.router.route(&name()).is_none(), "users are sent to what is gone");
    deploy_well(&engine, &world.good()).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn looking_at_the_world_does_not_decide_what_a_person_shall() {
    for before in [true, false] {
        let (world, broken, engine, stuck) = half_switched(before).await;
        let state = || async { engine.deployment(stuck.id).await.unwrap().state };
        world.pass(10 * PASS).await;
        assert_eq!(state().await, State::Stuck, "the router is away, before: {before}");
        broken.set(false);
        world.pass(10 * PASS).await;
        assert_eq!(state().await, State::Stuck, "the router is back, before: {before}");
        engine.retry(stuck.id).await.unwrap();
        assert_eq!(world.end(&engine, stuck.id).await.conclusion, Some(Conclusion::Failed));
        world.check_rest().await;
        engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_stuck_can_be_brought_to_its_end() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    assert_eq!(world.end(&engine, removal.id).await.state, State::Stuck);
    broken.set(false);
    engine.retry(removal.id).await.unwrap();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(world.runtime.containers(), []);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn abandoning_a_removal_leaves_no_app_that_nothing_can_be_done_with() {
    let (world, broken, engine) = unstoppable().await;
    deploy_well(&engine, &world.good()).await;
    broken.set(true);
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    assert_eq!(world.end(&engine, removal.id).await.state, State::Stuck);
    let abandoned = engine.abandon(removal.id, "alice").await;
    broken.set(false);
    // It is refused, or it is the end of the app: a name that is neither there nor free helps nobody.
    match abandoned {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Conflict);
            engine.retry(removal.id).await.unwrap();
            world.end(&engine, removal.id).await;
        }
        Ok(()) => world.pass(3 * PASS).await,
    }
    assert_eq!(world.runtime.containers(), []);
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
}
