//! What users get says how a version does that has a share of them.

use std::sync::Arc;
use std::time::Duration;

use quark_core::{Conclusion, Slot};

use super::canary::{Scene, way};
use super::world::name;

/// Requests that are answered like this, so many in a second, from now on.
fn served(
    scene: &Scene,
    slot: Slot,
    in_a_second: usize,
    failed_of_ten: usize,
    took: Duration,
) -> tokio::task::JoinHandle<()> {
    let (analysis, clock) = (scene.world.analysis.clone(), Arc::clone(&scene.world.clock));
    let endpoint = scene.world.router.route(&name()).unwrap().endpoint(slot).clone();
    tokio::spawn(async move {
        loop {
            for request in 0..in_a_second {
                let status = if request % 10 < failed_of_ten { 503 } else { 200 };
                analysis.end(&name(), slot, &endpoint, Some((status, took)));
            }
            clock.sleep(Duration::from_secs(1)).await;
        }
    })
}

const QUICK: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn what_fails_the_few_users_that_it_has_gets_no_more() {
    let scene = Scene::new().await;
    let own = scene.now().await.slot.unwrap();
    let users = [served(&scene, own, 5, 1, QUICK), served(&scene, own.other(), 95, 0, QUICK)];
    let ended = scene.end().await;
    let failure = ended.failure.clone().unwrap();
    assert_eq!((ended.conclusion, failure.code.as_str()), (Some(Conclusion::Failed), "too_many_errors"));
    assert!(failure.message.contains("; 5.0 % may"), "{failure}");
    assert_eq!((way(&ended).step, way(&ended).failure), (0, Some(failure)));
    scene.assert_taken_back().await;
    users.into_iter().for_each(|task| task.abort());
    scene.engine.shutdown().await;
}

/// What both versions need may be away: that says nothing about the new one.
#[tokio::test(start_paused = true)]
async fn errors_that_the_live_version_has_too_are_no_cause() {
    let scene = Scene::new().await;
    let own = scene.now().await.slot.unwrap();
    let users = [served(&scene, own, 20, 3, QUICK), served(&scene, own.other(), 80, 2, QUICK)];
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    users.into_iter().for_each(|task| task.abort());
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_slower_than_what_is_live_gets_no_more() {
    for (took, conclusion) in [(90, Conclusion::Failed), (60, Conclusion::Succeeded)] {
        let scene = Scene::new().await;
        let own = scene.now().await.slot.unwrap();
        let slow = Duration::from_millis(took);
        let users = [served(&scene, own, 5, 0, slow), served(&scene, own.other(), 95, 0, QUICK)];
        let ended = scene.end().await;
        assert_eq!(ended.conclusion, Some(conclusion), "{took} ms");
        assert!(ended.failure.is_none_or(|failure| failure.code == "too_slow"));
        users.into_iter().for_each(|task| task.abort());
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_of_errors_costs_no_share() {
    let scene = Scene::new().await;
    let own = scene.now().await.slot.unwrap();
    let users = served(&scene, own, 30, 10, QUICK);
    scene.world.pass(Duration::from_millis(2500)).await;
    users.abort();
    let users = served(&scene, own, 30, 0, QUICK);
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    users.abort();
    scene.engine.shutdown().await;
}

/// A share so small that nobody asks the version again after its errors: then
/// nothing shows that it is well.
#[tokio::test(start_paused = true)]
async fn errors_that_nothing_speaks_against_stand() {
    let scene = Scene::new().await;
    let (slot, route) = (scene.now().await.slot.unwrap(), scene.world.router.route(&name()).unwrap());
    for _ in 0..20 {
        scene.world.analysis.end(&name(), slot, route.endpoint(slot), None);
    }
    assert_eq!(scene.end().await.failure.unwrap().code, "too_many_errors");
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn few_requests_decide_nothing() {
    let scene = Scene::new().await;
    let (slot, route) = (scene.now().await.slot.unwrap(), scene.world.router.route(&name()).unwrap());
    for _ in 0..19 {
        scene.world.analysis.end(&name(), slot, route.endpoint(slot), None);
    }
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}
