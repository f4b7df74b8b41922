//! What users get says how a version does that was just promoted.

use std::sync::Arc;
use std::time::Duration;

use quark_core::deployment::BakeOutcome;
use quark_core::{Conclusion, DeployRequest, Slot, State};

use super::bake::{Scene, bake};
use super::world::name;

/// Requests that are answered like this, 20 in a second, from now on.
fn served(scene: &Scene, slot: Slot, failed_of_ten: usize, took: Duration) -> tokio::task::JoinHandle<()> {
    let (analysis, clock) = (scene.world.analysis.clone(), Arc::clone(&scene.world.clock));
    let route = scene.world.router.route(&name()).unwrap();
    let endpoint = route.endpoint(slot).clone();
    tokio::spawn(async move {
        loop {
            for request in 0..20 {
                let status = if request % 10 < failed_of_ten { 503 } else { 200 };
                analysis.end(&name(), slot, &endpoint, Some((status, took)));
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
    })
}

const QUICK: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn what_fails_its_users_is_rolled_back_with_the_figures() {
    let scene = Scene::new().await;
    let users = served(&scene, scene.now().await.slot.unwrap(), 1, QUICK);
    let ended = scene.end().await;
    assert_eq!(ended.conclusion, Some(Conclusion::RolledBack));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "too_many_errors");
    assert!(failure.message.contains("requests failed in the last"), "{failure}");
    assert!(failure.message.contains("(10.0 %); 5.0 % may"), "{failure}");
    assert_eq!(scene.live().await.0, scene.before.id);
    users.abort();
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_slower_than_the_version_before_is_rolled_back() {
    for (took, conclusion) in [(90, Conclusion::RolledBack), (60, Conclusion::Succeeded)] {
        let scene = Scene::new().await;
        // The next one is watched over this one.
        let users = served(&scene, scene.now().await.slot.unwrap(), 0, QUICK);
        assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
        let request = DeployRequest::commit(scene.world.good());
        let newer = scene.engine.deploy(&name(), request).await.unwrap();
        let state = || async { scene.engine.deployment(newer.id).await.unwrap() };
        scene.world.until("it is watched", || async { state().await.state == State::Baking }).await;
        users.abort();
        let users = served(&scene, state().await.slot.unwrap(), 0, Duration::from_millis(took));
        let ended = scene.world.end(&scene.engine, newer.id).await;
        assert_eq!(ended.conclusion, Some(conclusion), "{took} ms");
        let before = bake(&ended).traffic_before.unwrap();
        assert!(before.requests >= 1000 && before.p95 == Some(QUICK), "{before:?}");
        if let Some(failure) = ended.failure {
            assert_eq!(failure.code, "too_slow");
            assert!(failure.message.contains("took up to 90 ms; up to 60 ms may"), "{failure}");
        }
        users.abort();
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_of_errors_is_no_cause() {
    let scene = Scene::new().await;
    let slot = scene.now().await.slot.unwrap();
    let users = served(&scene, slot, 10, QUICK);
    scene.world.pass(Duration::from_millis(2500)).await;
    users.abort();
    // For a minute many of the last requests have failed, and none does any more.
    let users = served(&scene, slot, 0, QUICK);
    assert_eq!(bake(&scene.end().await).outcome, Some(BakeOutcome::Passed));
    users.abort();
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn few_requests_decide_nothing() {
    let scene = Scene::new().await;
    let (slot, route) = (scene.now().await.slot.unwrap(), scene.world.router.route(&name()).unwrap());
    for _ in 0..49 {
        scene.world.analysis.end(&name(), slot, route.endpoint(slot), None);
    }
    assert_eq!(bake(&scene.end().await).outcome, Some(BakeOutcome::Passed));
    scene.engine.shutdown().await;
}
