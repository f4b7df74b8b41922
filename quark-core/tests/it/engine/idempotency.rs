//! A wish that is repeated under its key is the same wish.

use futures_util::future::join_all;
use quark_core::deployment::IdempotencyKey;
use quark_core::{App, Conclusion, DeployRequest, DeploymentId, Error, ErrorKind, RollbackRequest, Source};

use super::world::{REPOSITORY, World, app, deploy_well, name};

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_same_key_gets_the_same_deployment() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    let request = DeployRequest::commit(commit.clone()).with_key(key("k"));
    world.builder.hold(&commit);
    let first = engine.deploy(&name(), request.clone()).await.unwrap();
    world.builder.building(&commit).await;
    let again = engine.deploy(&name(), request.clone()).await.unwrap();
    assert_eq!((again.id, again.sequence), (first.id, 1));
    world.builder.release(&commit);
    let ended = world.end(&engine, first.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "its own repetition superseded it");
    assert_eq!(engine.deploy(&name(), request).await.unwrap(), ended);
    let other = engine.deploy(&name(), DeployRequest::commit(commit).with_key(key("l"))).await.unwrap();
    assert_eq!(other.sequence, 2);
    world.end(&engine, other.id).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn fifty_at_once_make_one_deployment() {
    let world = World::paused();
    let (one, two) = (world.engine().await, world.start("other", world.parts()).await);
    one.create_app(app()).await.unwrap();
    let request = DeployRequest::commit(world.good()).with_key(key("k"));
    let asked = (0..50).map(|n| {
        let (engine, request) = (if n % 2 == 0 { one.clone() } else { two.clone() }, request.clone());
        tokio::spawn(async move { engine.deploy(&name(), request).await.unwrap().id })
    });
    let ids: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(world.end(&one, ids[0]).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(one.deployments(&name(), None, 100).await.unwrap().len(), 1);
    assert_eq!((world.metrics.created(), world.builder.builds().len()), (1, 1));
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn another_app_may_use_the_same_key() {
    let world = World::paused();
    let engine = world.engine().await;
    let other = App::new("other", Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake();
    engine.create_app(app()).await.unwrap();
    engine.create_app(other.clone()).await.unwrap();
    let request = DeployRequest::commit(world.good()).with_key(key("k"));
    let first = engine.deploy(&name(), request.clone()).await.unwrap();
    let second = engine.deploy(&other.name, request).await.unwrap();
    assert_ne!(first.id, second.id);
    for id in [first.id, second.id] {
        assert_eq!(world.end(&engine, id).await.conclusion, Some(Conclusion::Succeeded));
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_is_known_after_a_restart() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let request = DeployRequest::commit(world.good()).with_key(key("k"));
    let first = engine.deploy(&name(), request.clone()).await.unwrap();
    engine.shutdown().await;
    let next = world.engine().await;
    assert_eq!(next.deploy(&name(), request.clone()).await.unwrap().id, first.id);
    world.end(&next, first.id).await;
    assert_eq!(next.deploy(&name(), request).await.unwrap().id, first.id);
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_wish_does_not_supersede_a_newer_one() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let request = DeployRequest::commit(world.good()).with_key(key("k"));
    let first = engine.deploy(&name(), request.clone()).await.unwrap();
    world.end(&engine, first.id).await;
    let (newer, commit) = world.under_way(&engine).await;
    assert_eq!(engine.deploy(&name(), request).await.unwrap().id, first.id);
    world.builder.release(&commit);
    assert_eq!(world.end(&engine, newer.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_repeated_rollback_goes_back_once() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    for request in [
        RollbackRequest { key: Some(key("back")), ..RollbackRequest::default() },
        RollbackRequest { to: Some(first.id), key: Some(key("there")), ..RollbackRequest::default() },
    ] {
        if request.to.is_some() {
            deploy_well(&engine, &world.good()).await;
        }
        let back = engine.rollback(&name(), request.clone()).await.unwrap();
        assert_eq!(world.end(&engine, back.id).await.artifact, first.artifact);
        let again = engine.rollback(&name(), request).await;
        let again = again.unwrap_or_else(|error| panic!("it is refused now: {}", error.report()));
        assert_eq!(again.id, back.id);
        assert_eq!(world.app().await.serving.live.unwrap().deployment, back.id);
    }
    engine.shutdown().await;
}

fn assert_reused(error: &Error) {
    assert_eq!((error.kind(), error.code(), error.field()), (ErrorKind::Conflict, "key_reused", Some("key")));
    assert!(error.hint().is_some());
}

fn back(key_text: &str, to: Option<DeploymentId>) -> RollbackRequest {
    RollbackRequest { to, key: Some(key(key_text)), ..RollbackRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn a_key_names_a_deployment_or_a_rollback_and_never_both() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let forth = DeployRequest::commit(world.good());
    let second = engine.deploy(&name(), forth.clone().with_key(key("forth"))).await.unwrap();
    world.end(&engine, second.id).await;
    assert_reused(&engine.rollback(&name(), back("forth", None)).await.unwrap_err());
    let third = engine.rollback(&name(), back("back", None)).await.unwrap();
    world.end(&engine, third.id).await;
    assert_reused(&engine.deploy(&name(), forth.with_key(key("back"))).await.unwrap_err());
    assert_eq!(engine.deployments(&name(), None, 10).await.unwrap().len(), 3, "something was done for it");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_of_an_app_that_was_removed_does_not_stand_for_a_wish_of_its_successor() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let request = DeployRequest::commit(world.good());
    let before = engine.deploy(&name(), request.clone().with_key(key("k"))).await.unwrap();
    world.end(&engine, before.id).await;
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    world.end(&engine, removal.id).await;
    engine.create_app(app()).await.unwrap();
    // Its deployment would be answered with, which serves nobody any more.
    assert_reused(&engine.deploy(&name(), request.clone().with_key(key("k"))).await.unwrap_err());
    let wanted = engine.deploy(&name(), request.with_key(key("l"))).await.unwrap();
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}
