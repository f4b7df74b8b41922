//! How much of a log is kept, and how long.

use std::time::Duration;

use quark_core::deployment::{DeploymentId, LogStream};
use quark_core::{DeployRequest, DeploymentEngine, EngineConfig};

use super::world::{World, app, deploy_well, name};

async fn lines(world: &World, id: DeploymentId) -> Vec<(LogStream, String)> {
    let lines = quark_core::Store::log(&world.store, id, 0, usize::MAX).await.unwrap();
    lines.into_iter().map(|line| (line.stream, line.text)).collect()
}

async fn engine(world: &World, config: EngineConfig) -> DeploymentEngine {
    let engine = world.start_with(config, world.parts()).await;
    engine.create_app(app()).await.unwrap();
    engine
}

#[tokio::test(start_paused = true)]
async fn output_is_kept_up_to_a_bound_and_what_the_engine_says_always() {
    let world = World::paused();
    let engine = engine(&world, EngineConfig { log_bytes: 60, ..world.config() }).await;
    let commit = world.good();
    // The builder says which commit it builds, in about 30 bytes, and why it fails.
    world.builder.fail(&commit, "x".repeat(100));
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit)).await.unwrap();
    world.end(&engine, deployment.id).await;
    let lines = lines(&world, deployment.id).await;
    let output: Vec<_> = lines.iter().filter(|(stream, _)| *stream != LogStream::System).collect();
    assert_eq!(output.len(), 1, "{output:?}");
    assert!(output.iter().all(|(_, text)| text.starts_with("building")), "{output:?}");
    let note = lines.iter().position(|(_, text)| text.contains("the rest is not kept")).unwrap();
    let after = lines.get(note + 1..).unwrap();
    assert!(!after.is_empty() && after.iter().all(|(stream, _)| *stream == LogStream::System), "{after:?}");
    assert_eq!(lines.iter().filter(|(_, text)| text.contains("the rest is not kept")).count(), 1);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn logs_are_forgotten_in_time_but_not_those_of_what_is_there() {
    let world = World::paused();
    let engine = engine(&world, EngineConfig { keep_logs: Duration::from_secs(3600), ..world.config() }).await;
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    let live = deploy_well(&engine, &world.good()).await;
    for kept in [&first, &second, &live] {
        assert!(!lines(&world, kept.id).await.is_empty());
    }
    world.pass(Duration::from_secs(3000)).await;
    assert!(!lines(&world, first.id).await.is_empty(), "not yet");
    world.pass(Duration::from_secs(1200)).await;
    assert!(lines(&world, first.id).await.is_empty());
    assert!(lines(&world, second.id).await.is_empty(), "it was retired long ago");
    assert!(!lines(&world, live.id).await.is_empty(), "it is live");
    assert!(!engine.steps(first.id).await.unwrap().is_empty(), "its journal stays");
    world.check_rest().await;
    engine.shutdown().await;
}
