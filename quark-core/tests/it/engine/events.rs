//! What readers of events and logs get.

use futures_util::{StreamExt, TryStreamExt};
use quark_core::memory::{Behaviour, Health};
use quark_core::{DeployRequest, EventKind, LogStream, State};

use super::world::{World, app, deploy, end, name};

#[tokio::test]
async fn every_change_is_an_event_in_order_and_to_the_end() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let deployment = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let events: Vec<_> = engine.watch(deployment.id, 0).try_collect().await.unwrap();
    assert!(events.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert!(matches!(events.first().unwrap().kind, EventKind::Created));
    assert!(matches!(events.last().unwrap().kind, EventKind::Completed { .. }));
    let mut at = State::Queued;
    for event in &events {
        if let EventKind::StateChanged { from, to } = event.kind {
            assert_eq!(from, at);
            assert!(from.may_become(to));
            at = to;
        }
    }
    assert_eq!(at, State::Completed);
    // From the middle, exactly the rest.
    let rest: Vec<_> = engine.watch(deployment.id, events[3].sequence).try_collect().await.unwrap();
    assert_eq!(rest, events[4..]);
    engine.shutdown().await;
}

#[tokio::test]
async fn the_log_ends_with_the_deployment_and_shows_no_secret() {
    let world = World::new();
    let engine = world.engine().await;
    let secret = "correct-horse-battery";
    engine.create_app(app().with_env("TOKEN", secret).unwrap()).await.unwrap();
    let chatty = Behaviour::with_health(Health::ExitsAtOnce(1)).printing([format!("starting with {secret}")]);
    let deployment = deploy(&engine, &world.commit(chatty)).await;
    let lines: Vec<_> = engine.log(deployment.id, 0, true).try_collect().await.unwrap();
    assert!(lines.iter().map(|line| line.sequence).eq(1..=u64::try_from(lines.len()).unwrap()));
    assert!(lines.iter().any(|line| line.stream != LogStream::System && line.text == "starting with ***"));
    assert!(lines.iter().all(|line| !line.text.contains(secret)));
    assert!(!format!("{deployment:?}").contains(secret));
    engine.shutdown().await;
}

#[tokio::test]
async fn readers_are_let_go_when_the_engine_stops() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    world.builder.hold(&commit);
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    world.builder.building(&commit).await;
    let reader = tokio::spawn(engine.watch(deployment.id, 0).collect::<Vec<_>>());
    engine.shutdown().await;
    assert!(reader.await.unwrap().iter().all(Result::is_ok));
    // The build was broken off; the next engine does it again.
    world.builder.release(&commit);
    let next = world.engine().await;
    assert!(end(&next, deployment.id).await.failure.is_none());
    world.check_rest().await;
    next.shutdown().await;
}
