//! What users need is not taken away from them, and comes back soon.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::backend::ContainerState;
use quark_core::engine::{Finding, Next};
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    Conclusion, ContainerName, ContainerRuntime, DeployRequest, Deployment, DeploymentEngine, Error, ErrorKind,
    RollbackRequest, State, StepName, Store,
};

use super::hooked::{Gate, Hook, Hooked};
use super::world::{Parts, World, app, deploy_well, name, roll_back};

/// A world with a live version and its standby. While the switch is on, no
/// container can be started.
async fn world() -> (World, DeploymentEngine, [Deployment; 2], Arc<AtomicBool>) {
    let (world, unstartable) = (World::paused(), Arc::new(AtomicBool::new(false)));
    let switch = Arc::clone(&unstartable);
    let fault = move |at: &'static str| {
        let fails = at == "start" && switch.load(Ordering::SeqCst);
        fails.then(|| Error::new(ErrorKind::Unavailable, "it cannot be started"))
    };
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), fault));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    (world, engine, [first, second], unstartable)
}

async fn runs(world: &World, deployment: &Deployment) -> bool {
    let container = world.container(deployment.id);
    let seen = world.runtime.inspect(&container).await.unwrap();
    seen.is_some_and(|seen| seen.state == ContainerState::Running)
}

/// Kills a live version: it runs no more, and accepts no connections.
fn kill(world: &World, live: &Deployment) {
    let container = world.container(live.id);
    world.router.set_reachable(world.runtime.spec(&container).unwrap().endpoint().unwrap(), false);
    world.runtime.kill(&container);
}

/// Whether a user's request gets to this version.
fn serves(world: &World, deployment: &Deployment) -> bool {
    let endpoint = world.runtime.spec(&world.container(deployment.id)).and_then(|spec| spec.endpoint().cloned());
    world.router.open(&name()).is_some_and(|request| Some(request.endpoint()) == endpoint.as_ref())
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_answers_for_a_dead_live_version_is_not_retired() {
    let (world, engine, [first, second], unstartable) = world().await;
    unstartable.store(true, Ordering::SeqCst);
    kill(&world, &second);
    world.pass(app().timing.grace + Duration::from_secs(120)).await;
    assert!(runs(&world, &first).await, "it is all that answers");
    assert!(serves(&world, &first));
    // When the live version runs again, the standby has done its part.
    unstartable.store(false, Ordering::SeqCst);
    let gone = || async { world.runtime.inspect(&world.container(first.id)).await.unwrap().is_none() };
    world.until("it is retired", gone).await;
    assert!(runs(&world, &second).await);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_does_not_take_its_slot() {
    let (world, engine, [first, second], unstartable) = world().await;
    unstartable.store(true, Ordering::SeqCst);
    kill(&world, &second);
    let third = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let third = world.end(&engine, third.id).await;
    assert_eq!((third.conclusion, third.failure.unwrap().code.as_str()), (Some(Conclusion::Failed), "live_is_down"));
    assert!(runs(&world, &first).await && serves(&world, &first));
    // The way out that the failure names.
    let back = roll_back(&engine).await;
    assert_eq!(world.app().await.serving.live.unwrap().restores, Some(first.id), "{back:?}");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_started_again_before_the_standby_goes() {
    let (world, engine, [_, second], _) = world().await;
    world.runtime.kill(&world.container(second.id));
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    let third = engine.deploy(&name(), DeployRequest::commit(sick)).await.unwrap();
    assert_eq!(world.end(&engine, third.id).await.conclusion, Some(Conclusion::Failed));
    assert!(runs(&world, &second).await && serves(&world, &second));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_mended_in_the_middle_of_a_build() {
    let (world, engine, [_, second], _) = world().await;
    let (third, commit) = world.under_way(&engine).await;
    world.runtime.kill(&world.container(second.id));
    world.pass(Duration::from_secs(10)).await;
    assert!(runs(&world, &second).await, "it runs again");
    assert_eq!(engine.deployment(third.id).await.unwrap().state, State::Building, "and the build goes on");
    let mended = engine.steps(second.id).await.unwrap();
    assert!(mended.iter().any(|step| step.name == StepName::Mend), "it stands in its journal");
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, third.id).await.conclusion, Some(Conclusion::Succeeded));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_mended_while_a_cancelled_build_does_not_end() {
    let world = World::paused();
    let gate = Gate::new("build");
    let builder = Arc::new(Hooked::new(world.builder.clone(), gate.hook()));
    let engine = world.start("test", Parts { builder, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    gate.close_after(0);
    let second = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    gate.reached().await;
    engine.cancel(second.id, "alice").await.unwrap();
    world.runtime.kill(&world.container(first.id));
    world.pass(Duration::from_secs(10)).await;
    assert!(runs(&world, &first).await, "it runs again");
    assert_eq!(engine.deployment(second.id).await.unwrap().state, State::Building, "the builder obeys no cancel");
    gate.open();
    assert_eq!(world.end(&engine, second.id).await.conclusion, Some(Conclusion::Cancelled));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_wish_to_go_back_does_not_take_the_way_forward() {
    let world = World::paused();
    let gate = Gate::new("apply");
    let router = Arc::new(Hooked::new(world.router.clone(), gate.hook()));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    gate.close_after(0);
    let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    gate.reached().await;
    let again = engine.rollback(&name(), RollbackRequest::default()).await.unwrap_err();
    assert_eq!(again.code(), "rollback_under_way");
    // Who names the version is taken at their word, and told when it is there already.
    let named = RollbackRequest { to: Some(first.id), ..RollbackRequest::default() };
    let named = engine.rollback(&name(), named).await.unwrap();
    gate.open();
    assert_eq!(world.end(&engine, back.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(world.end(&engine, named.id).await.failure.unwrap().code, "already_live");
    let serving = world.app().await.serving;
    assert_eq!(serving.live.unwrap().restores, Some(first.id));
    assert_eq!(serving.standby.unwrap().occupant.deployment, second.id, "the version before is still warm");
    assert!(runs(&world, &second).await);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_hangs_keeps_no_engine_from_starting_or_ending() {
    let world = World::paused();
    let engine = world.engine().await;
    for number in 0..50 {
        let other = quark_core::App::new(&format!("app-{number}"), app().source).unwrap().without_bake();
        engine.create_app(other).await.unwrap();
    }
    engine.shutdown().await;
    let hook: Hook =
        Arc::new(|at| Box::pin(async move { if at == "observe" { std::future::pending().await } else { Ok(()) } }));
    let router = Arc::new(Hooked::new(world.router.clone(), hook));
    let began = world.clock.monotonic();
    let engine = world.start("other", Parts { router, ..world.parts() }).await;
    engine.shutdown().await;
    let took = world.clock.monotonic() - began;
    assert!(took < Duration::from_secs(30), "{took:?} for fifty apps");
    assert_eq!(world.store.apps().await.unwrap().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn one_slow_answer_right_before_the_switch_is_forgiven() {
    let world = World::paused();
    // The container that misses one answer, and how many looks before.
    let ill: Arc<Mutex<Option<(ContainerName, u32)>>> = Arc::default();
    let (told, inner) = (Arc::clone(&ill), world.runtime.clone());
    let hook: Hook = Arc::new(move |at| {
        let mut ill = told.lock().unwrap();
        match &mut *ill {
            Some((container, 0)) if at == "listening" => {
                inner.set_health(container, Health::WarmsUp(1));
                *ill = None;
            }
            Some((_, looks)) if at == "listening" => *looks -= 1,
            _ => {}
        }
        Box::pin(async { Ok(()) })
    });
    let runtime = Arc::new(Hooked::new(world.runtime.clone(), hook));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    // A warm rollback asks once, and once more right before the switch.
    *ill.lock().unwrap() = Some((world.container(first.id), 1));
    let back = roll_back(&engine).await;
    assert_eq!(*ill.lock().unwrap(), None, "it was ill at that moment");
    assert_eq!(world.rows(back.id, StepName::Promote).await.len(), 1);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_why_it_is_not_mended_and_why_the_standby_stays() {
    let (world, engine, [first, second], unstartable) = world().await;
    unstartable.store(true, Ordering::SeqCst);
    kill(&world, &second);
    world.pass(app().timing.grace + Duration::from_secs(120)).await;
    let explained = engine.explain(&name()).await.unwrap();
    let codes: Vec<_> = explained.findings.iter().map(Finding::code).collect();
    assert_eq!(codes, ["container_stopped", "mend_fails", "retirement_fails"], "{explained}");
    let text = explained.to_string();
    assert!(text.contains("it cannot be started") && text.contains("roll back, which takes a moment"), "{text}");
    assert!(explained.next.iter().any(|next| matches!(next, Next::RollBack { .. })), "{text}");
    roll_back(&engine).await;
    assert!(serves(&world, &first) && runs(&world, &first).await);
    engine.shutdown().await;
}
