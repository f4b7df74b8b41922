//! A deployment that engines die of is given up; one that they die of by
//! chance is not.

use quark_core::deployment::StepPhase;
use quark_core::{Conclusion, DeployRequest, StepName};

use super::mortal::mortal;
use super::world::{World, app, deploy_well, end, name};

/// Lets engines die one after another, each after `commits` of its commits,
/// and returns the deployment that they were at work on.
async fn die(world: &World, times: usize, commits: i64) -> quark_core::DeploymentId {
    let mut wanted = None;
    for _ in 0..times {
        let (dying, life) = mortal(world, commits, true).await;
        let id = match wanted {
            Some(id) => id,
            None => dying.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap().id,
        };
        wanted = Some(id);
        dying.wait(id).await.unwrap_err();
        assert!(life.is_over());
        dying.shutdown().await;
    }
    wanted.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_five_engines_died_of_is_given_up() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
    // Each dies right after the intent: in the middle of the step.
    let id = die(&world, 5, 1).await;
    let builds = world.builder.builds().len();
    let next = world.engine().await;
    let ended = end(&next, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    let failure = ended.failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.step), ("poisoned", None));
    assert!(failure.message.contains("fetching") && failure.hint.is_some());
    assert_eq!(world.builder.builds().len(), builds, "nothing of it was run again");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    // The next one is judged by itself.
    deploy_well(&next, &world.good()).await;
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn four_deaths_are_no_reason_to_give_up() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    engine.shutdown().await;
    let id = die(&world, 4, 1).await;
    let next = world.engine().await;
    let ended = end(&next, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert_eq!(world.rows(id, StepName::Fetch).await[0].resumed, 4);
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn six_deaths_at_six_steps_are_not_poison() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    // So that there is something to clear.
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
    // Each goes on with the step that it finds and dies in the next one.
    let (first, _) = mortal(&world, 1, true).await;
    let id = first.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap().id;
    first.wait(id).await.unwrap_err();
    first.shutdown().await;
    let mut last = StepName::Fetch;
    for _ in 0..5 {
        let (dying, _) = mortal(&world, 2, true).await;
        dying.wait(id).await.unwrap_err();
        dying.shutdown().await;
        let steps = quark_core::Store::snapshot(&world.store, id).await.unwrap().unwrap().steps;
        let at = steps.last().unwrap();
        assert_eq!(at.phase, StepPhase::Intent);
        assert_ne!(at.name, last, "it died twice at one step");
        last = at.name;
    }
    assert_eq!(last, StepName::Probe);
    let next = world.engine().await;
    let ended = end(&next, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    world.check_rest().await;
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_stopped_in_order_does_not_count() {
    let world = World::paused();
    let mut engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let (deployment, commit) = world.under_way(&engine).await;
    for _ in 0..30 {
        engine.shutdown().await;
        engine = world.engine().await;
        world.builder.building(&commit).await;
    }
    world.builder.release(&commit);
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    engine.shutdown().await;
}
