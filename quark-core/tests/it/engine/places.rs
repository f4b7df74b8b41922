//! What takes long leaves room for what is quick.

use std::time::Duration;

use quark_core::engine::Wait;
use quark_core::{
    App, AppName, CommitSha, Conclusion, DeployRequest, Deployment, DeploymentEngine, EngineConfig, ErrorKind,
    RollbackRequest, State, Store,
};

use super::world::{World, app, deploy_well, name};

/// An engine that builds one at a time, and apps of these names.
async fn engine(world: &World, others: &[&str]) -> DeploymentEngine {
    let config = EngineConfig { workers: 2, builds: 1, ..world.config() };
    let engine = world.start_with(config, world.parts()).await;
    for other in others {
        engine.create_app(App { name: other.parse().unwrap(), ..app() }).await.unwrap();
    }
    engine
}

/// Asks for a version of an app whose build lasts until it is released.
async fn ask(world: &World, engine: &DeploymentEngine, app: &str) -> (Deployment, CommitSha) {
    let commit = world.good();
    world.builder.hold(&commit);
    let app: AppName = app.parse().unwrap();
    (engine.deploy(&app, DeployRequest::commit(commit.clone())).await.unwrap(), commit)
}

async fn waits_for(engine: &DeploymentEngine, deployment: &Deployment) -> Option<Wait> {
    let explanation = engine.explain(&deployment.app).await.unwrap();
    explanation.work.into_iter().find(|work| work.deployment == deployment.id)?.waits_for
}

#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_wait_until_others_have_built() {
    let world = World::paused();
    let engine = engine(&world, &["blog", "docs"]).await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;

    let (blog, building) = ask(&world, &engine, "blog").await;
    world.builder.building(&building).await;
    let (docs, next) = ask(&world, &engine, "docs").await;
    let waits = || async { matches!(waits_for(&engine, &docs).await, Some(Wait::Build { at_once: 1, ahead: 0 })) };
    world.until("the second waits for a place", waits).await;
    let text = engine.explain(&docs.app).await.unwrap().to_string();
    assert!(text.contains("waits for a place: 1 at once may build."), "{text}");

    let asked = world.clock.monotonic();
    let rollback = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let ended = world.end(&engine, rollback.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert_eq!(world.app().await.serving.live.unwrap().release(), first.id);
    assert!(world.clock.monotonic() - asked < Duration::from_secs(2), "it has waited");

    // It waits outside: not admitted, so its time does not run, and cheap to supersede.
    world.pass(Duration::from_secs(120)).await;
    let waiting = engine.deployment(docs.id).await.unwrap();
    assert_eq!((waiting.state, waiting.started_at), (State::Queued, None));
    world.builder.release(&building);
    assert_eq!(world.end(&engine, blog.id).await.conclusion, Some(Conclusion::Succeeded));
    world.builder.building(&next).await;
    world.builder.release(&next);
    assert_eq!(world.end(&engine, docs.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_asked_first_builds_first_and_who_is_cancelled_leaves_the_line() {
    let world = World::paused();
    let engine = engine(&world, &["a", "b", "c", "d"]).await;
    let mut asked = Vec::new();
    for app in ["a", "b", "c", "d"] {
        asked.push(ask(&world, &engine, app).await);
        world.pass(Duration::from_secs(3)).await;
    }
    engine.cancel(asked[1].0.id, "alice").await.unwrap();
    let ended = world.end(&engine, asked[1].0.id).await;
    assert_eq!((ended.conclusion, ended.started_at), (Some(Conclusion::Cancelled), None));
    for index in [0, 2, 3] {
        let (deployment, commit) = &asked[index];
        world.builder.building(commit).await;
        // One at a time.
        let active = world.store.unfinished(None).await.unwrap().into_iter().filter(|it| it.state.is_active()).count();
        assert_eq!(active, 1);
        world.builder.release(commit);
        assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    }
    let built: Vec<_> = world.builder.builds().into_iter().map(|build| build.commit).collect();
    assert_eq!(built, [0, 2, 3].map(|index| asked[index].1.clone()));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_built_in_a_moment_waits_for_a_moment() {
    let world = World::paused();
    let engine = engine(&world, &["a", "b", "c"]).await;
    let began = world.clock.monotonic();
    let mut wanted = Vec::new();
    for app in ["a", "b", "c"] {
        let app: AppName = app.parse().unwrap();
        wanted.push(engine.deploy(&app, DeployRequest::commit(world.good())).await.unwrap());
    }
    for deployment in wanted {
        assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    }
    assert!(world.clock.monotonic() - began < Duration::from_secs(3), "they waited long for each other");
    engine.shutdown().await;
}

#[tokio::test]
async fn an_engine_without_a_place_to_build_does_not_start() {
    let world = World::new();
    let parts = world.parts();
    let config = EngineConfig { builds: 0, ..world.config() };
    let engine = DeploymentEngine::builder_dyn(parts.store, parts.queue, parts.runtime, parts.router);
    let error = engine.with_config(config).start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}
