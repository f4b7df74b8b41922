//! What people have gone back from stays away until they want it again.

use quark_core::deployment::{Deployment, IdempotencyKey};
use quark_core::{CommitSha, Conclusion, DeployRequest, DeploymentEngine, RollbackRequest, State};

use super::world::{World, app, deploy_well, name};

/// A push, told for the `time`th time: each delivery has a key of its own.
fn push(commit: &CommitSha, time: u32) -> DeployRequest {
    DeployRequest::push(commit.clone(), IdempotencyKey::parse(format!("push:{commit}:{time}")).unwrap())
}

async fn pushed(world: &World, engine: &DeploymentEngine, commit: &CommitSha, time: u32) -> Deployment {
    let deployment = engine.deploy(&name(), push(commit, time)).await.unwrap();
    world.end(engine, deployment.id).await
}

/// Where a commit was pushed before another one, and people went back from that.
async fn gone_back() -> (World, DeploymentEngine, CommitSha, CommitSha) {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let older = world.good();
    deploy_well(&engine, &older).await;
    let head = world.good();
    assert_eq!(pushed(&world, &engine, &head, 1).await.conclusion, Some(Conclusion::Succeeded));
    let request = RollbackRequest { by: Some("ann".to_owned()), ..RollbackRequest::default() };
    let rollback = engine.rollback(&name(), request).await.unwrap();
    assert_eq!(world.end(&engine, rollback.id).await.conclusion, Some(Conclusion::Succeeded));
    (world, engine, older, head)
}

async fn live(world: &World, engine: &DeploymentEngine) -> Option<CommitSha> {
    let live = world.app().await.serving.live?;
    engine.deployment(live.deployment).await.unwrap().revision.commit
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_told_again_or_late_does_not_bring_it_back() {
    let (world, engine, older, head) = gone_back().await;
    // The second is of an older commit, and would take the head in its place.
    for (commit, time) in [(&head, 2), (&older, 3)] {
        let declined = pushed(&world, &engine, commit, time).await;
        let failure = declined.failure.unwrap();
        assert_eq!((declined.conclusion, failure.code.as_str()), (Some(Conclusion::Failed), "rolled_back"));
        assert!(failure.message.contains("ann") && failure.message.contains(&head.short().to_string()), "{failure}");
        assert_eq!(live(&world, &engine).await.as_ref(), Some(&older));
    }
    assert_eq!(world.builder.builds().len(), 2, "nothing was built for them");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_commit_is_deployed() {
    let (world, engine, _, _) = gone_back().await;
    let better = world.good();
    assert_eq!(pushed(&world, &engine, &better, 1).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(live(&world, &engine).await, Some(better));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_brings_it_again_and_pushes_of_it_count_from_then_on() {
    let (world, engine, older, head) = gone_back().await;
    deploy_well(&engine, &head).await;
    assert_eq!(live(&world, &engine).await.as_ref(), Some(&head));
    deploy_well(&engine, &older).await;
    // By hand to an older commit: nobody has said that the head is bad.
    assert_eq!(pushed(&world, &engine, &head, 2).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(live(&world, &engine).await, Some(head));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn with_other_settings_it_is_another_version() {
    let (world, engine, _, head) = gone_back().await;
    let record = world.app().await;
    let changed = record.spec.clone().with_env("FEATURE", "off").unwrap();
    engine.update_app(changed, record.version).await.unwrap();
    assert_eq!(pushed(&world, &engine, &head, 2).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(live(&world, &engine).await, Some(head));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_of_the_same_name_starts_anew() {
    let (world, engine, _, head) = gone_back().await;
    let removal = engine.remove_app(&name(), "ann").await.unwrap();
    world.end(&engine, removal.id).await;
    engine.create_app(app()).await.unwrap();
    assert_eq!(pushed(&world, &engine, &head, 2).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_stays_away_however_often_it_is_told() {
    let (world, engine, older, head) = gone_back().await;
    // Each is a deployment, and there are more of them than are read at once.
    for time in 2..60 {
        let declined = pushed(&world, &engine, &head, time).await;
        assert_eq!(declined.failure.unwrap().code, "rolled_back", "told for the {time}th time");
    }
    assert_eq!(live(&world, &engine).await, Some(older));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_gave_way_to_the_push_gets_what_they_want() {
    let (world, engine, _, head) = gone_back().await;
    world.builder.prune();
    world.builder.hold(&head);
    let wanted = engine.deploy(&name(), DeployRequest::commit(head.clone())).await.unwrap();
    world.until("it is built", || async { engine.deployment(wanted.id).await.unwrap().state == State::Building }).await;
    // It comes in between, and stops what the person has begun.
    let told = engine.deploy(&name(), push(&head, 2)).await.unwrap();
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Superseded));
    world.builder.release(&head);
    let told = world.end(&engine, told.id).await;
    assert_eq!((told.conclusion, told.failure), (Some(Conclusion::Succeeded), None));
    assert_eq!(live(&world, &engine).await, Some(head));
    engine.shutdown().await;
}
