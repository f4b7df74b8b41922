//! What becomes of a deployment when a newer one of its app is asked for.

use std::sync::Arc;

use futures_util::TryStreamExt;
use quark_core::deployment::SupersedePolicy;
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    Conclusion, DeployRequest, Deployment, DeploymentEngine, DeploymentKind, ErrorKind, EventKind, HealthCheck,
    RollbackRequest, State,
};

use super::hooked::{Gate, Hooked};
use super::world::{Parts, World, app, deploy_well, name};

async fn engine(policy: SupersedePolicy) -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(policy)).await.unwrap();
    (world, engine)
}

async fn ask(world: &World, engine: &DeploymentEngine) -> Deployment {
    engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap()
}

/// As it is now, without waiting.
async fn now(engine: &DeploymentEngine, deployment: &Deployment) -> Deployment {
    engine.deployment(deployment.id).await.unwrap()
}

fn by(newer: &Deployment) -> (Option<Conclusion>, Option<quark_core::DeploymentId>) {
    (Some(Conclusion::Superseded), Some(newer.id))
}

fn how(ended: &Deployment) -> (Option<Conclusion>, Option<quark_core::DeploymentId>) {
    (ended.conclusion, ended.cancel.as_ref().and_then(|cancel| cancel.superseded_by))
}

#[tokio::test(start_paused = true)]
async fn of_a_chain_of_five_only_the_last_is_deployed() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (first, _) = world.under_way(&engine).await;
    let mut waiting: Option<Deployment> = None;
    for _ in 0..4 {
        let next = ask(&world, &engine).await;
        if let Some(before) = waiting.replace(next.clone()) {
            // At once: nothing was done for it, so nothing has to be undone.
            let ended = now(&engine, &before).await;
            assert_eq!((ended.state, how(&ended), ended.started_at), (State::Completed, by(&next), None));
        }
    }
    let last = waiting.unwrap();
    let ended = world.end(&engine, last.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    let ended = now(&engine, &first).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Superseded));
    assert_eq!(ended.failure, None);
    assert!(ended.started_at.is_some());
    assert_eq!(world.builder.builds().len(), 2, "only the first and the last were begun");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_probed_is_stopped() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let health = HealthCheck { deadline: std::time::Duration::from_secs(600), ..app().health };
    let record = engine.app(&name()).await.unwrap();
    engine.update_app(app().with_health(health), record.version).await.unwrap();
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    let first = engine.deploy(&name(), DeployRequest::commit(silent)).await.unwrap();
    let probed = || async { now(&engine, &first).await.state == State::Probing };
    world.until("it is probed", probed).await;
    let second = ask(&world, &engine).await;
    assert_eq!(world.end(&engine, second.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(how(&now(&engine, &first).await), by(&second));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_being_promoted_is_not() {
    let world = World::paused();
    let gate = Gate::new("apply");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    gate.close_after(0);
    let first = ask(&world, &engine).await;
    gate.reached().await;
    let second = ask(&world, &engine).await;
    assert_eq!(now(&engine, &first).await.cancel, None);
    gate.open();
    let first = world.end(&engine, first.id).await;
    let second = world.end(&engine, second.id).await;
    assert_eq!((first.conclusion, second.conclusion), (Some(Conclusion::Succeeded), Some(Conclusion::Succeeded)));
    assert!(first.finished_at <= second.started_at);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn queued_only_lets_the_one_under_way_finish() {
    let (world, engine) = engine(SupersedePolicy::QueuedOnly).await;
    let (first, commit) = world.under_way(&engine).await;
    let second = ask(&world, &engine).await;
    let third = ask(&world, &engine).await;
    assert_eq!(how(&now(&engine, &second).await), by(&third));
    assert_eq!(now(&engine, &first).await.cancel, None);
    world.builder.release(&commit);
    let first = world.end(&engine, first.id).await;
    let third = world.end(&engine, third.id).await;
    assert_eq!((first.conclusion, third.conclusion), (Some(Conclusion::Succeeded), Some(Conclusion::Succeeded)));
    assert_eq!(world.app().await.serving.previous, Some(first.id));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn serial_deploys_every_one_in_order() {
    let (world, engine) = engine(SupersedePolicy::Serial).await;
    let (first, commit) = world.under_way(&engine).await;
    let wanted = [first, ask(&world, &engine).await, ask(&world, &engine).await];
    world.builder.release(&commit);
    let mut before = None;
    for deployment in wanted {
        let ended = world.end(&engine, deployment.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
        assert!(before <= ended.started_at, "two were active at once");
        before = ended.finished_at;
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn reject_refuses_the_newer_one_and_changes_nothing() {
    let (world, engine) = engine(SupersedePolicy::Reject).await;
    let (first, commit) = world.under_way(&engine).await;
    let error = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "deployment_under_way"));
    assert!(error.hint().is_some());
    assert_eq!(engine.deployments(&name(), None, 10).await.unwrap().len(), 1);
    assert_eq!(now(&engine, &first).await.cancel, None);
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, first.id).await.conclusion, Some(Conclusion::Succeeded));
    deploy_well(&engine, &world.good()).await;
    assert_eq!(world.metrics.created(), 2);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_outranks_every_policy() {
    for policy in
        [SupersedePolicy::Coalesce, SupersedePolicy::QueuedOnly, SupersedePolicy::Serial, SupersedePolicy::Reject]
    {
        let (world, engine) = engine(policy).await;
        let good = deploy_well(&engine, &world.good()).await;
        deploy_well(&engine, &world.good()).await;
        let (running, _) = world.under_way(&engine).await;
        let mut superseded = vec![running];
        // Where the policy lets a second one wait.
        if matches!(policy, SupersedePolicy::Serial | SupersedePolicy::QueuedOnly) {
            superseded.push(ask(&world, &engine).await);
        }
        let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
        let ended = world.end(&engine, back.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{policy:?}: {:?}", ended.failure);
        assert_eq!(ended.artifact, good.artifact);
        for deployment in superseded {
            assert_eq!(how(&now(&engine, &deployment).await), by(&back), "{policy:?}");
        }
        world.check_rest().await;
        engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_waits_for_the_rollback_before_it() {
    let world = World::paused();
    let gate = Gate::new("apply");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let good = deploy_well(&engine, &world.good()).await;
    // The first call takes the standby out of the route.
    gate.close_after(1);
    let promoted = ask(&world, &engine).await;
    gate.reached().await;
    let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    assert_eq!(back.kind, DeploymentKind::Rollback { to: good.id }, "what is about to be replaced is the one before");
    let newer = ask(&world, &engine).await;
    let waits = now(&engine, &back).await;
    assert_eq!((waits.state, waits.cancel), (State::Queued, None));
    gate.open();
    for deployment in [&promoted, &back, &newer] {
        let ended = world.end(&engine, deployment.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    }
    let (back, newer) = (now(&engine, &back).await, now(&engine, &newer).await);
    assert!(back.finished_at <= newer.started_at);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_supersedes_all() {
    let world = World::paused();
    let gate = Gate::new("apply");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    // The first call takes the standby out of the route.
    gate.close_after(1);
    let promoted = ask(&world, &engine).await;
    gate.reached().await;
    let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let newer = ask(&world, &engine).await;
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    for deployment in [&back, &newer] {
        assert_eq!(how(&now(&engine, deployment).await), by(&removal));
    }
    gate.open();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(now(&engine, &promoted).await.conclusion, Some(Conclusion::Succeeded));
    assert!(world.runtime.containers().is_empty());
    assert!(world.router.route(&name()).is_none());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_does_not_wait_for_the_build_under_way() {
    let (world, engine) = engine(SupersedePolicy::Serial).await;
    let (running, _) = world.under_way(&engine).await;
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(how(&now(&engine, &running).await), by(&removal));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_watches_or_counts_sees_each_end_once() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (first, _) = world.under_way(&engine).await;
    let second = ask(&world, &engine).await;
    let request = DeployRequest { by: Some("bob".into()), ..DeployRequest::commit(world.good()) };
    let third = engine.deploy(&name(), request).await.unwrap();
    world.end(&engine, third.id).await;
    let kinds = |id| {
        let events = engine.watch(id, 0).map_ok(|event| event.kind).try_collect::<Vec<_>>();
        async { events.await.unwrap() }
    };
    let ended = EventKind::Completed { conclusion: Conclusion::Superseded, failure: None };
    let waited = [
        EventKind::Created,
        EventKind::CancelRequested { by: "bob".into() },
        EventKind::StateChanged { from: State::Queued, to: State::Completed },
        ended.clone(),
    ];
    assert_eq!(kinds(second.id).await, waited);
    let ran = kinds(first.id).await;
    assert_eq!(ran.iter().filter(|kind| **kind == ended).count(), 1);
    assert_eq!(ran.last(), Some(&ended));
    assert!(ran.contains(&EventKind::CancelRequested { by: "engine".into() }));
    assert_eq!(world.metrics.created(), 3);
    assert_eq!(world.metrics.ended(Conclusion::Superseded), 2);
    assert_eq!(world.metrics.ended(Conclusion::Succeeded), 1);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_one_engine_works_on_is_superseded_through_another() {
    let (world, one) = engine(SupersedePolicy::Coalesce).await;
    let (first, _) = world.under_way(&one).await;
    let two = world.start("other", world.parts()).await;
    let second = ask(&world, &two).await;
    let third = ask(&world, &two).await;
    assert_eq!(world.end(&two, third.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(how(&now(&one, &first).await), by(&second));
    assert_eq!(how(&now(&one, &second).await), by(&third));
    assert_eq!(world.metrics.ended(Conclusion::Superseded), 2);
    world.check_rest().await;
    one.shutdown().await;
    two.shutdown().await;
}
