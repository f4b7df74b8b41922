//! A backend that obeys neither time nor cancel holds its app for a while, and
//! not for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use quark_core::deployment::StepPhase;
use quark_core::{Conclusion, DeployRequest, DeploymentEngine, ErrorKind, Result, StepName};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well, name};

/// A world with a live version, in which no call that creates a container ever
/// answers while the switch is on.
async fn silent() -> (World, Arc<AtomicBool>, DeploymentEngine) {
    let (world, silent) = (World::paused(), Arc::new(AtomicBool::new(false)));
    let is_silent = Arc::clone(&silent);
    let hook = move |operation: &'static str| {
        let hangs = operation == "create" && is_silent.load(Ordering::SeqCst);
        Box::pin(async move { if hangs { std::future::pending().await } else { Ok(()) } })
            as BoxFuture<'static, Result<()>>
    };
    let runtime = Arc::new(Hooked::new(world.runtime.clone(), Arc::new(hook)));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    silent.store(true, Ordering::SeqCst);
    (world, silent, engine)
}

/// The app can be deployed again.
async fn assert_goes_on(world: &World, silent: &AtomicBool, engine: &DeploymentEngine) {
    silent.store(false, Ordering::SeqCst);
    deploy_well(engine, &world.good()).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_answers_fails_its_step_in_the_end() {
    let (world, silent, engine) = silent().await;
    let live = world.app().await.serving.live;
    let wanted = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let ended = world.end(&engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    let failure = ended.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(StepName::Create), ErrorKind::Timeout));
    assert_eq!(failure.code, "unresponsive_backend");
    assert_eq!(world.app().await.serving.live, live);
    assert_goes_on(&world, &silent, &engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_waits_for_it_and_not_for_ever() {
    let (world, silent, engine) = silent().await;
    let wanted = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let begun = || async { !world.rows(wanted.id, StepName::Create).await.is_empty() };
    world.until("it is created", begun).await;
    engine.cancel(wanted.id, "alice").await.unwrap();
    let ended = world.end(&engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    let rows = world.rows(wanted.id, StepName::Create).await;
    assert_eq!((rows.len(), rows[0].phase), (1, StepPhase::Failed));
    assert_eq!(rows[0].failure.as_ref().unwrap().code, "unresponsive_backend");
    assert_goes_on(&world, &silent, &engine).await;
}
