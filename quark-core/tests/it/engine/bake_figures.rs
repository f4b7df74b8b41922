//! What users get says how a version does that was just promoted.

use std::sync::Arc;
use std::time::Duration;

use quark_core::deployment::BakeOutcome;
use quark_core::memory::Health;
use quark_core::{App, Conclusion, ContainerName, DeployRequest, Slot, State};

use super::bake::{Scene, bake};
use super::world::{app, name};

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

/// A stand-in for the router: what answers at its entrance.
async fn entrance(scene: &Scene) -> ContainerName {
    let gate = App { name: "gate".parse().unwrap(), domains: Vec::new(), ..app() };
    let name = gate.name.clone();
    scene.engine.create_app(gate).await.unwrap();
    let request = DeployRequest::commit(scene.world.good());
    let gate = scene.engine.deploy(&name, request).await.unwrap();
    assert_eq!(scene.world.end(&scene.engine, gate.id).await.conclusion, Some(Conclusion::Succeeded));
    let route = scene.world.router.route(&name).unwrap();
    scene.world.router.set_entrance(Some(route.endpoint(route.active).clone()));
    ContainerName::of(&name, gate.id, 0)
}

#[tokio::test(start_paused = true)]
async fn what_users_do_not_reach_is_rolled_back() {
    let scene = Scene::new().await;
    let gate = entrance(&scene).await;
    scene.world.runtime.set_health(&gate, Health::Status(502));
    let ended = scene.end().await;
    let failure = ended.failure.unwrap();
    assert_eq!((ended.conclusion, failure.code.as_str()), (Some(Conclusion::RolledBack), "not_reached"));
    assert!(failure.message.contains("`shop.localhost` get no good answer: it answers 502"), "{failure}");
    assert_eq!(scene.live().await.0, scene.before.id);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_nobody_reaches_says_nothing_about_the_version() {
    let scene = Scene::new().await;
    let gate = entrance(&scene).await;
    scene.world.runtime.set_health(&gate, Health::NeverListens);
    scene.world.pass(bake(&scene.now().await).ends_at.since(scene.now().await.created_at)).await;
    assert_eq!(scene.now().await.state, State::Baking, "it is not well for sure");
    scene.world.runtime.set_health(&gate, Health::Healthy);
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Passed)));
    scene.engine.shutdown().await;
}
