//! Requests that are under way, and wishes that come twice or late.

use std::time::Duration;

use quark_core::deployment::IdempotencyKey;
use quark_core::{Clock, Conclusion, DeployRequest, Slot};

use crate::fault_matrix::stage::{Scene, before, end, name, repository, succeed};

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

// coolify #2803 #1006: one push was delivered again, and was deployed again.
#[tokio::test(start_paused = true)]
async fn redelivered_webhook_coolify_2803() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    let push = || DeployRequest::push(commit.clone(), key("delivery-1"));
    let one = scene.engine.deploy(&name(), push()).await.unwrap();
    let two = scene.engine.deploy(&name(), push()).await.unwrap();
    assert_eq!(one.id, two.id);
    succeed(&scene.engine, one.id).await;
    // Also when it is delivered again after its end.
    assert_eq!(scene.engine.deploy(&name(), push()).await.unwrap().id, one.id);
    assert_eq!(scene.engine.deployments(&name(), None, 10).await.unwrap().len(), 2);
    scene.stage.at_rest().await;
}

// coolify #2803: two hooks told of one push.
#[tokio::test(start_paused = true)]
async fn two_hooks_for_one_push_coolify_2803() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    let one = scene.engine.deploy(&name(), DeployRequest::push(commit.clone(), key("hook-1"))).await.unwrap();
    let two = scene.engine.deploy(&name(), DeployRequest::push(commit.clone(), key("hook-2"))).await.unwrap();
    let ended = [end(&scene.engine, one.id).await, end(&scene.engine, two.id).await];
    let served = ended.iter().filter(|it| it.conclusion == Some(Conclusion::Succeeded)).count();
    assert_eq!(served, 1, "it was deployed twice: {:?}", ended.map(|it| it.conclusion));
    assert!(scene.stage.builder.builds().iter().filter(|build| build.commit == commit).count() <= 1);
    let live = scene.stage.live().await.unwrap();
    assert_eq!(scene.stage.deployment(live).await.revision.commit, Some(commit));
    scene.stage.at_rest().await;
}

// go-admin PR #874: the webhook of an older commit came, or its build ended, after that of the newer one.
#[tokio::test(start_paused = true)]
async fn older_commit_told_after_the_newer_one_go_admin_874() {
    let scene = Scene::new().await;
    let older = scene.stage.good();
    let newer = scene.stage.good();
    let late = DeployRequest::push(older.clone(), key("older"));
    let head = scene.engine.deploy(&name(), DeployRequest::push(newer.clone(), key("newer"))).await.unwrap();
    succeed(&scene.engine, head.id).await;
    let late = scene.engine.deploy(&name(), late).await.unwrap();
    let ended = end(&scene.engine, late.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Superseded), "{:?}", ended.failure);
    assert_eq!(scene.stage.live().await, Some(head.id));
    assert_eq!(scene.stage.served_by().await, Some(head.id));
    assert!(scene.stage.builder.builds().iter().all(|build| build.commit != older), "it was built for nothing");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn older_commit_finishing_after_the_newer_one_go_admin_874() {
    let scene = Scene::new().await;
    let older = scene.stage.good();
    scene.stage.builder.hold(&older);
    let slow = scene.engine.deploy(&name(), DeployRequest::push(older.clone(), key("older"))).await.unwrap();
    scene.stage.builder.building(&older).await;
    let newer = scene.stage.good();
    let head = scene.engine.deploy(&name(), DeployRequest::push(newer, key("newer"))).await.unwrap();
    succeed(&scene.engine, head.id).await;
    scene.stage.builder.release(&older);
    assert_eq!(end(&scene.engine, slow.id).await.conclusion, Some(Conclusion::Superseded));
    scene.stage.pass(Duration::from_secs(60)).await;
    assert_eq!(scene.stage.served_by().await, Some(head.id));
    scene.stage.at_rest().await;
}

/// A forced push back to the older commit is a wish like any other.
#[tokio::test(start_paused = true)]
async fn an_older_commit_that_is_the_head_again_go_admin_874() {
    let scene = Scene::new().await;
    let older = scene.stage.good();
    let newer = scene.stage.good();
    let head = scene.engine.deploy(&name(), DeployRequest::push(newer, key("newer"))).await.unwrap();
    succeed(&scene.engine, head.id).await;
    scene.stage.source.set_branch(&repository(), &"main".parse().unwrap(), &older);
    let back = scene.engine.deploy(&name(), DeployRequest::push(older, key("older"))).await.unwrap();
    succeed(&scene.engine, back.id).await;
    assert_eq!(scene.stage.served_by().await, Some(back.id));
}

// ingress-nginx #2461, coolify #8627: connections that were open at the cutover were cut.
#[tokio::test(start_paused = true)]
async fn websocket_open_for_the_whole_cutover_ingress_nginx_2461() {
    let scene = Scene::new().await;
    let socket = scene.stage.router.open(&name()).unwrap();
    let second = scene.with_standby().await;
    assert_eq!(socket.slot(), Slot::Blue);
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    // It is open through the whole grace, and then for as long as the drain may last.
    let draining = scene.fate.hold(before("router.drained"));
    draining.reached().await;
    assert!(scene.stage.runs(scene.first.id), "it was cut off");
    let began = scene.stage.clock.monotonic();
    draining.open();
    let gone = || async { scene.stage.container(scene.first.id).is_none() };
    scene.stage.until("the old version is gone", gone).await;
    let waited = scene.stage.clock.monotonic() - began;
    assert!(waited >= Duration::from_secs(30), "it was cut off after {waited:?}");
    drop(socket);
    scene.stage.at_rest().await;
}

// coolify #8627 #4817, dokku #8282: the old container was stopped with requests in it.
#[tokio::test(start_paused = true)]
async fn post_of_five_seconds_in_flight_at_the_cutover_coolify_8627() {
    let scene = Scene::new().await;
    scene.with_standby().await;
    // It is on its way to the second when the third is promoted, and the fourth needs the slot.
    let post = scene.stage.router.open(&name()).unwrap();
    let third = succeed(&scene.engine, scene.second().await.id).await;
    let draining = scene.fate.hold(before("router.drained"));
    let fourth = scene.second().await;
    draining.reached().await;
    draining.open();
    scene.stage.pass(Duration::from_secs(5)).await;
    let address = post.endpoint().clone();
    let runs = scene.stage.runtime.containers().into_iter().any(|container| {
        let spec = scene.stage.runtime.spec(&container.name).unwrap();
        spec.endpoint() == Some(&address) && container.state == quark_core::backend::ContainerState::Running
    });
    assert!(runs, "it was stopped with a request in it");
    assert_eq!(scene.stage.served_by().await, Some(third.id));
    drop(post);
    succeed(&scene.engine, fourth.id).await;
    scene.stage.at_rest().await;
}
