//! What is tried for ever does not fill the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quark_core::deployment::StepPhase;
use quark_core::{ContainerRuntime, Error, ErrorKind, StepName, Timing};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well};

/// The rows that one step of one deployment may have.
const MOST: usize = 64;

/// How long a retirement waits between two attempts, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_retirement_that_fails_five_hundred_times_writes_few_rows() {
    let world = World::paused();
    let (broken, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let (is_broken, count) = (Arc::clone(&broken), Arc::clone(&calls));
    let fault = move |operation: &'static str| {
        if operation != "stop" || !is_broken.load(Ordering::SeqCst) {
            return None;
        }
        count.fetch_add(1, Ordering::SeqCst);
        Some(Error::new(ErrorKind::PermissionDenied, "it may not be stopped"))
    };
    let runtime: Arc<dyn ContainerRuntime> = Arc::new(Hooked::failing(world.runtime.clone(), fault));
    let parts = || Parts { runtime: Arc::clone(&runtime), ..world.parts() };
    let mut engine = world.start("test", parts()).await;
    engine.create_app(app().with_timing(Timing { grace: Duration::ZERO, ..app().timing })).await.unwrap();
    let old = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    for failed in 1..=500 {
        let tried = || async { calls.load(Ordering::SeqCst) == failed };
        world.until("it is tried again", tried).await;
        // Without an engine the longest wait passes in one leap.
        engine.shutdown().await;
        world.pass(LONGEST_WAIT).await;
        engine = world.start("test", parts()).await;
    }
    let rows = world.rows(old.id, StepName::Retire).await;
    assert_eq!(rows.len(), MOST);
    assert!(rows.iter().map(|row| row.attempt).eq(1..=u32::try_from(MOST).unwrap()));
    let latest = rows.last().unwrap().started_at;
    assert!(world.clock.now().since(latest) < 2 * LONGEST_WAIT, "the last row is not the latest attempt");
    assert_eq!(world.rows(old.id, StepName::Drain).await.len(), 1);
    // It never gave up.
    broken.store(false, Ordering::SeqCst);
    world.until("it is retired", || async { world.app().await.serving.standby.is_none() }).await;
    let rows = world.rows(old.id, StepName::Retire).await;
    assert_eq!((rows.len(), rows[MOST - 1].phase), (MOST, StepPhase::Done));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_cannot_be_mended_writes_few_rows() {
    let world = World::paused();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let fault = move |operation: &'static str| {
        let fails = operation == "start" && is_broken.load(Ordering::SeqCst);
        fails.then(|| Error::new(ErrorKind::Internal, "it cannot be started"))
    };
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), fault));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    broken.store(true, Ordering::SeqCst);
    assert!(world.runtime.kill(&world.container(live.id)));
    world.pass(Duration::from_secs(3600)).await;
    let rows = world.rows(live.id, StepName::Mend).await;
    assert_eq!(rows.len(), MOST);
    broken.store(false, Ordering::SeqCst);
    world.pass(Duration::from_secs(61)).await;
    assert_eq!(world.rows(live.id, StepName::Mend).await[MOST - 1].phase, StepPhase::Done);
    world.check_rest().await;
    engine.shutdown().await;
}
