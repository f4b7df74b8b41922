//! Somebody cancels or deletes while there is work: whatever happens to that,
//! the next one must go on.

use std::time::Duration;

use quark_core::deployment::SupersedePolicy;
use quark_core::{Conclusion, DeployRequest, Deployment, ErrorKind, State};

use crate::fault_matrix::stage::{Gate, Scene, Stage, app, before, end, name, named, soon, succeed, want};

/// Cancels at a gate, and goes on.
async fn cancelled_at(scene: &Scene, wanted: &Deployment, gate: &Gate) -> Deployment {
    gate.reached().await;
    scene.engine.cancel(wanted.id, "alice").await.unwrap();
    gate.open();
    let ended = end(&scene.engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled), "{:?}", ended.failure);
    assert!(scene.stage.container(wanted.id).is_none(), "what was cancelled still runs");
    ended
}

/// The slot is free: nothing blocks the next one.
async fn goes_on(scene: &Scene) {
    scene.stage.at_rest().await;
    let next = scene.second().await;
    succeed(&scene.engine, next.id).await;
    assert_eq!(scene.stage.served_by().await, Some(next.id));
    scene.stage.at_rest().await;
}

// coolify #11327 #2449: a cancelled deployment kept its place, and the queue stood still for ever.
#[tokio::test(start_paused = true)]
async fn cancel_while_queued_coolify_11327() {
    let scene = Scene::of(Stage::new(), app().with_supersede(SupersedePolicy::Serial)).await;
    let gate = scene.fate.hold(before("builder.build"));
    let first = scene.second().await;
    gate.reached().await;
    let waiting = scene.second().await;
    let behind = scene.second().await;
    scene.engine.cancel(waiting.id, "alice").await.unwrap();
    let ended = end(&scene.engine, waiting.id).await;
    assert_eq!((ended.conclusion, ended.started_at), (Some(Conclusion::Cancelled), None));
    gate.open();
    succeed(&scene.engine, first.id).await;
    succeed(&scene.engine, behind.id).await;
    goes_on(&scene).await;
}

// coolify #5850 #2761: cancelling changed the label, and the build went on.
#[tokio::test(start_paused = true)]
async fn cancel_while_building_coolify_11327() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.engine.cancel(wanted.id, "alice").await.unwrap();
    // Nobody releases the build: it ends because it is cancelled.
    let ended = end(&scene.engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    assert!(ended.artifact.is_none(), "it was built to its end");
    goes_on(&scene).await;
}

#[tokio::test(start_paused = true)]
async fn cancel_while_creating_and_starting_coolify_11327() {
    for call in ["runtime.create", "runtime.start"] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(call));
        let wanted = scene.second().await;
        cancelled_at(&scene, &wanted, &gate).await;
        goes_on(&scene).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cancel_while_probing_coolify_11327() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("prober.probe"));
    let wanted = scene.second().await;
    cancelled_at(&scene, &wanted, &gate).await;
    goes_on(&scene).await;
}

/// Then it is too late, and that is said; it goes on to its end.
#[tokio::test(start_paused = true)]
async fn cancel_while_swapping_coolify_11327() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    let late = scene.engine.cancel(wanted.id, "alice").await.unwrap_err();
    assert_eq!((late.kind(), late.code()), (ErrorKind::Conflict, "too_late"));
    gate.open();
    succeed(&scene.engine, wanted.id).await;
    goes_on(&scene).await;
}

/// The version before the last one is being drained because its slot is needed.
#[tokio::test(start_paused = true)]
async fn cancel_while_draining_coolify_11327() {
    let scene = Scene::new().await;
    let request = scene.stage.router.open(&name()).unwrap();
    let second = scene.with_standby().await;
    let draining = scene.fate.hold(before("router.drained"));
    let wanted = scene.second().await;
    draining.reached().await;
    draining.open();
    scene.engine.cancel(wanted.id, "alice").await.unwrap();
    let ended = end(&scene.engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    drop(request);
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("what was half retired is retired", gone).await;
    goes_on(&scene).await;
}

// dokploy #3506 #4271: an app was deleted while its job ran, and no job ran after it.
#[tokio::test(start_paused = true)]
async fn delete_the_app_while_its_job_runs_dokploy_3506() {
    let scene = Scene::new().await;
    let other = named("alpha").name;
    scene.engine.create_app(named("alpha")).await.unwrap();
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    let removal = scene.engine.remove_app(&name(), "alice").await.unwrap();
    let next = scene.engine.deploy(&other, DeployRequest::commit(scene.stage.good())).await.unwrap();
    succeed(&scene.engine, removal.id).await;
    succeed(&scene.engine, next.id).await;
    assert_eq!(scene.stage.deployment(wanted.id).await.conclusion, Some(Conclusion::Superseded));
    // A new app of the same name is another app.
    scene.engine.create_app(app()).await.unwrap();
    succeed(&scene.engine, want(&scene.engine, &scene.stage.good()).await.id).await;
    scene.stage.at_rest().await;
}

// coolify #1720 #6414, dokploy #2106: after a crash a deployment was "in progress" for ever.
#[tokio::test(start_paused = true)]
async fn nothing_is_in_progress_for_ever_coolify_1720() {
    for call in ["source.fetch", "builder.build", "runtime.create", "runtime.start", "prober.probe", "router.apply"] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(call));
        let wanted = scene.second().await;
        gate.reached().await;
        scene.fate.kill();
        // Even if nobody comes for a day.
        scene.stage.pass(Duration::from_secs(24 * 3600)).await;
        let next = scene.stage.next().await;
        let ended = soon("it ends", end(&next, wanted.id)).await;
        assert_eq!(ended.state, State::Completed, "{call}");
        assert!(scene.stage.served_by().await.is_some());
        let retired = || async { scene.stage.app().await.serving.standby.is_none() };
        scene.stage.until("nothing stands by any more", retired).await;
        scene.stage.at_rest().await;
    }
}
