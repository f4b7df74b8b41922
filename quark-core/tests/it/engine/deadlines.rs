//! Deadlines are moments: they do not move when an engine restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quark_core::deployment::StepPhase;
use quark_core::memory::{Behaviour, Health};
use quark_core::{App, Conclusion, DeployRequest, ErrorKind, HealthCheck, State, StepName, Timing};

use super::hooked_store::HookedStore;
use super::world::{Parts, World, app, name};

const MINUTE: Duration = Duration::from_secs(60);

/// A check that is asked every second.
fn slow(deadline: Duration) -> HealthCheck {
    HealthCheck { deadline, interval: Duration::from_secs(1), ..app().health }
}

/// An app whose steps may take longer than a whole deployment.
fn patient() -> App {
    let timing = Timing { build: 180 * MINUTE, ..app().timing };
    app().with_timing(timing).with_health(slow(60 * MINUTE))
}

#[tokio::test(start_paused = true)]
async fn a_deployment_has_one_hour_however_often_its_engine_restarts() {
    let world = World::paused();
    let mut engine = world.engine().await;
    engine.create_app(patient()).await.unwrap();
    let (deployment, _) = world.under_way(&engine).await;
    for _ in 0..7 {
        world.pass(8 * MINUTE).await;
        engine.shutdown().await;
        engine = world.engine().await;
    }
    assert_eq!(engine.deployment(deployment.id).await.unwrap().state, State::Building);
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    assert_eq!(ended.failure.unwrap().kind, ErrorKind::Timeout);
    let took = ended.finished_at.unwrap().since(ended.started_at.unwrap());
    assert!((60 * MINUTE..61 * MINUTE).contains(&took), "it took {took:?}");
    assert_eq!(world.runtime.containers(), []);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_any_engine_counts_too() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(patient()).await.unwrap();
    let (deployment, commit) = world.under_way(&engine).await;
    engine.shutdown().await;
    world.pass(61 * MINUTE).await;
    world.builder.release(&commit);
    let next = world.engine().await;
    let ended = world.end(&next, deployment.id).await;
    assert_eq!(ended.failure.unwrap().code, "deadline_exceeded");
    assert_eq!(world.builder.builds().len(), 1, "it was built once more, for nothing");
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_another_deployment_does_not_count() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(patient().with_supersede(quark_core::deployment::SupersedePolicy::Serial)).await.unwrap();
    let (first, commit) = world.under_way(&engine).await;
    let second = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    world.pass(59 * MINUTE).await;
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, first.id).await.conclusion, Some(Conclusion::Succeeded));
    world.pass(2 * MINUTE).await;
    assert_eq!(world.end(&engine, second.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_step_goes_on_with_the_time_that_it_has_left() {
    let world = World::paused();
    let mut engine = world.engine().await;
    engine.create_app(app().with_health(slow(10 * MINUTE))).await.unwrap();
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    let deployment = engine.deploy(&name(), DeployRequest::commit(silent)).await.unwrap();
    for _ in 0..3 {
        world.pass(3 * MINUTE).await;
        engine.shutdown().await;
        engine = world.engine().await;
    }
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.failure.unwrap().code, "never_listened");
    let rows = world.rows(deployment.id, StepName::Probe).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].deadline, rows[0].started_at.after(10 * MINUTE));
    let took = rows[0].finished_at.unwrap().since(rows[0].started_at);
    assert!((9 * MINUTE..=10 * MINUTE).contains(&took), "it took {took:?}");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_build_that_restarts_keeps_its_deadline() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_timing(Timing { build: 10 * MINUTE, ..app().timing })).await.unwrap();
    let (deployment, _) = world.under_way(&engine).await;
    world.pass(6 * MINUTE).await;
    engine.shutdown().await;
    let next = world.engine().await;
    let failure = world.end(&next, deployment.id).await.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(StepName::Build), ErrorKind::Timeout));
    let rows = world.rows(deployment.id, StepName::Build).await;
    assert_eq!(rows.len(), 1, "what had its time gets no other");
    let took = rows[0].finished_at.unwrap().since(rows[0].started_at);
    assert_eq!(rows[0].deadline, rows[0].started_at.after(10 * MINUTE));
    assert!((10 * MINUTE..10 * MINUTE + Duration::from_secs(1)).contains(&took), "it took {took:?}");
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn cleaning_up_has_time_of_its_own() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(patient()).await.unwrap();
    let stubborn = world.commit(Behaviour::with_health(Health::NeverListens).ignoring_stop());
    let deployment = engine.deploy(&name(), DeployRequest::commit(stubborn)).await.unwrap();
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    let undo = world.rows(deployment.id, StepName::Undo).await;
    assert_eq!((undo.len(), undo[0].phase), (1, StepPhase::Done));
    assert!(undo[0].deadline > ended.started_at.unwrap().after(60 * MINUTE));
    // It has to be killed, which takes its whole grace time.
    assert!(undo[0].finished_at.unwrap().since(undo[0].started_at) >= app().timing.stop);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn cleaning_up_gets_its_time_anew_after_a_restart() {
    let world = World::paused();
    let engine = world.engine().await;
    let timing = Timing { stop: 50 * MINUTE, ..app().timing };
    engine.create_app(app().with_timing(timing)).await.unwrap();
    let stubborn = world.commit(Behaviour::with_health(Health::Status(500)).ignoring_stop());
    let deployment = engine.deploy(&name(), DeployRequest::commit(stubborn)).await.unwrap();
    let cleaned = || async { !world.rows(deployment.id, StepName::Undo).await.is_empty() };
    world.until("it is cleaned up", cleaned).await;
    world.pass(40 * MINUTE).await;
    engine.shutdown().await;
    let before = world.rows(deployment.id, StepName::Undo).await;
    let next = world.engine().await;
    let ended = world.end(&next, deployment.id).await;
    assert_eq!((ended.state, ended.conclusion), (State::Completed, Some(Conclusion::Failed)));
    let after = world.rows(deployment.id, StepName::Undo).await;
    assert_eq!((after.len(), after[0].attempt), (1, before[0].attempt), "no attempt was lost");
    assert!(after[0].deadline > before[0].deadline);
    world.check_rest().await;
    next.shutdown().await;
}

/// The store's clock is set between the intent of a step and the step itself,
/// and the engine learns of it in this very moment.
#[tokio::test(start_paused = true)]
async fn a_step_has_its_time_although_the_clock_is_set_meanwhile() {
    let world = World::paused();
    let clock = Arc::new(std::sync::OnceLock::<Arc<AtomicU64>>::new());
    let (set, time) = (Arc::clone(&clock), Arc::clone(&world.clock));
    let store = HookedStore::before_commit(&world.store, move |commit| {
        let undoes = commit.steps.iter().any(|step| step.name == StepName::Undo && step.phase == StepPhase::Intent);
        let (set, time) = (Arc::clone(&set), Arc::clone(&time));
        Box::pin(async move {
            let an_hour = 3_600_000_000;
            if undoes && set.get().is_some_and(|ahead| ahead.swap(an_hour, Ordering::SeqCst) == 0) {
                // Engines ask for the store's time every 30 s.
                time.sleep(Duration::from_secs(35)).await;
            }
        })
    });
    clock.set(store.clock()).unwrap();
    let parts = Parts { store: Arc::new(store), ..world.parts() };
    let engine = world.start("test", parts).await;
    engine.create_app(app().with_timing(Timing { drain: MINUTE, ..app().timing })).await.unwrap();
    let stubborn = world.commit(Behaviour::with_health(Health::NeverListens).ignoring_stop());
    let deployment = engine.deploy(&name(), DeployRequest::commit(stubborn)).await.unwrap();
    assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Failed));
    let undo = world.rows(deployment.id, StepName::Undo).await;
    assert_eq!((undo.len(), undo[0].phase), (1, StepPhase::Done), "it had no time: {undo:?}");
    assert!(undo[0].finished_at.unwrap() > undo[0].deadline, "the clock was set");
    world.check_rest().await;
    engine.shutdown().await;
}
