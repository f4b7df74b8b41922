//! A cancel: at once where nothing was done, and decided by one row where it
//! meets the promotion.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use quark_core::backend::{CancelOutcome, Store};
use quark_core::deployment::{CancelRequest, StepPhase, SupersedePolicy};
use quark_core::{Conclusion, DeployRequest, Error, ErrorKind, EventKind, OwnerId, State, StepName, Timestamp};

use super::hooked::{Gate, Hooked};
use super::hooked_store::HookedStore;
use super::world::{Parts, World, app, deploy_well, name};

#[tokio::test(start_paused = true)]
async fn one_that_waits_ends_at_once_while_another_is_running() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let (running, commit) = world.under_way(&engine).await;
    let waiting = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    engine.cancel(waiting.id, "alice").await.unwrap();
    let ended = engine.deployment(waiting.id).await.unwrap();
    assert_eq!((ended.state, ended.conclusion), (State::Completed, Some(Conclusion::Cancelled)));
    assert_eq!((ended.started_at, &ended.failure), (None, &None));
    assert_eq!(engine.deployment(running.id).await.unwrap().state, State::Building);
    assert_eq!(world.metrics.ended(Conclusion::Cancelled), 1);
    let events: Vec<_> = engine.watch(waiting.id, 0).try_collect().await.unwrap();
    assert!(matches!(events.last().unwrap().kind, EventKind::Completed { .. }));
    let error = engine.cancel(waiting.id, "alice").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "too_late"));
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, running.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(engine.deployment(waiting.id).await.unwrap(), ended, "what has ended was changed");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_is_cancelled_by_an_engine_that_does_not_work_on_the_app() {
    let world = World::paused();
    let (one, two) = (world.engine().await, world.start("other", world.parts()).await);
    one.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let (running, commit) = world.under_way(&one).await;
    let waiting = one.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    for (engine, id) in [(&one, waiting.id), (&two, running.id)] {
        engine.cancel(id, "alice").await.unwrap();
    }
    assert_eq!(one.deployment(waiting.id).await.unwrap().conclusion, Some(Conclusion::Cancelled));
    assert_eq!(world.end(&one, running.id).await.conclusion, Some(Conclusion::Cancelled));
    drop(commit);
    assert_eq!(world.metrics.ended(Conclusion::Cancelled), 2);
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_right_before_the_intent_of_the_promotion_wins() {
    let world = World::paused();
    let (target, outcome) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let (wanted, answer, store) = (Arc::clone(&target), Arc::clone(&outcome), world.store.clone());
    let at = world.clock.now();
    let store = HookedStore::before_commit(&world.store, move |commit| {
        let promotes = |step: &quark_core::deployment::StepRecord| {
            step.name == StepName::Promote && step.phase == StepPhase::Intent
        };
        let id = wanted.lock().unwrap().filter(|id| *id == commit.deployment.id && commit.steps.iter().any(promotes));
        let (store, answer) = (store.clone(), Arc::clone(&answer));
        Box::pin(async move {
            let Some(id) = id else { return };
            // Through another engine: nobody here hears of it.
            let done = store.request_cancel(id, CancelRequest::new("alice", at)).await.unwrap();
            answer.lock().unwrap().get_or_insert(done);
        })
    });
    let engine = world.start("test", Parts { store: Arc::new(store), ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let switches = world.router.switches();
    let (deployment, commit) = world.under_way(&engine).await;
    *target.lock().unwrap() = Some(deployment.id);
    world.builder.release(&commit);
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(*outcome.lock().unwrap(), Some(CancelOutcome::Requested), "it was accepted");
    assert_eq!((ended.conclusion, ended.failure), (Some(Conclusion::Cancelled), None));
    assert_eq!(world.router.switches(), switches, "the route was touched");
    assert_eq!(world.rows(deployment.id, StepName::Promote).await, []);
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_right_after_the_intent_of_the_promotion_is_too_late() {
    let world = World::paused();
    let gate = Gate::new("apply");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    gate.close_after(0);
    let deployment = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    gate.reached().await;
    let error = engine.cancel(deployment.id, "alice").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "too_late"));
    gate.open();
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!((ended.conclusion, ended.cancel), (Some(Conclusion::Succeeded), None));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_removal_of_an_app_is_not_cancelled_even_before_it_has_begun() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    // So that it has to wait.
    let other = OwnerId::parse("other").unwrap();
    world.store.acquire_lease(&name(), &other, Duration::from_secs(60)).await.unwrap();
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(engine.deployment(removal.id).await.unwrap().state, State::Queued);
    let error = engine.cancel(removal.id, "bob").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "too_late"));
    assert!(error.hint().is_some());
    let ended = world.end(&engine, removal.id).await;
    assert_eq!((ended.conclusion, ended.cancel), (Some(Conclusion::Succeeded), None));
    assert_eq!(world.runtime.containers(), []);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_a_runtime_to_come_back_ends_at_once() {
    let world = World::paused();
    let away = |operation| {
        (operation == "allocate_endpoint").then(|| Error::new(ErrorKind::Unavailable, "the daemon restarts"))
    };
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), away));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let wanted = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let waits = || async { world.rows(wanted.id, StepName::Create).await.len() == 3 };
    world.until("it was tried three times", waits).await;
    engine.cancel(wanted.id, "alice").await.unwrap();
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Cancelled));
    assert_eq!(world.rows(wanted.id, StepName::Create).await.len(), 3, "it was tried after the cancel");
    world.check_rest().await;
    engine.shutdown().await;
}

/// It is accepted, because nobody has written yet that the probe is done.
#[tokio::test(start_paused = true)]
async fn one_that_comes_while_the_router_is_asked_in_vain_counts() {
    let world = World::paused();
    let meant = Arc::new(Mutex::new(None));
    let (store, cancelled) = (world.store.clone(), Arc::clone(&meant));
    let hook = move |operation: &'static str| {
        let (store, id) = (store.clone(), *cancelled.lock().unwrap());
        Box::pin(async move {
            let Some(id) = id.filter(|_| operation == "observe") else { return Ok(()) };
            let request = CancelRequest::new("alice", Timestamp::from_micros(1));
            store.request_cancel(id, request).await.unwrap();
            Err(Error::new(ErrorKind::Unavailable, "it restarts"))
        }) as BoxFuture<'static, quark_core::Result<()>>
    };
    let router = Arc::new(Hooked::new(world.router.clone(), Arc::new(hook)));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let (wanted, commit) = world.under_way(&engine).await;
    *meant.lock().unwrap() = Some(wanted.id);
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Cancelled));
    assert!(world.router.route(&name()).is_none());
    assert_eq!(world.runtime.containers(), []);
    engine.shutdown().await;
}
