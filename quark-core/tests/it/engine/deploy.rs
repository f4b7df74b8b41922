//! Deploying: what becomes live, what is refused, what is left.

use std::time::Duration;

use quark_core::backend::Metric;
use quark_core::deployment::SupersedePolicy;
use quark_core::memory::{Behaviour, Health};
use quark_core::{App, Conclusion, DeployRequest, Error, ErrorKind, ImageRef, Slot, Source, State, StepName, Timing};

use super::world::{World, app, deploy, deploy_well, end, eventually, name};

#[tokio::test]
async fn the_first_deployment_serves() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let deployment = deploy_well(&engine, &world.good()).await;
    assert_eq!(deployment.slot, Some(Slot::Blue));
    let route = world.router.route(&name()).unwrap();
    assert_eq!((route.active, route.backup), (Slot::Blue, false));
    assert_eq!(route.domains.iter().map(ToString::to_string).collect::<Vec<_>>(), ["shop.localhost"]);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn the_second_takes_the_other_slot_and_the_first_stays_warm() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    let serving = world.app().await.serving;
    assert_eq!(serving.live.unwrap().deployment, second.id);
    assert_eq!(serving.standby.unwrap().occupant.deployment, first.id);
    let route = world.router.route(&name()).unwrap();
    assert_eq!((route.active, route.backup), (Slot::Green, true));
    world.check_rest().await;
    // A third one needs the slot of the first, which is drained and removed.
    let third = deploy_well(&engine, &world.good()).await;
    assert_eq!(third.slot, Some(Slot::Blue));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_bad_version_never_touches_what_serves() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let switches = world.router.switches().len();
    for (behaviour, step, code) in [
        (Behaviour::with_health(Health::Status(500)), StepName::Probe, "unhealthy"),
        (Behaviour::with_health(Health::Hangs), StepName::Probe, "unhealthy"),
        (Behaviour::with_health(Health::NeverListens), StepName::Probe, "never_listened"),
        (Behaviour::with_health(Health::ExitsAtOnce(3)), StepName::Probe, "exited"),
        (Behaviour::healthy().missing(), StepName::Start, "command_not_found"),
    ] {
        let deployment = deploy(&engine, &world.commit(behaviour)).await;
        assert_eq!(deployment.conclusion, Some(Conclusion::Failed), "{code}");
        let failure = deployment.failure.unwrap();
        assert_eq!((failure.step, failure.code.as_str()), (Some(step), code));
        assert!(failure.hint.is_some(), "{code}: nobody is told what to do");
        assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
        world.check_rest().await;
    }
    assert_eq!(world.router.switches().len(), switches, "the route was touched");
    engine.shutdown().await;
}

#[tokio::test]
async fn a_failed_build_says_so_and_leaves_nothing() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    world.builder.fail(&commit, "it does not compile");
    let deployment = deploy(&engine, &commit).await;
    let failure = deployment.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(StepName::Build), ErrorKind::BuildFailed));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_refused_route_is_put_back() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    world.router.refuse_next(Error::new(ErrorKind::InvalidConfig, "unknown directive"));
    let deployment = deploy(&engine, &world.good()).await;
    let failure = deployment.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(StepName::Promote), ErrorKind::InvalidConfig));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    world.runtime.fail_next("create", Error::new(ErrorKind::Unavailable, "the daemon restarts"));
    world.runtime.lose_answer("start", Error::new(ErrorKind::Timeout, "no answer"));
    let deployment = deploy_well(&engine, &world.good()).await;
    let steps = engine.steps(deployment.id).await.unwrap();
    let attempts = |name| steps.iter().filter(|step| step.name == name).map(|step| step.attempt).max();
    assert_eq!((attempts(StepName::Create), attempts(StepName::Start)), (Some(2), Some(2)));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn an_image_needs_no_source() {
    let world = World::new();
    let engine = world.engine().await;
    let image = ImageRef::parse("acme/shop:1").unwrap();
    world.runtime.publish(&image, Behaviour::healthy());
    let spec = App { source: Source::Image { image }, ..app() };
    engine.create_app(spec).await.unwrap();
    let deployment = engine.deploy(&name(), DeployRequest::default()).await.unwrap();
    assert_eq!(end(&engine, deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    let missing = DeployRequest { image: Some(ImageRef::parse("acme/none").unwrap()), ..DeployRequest::default() };
    let deployment = engine.deploy(&name(), missing).await.unwrap();
    assert_eq!(end(&engine, deployment.id).await.failure.unwrap().code, "image_not_found");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn the_same_commit_is_not_built_twice() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    let first = deploy_well(&engine, &commit).await;
    let second = deploy_well(&engine, &commit).await;
    assert_eq!(first.artifact, second.artifact);
    assert_eq!(world.builder.builds().len(), 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn a_cancel_during_the_build_takes_everything_away() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let commit = world.good();
    world.builder.hold(&commit);
    let deployment = engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
    world.builder.building(&commit).await;
    // One that waits behind it is cancelled without ever having begun.
    let waiting = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    engine.cancel(waiting.id, "alice").await.unwrap();
    engine.cancel(deployment.id, "alice").await.unwrap();
    let ended = end(&engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    assert_eq!(ended.failure, None);
    assert_eq!(ended.cancel.unwrap().by, "alice");
    let waited = end(&engine, waiting.id).await;
    assert_eq!((waited.conclusion, waited.started_at), (Some(Conclusion::Cancelled), None));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    let error = engine.cancel(deployment.id, "alice").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "too_late"));
    engine.shutdown().await;
}

#[tokio::test]
async fn deployments_of_an_app_follow_one_another_in_order() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let mut wanted = Vec::new();
    for _ in 0..4 {
        wanted.push(engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap().id);
    }
    let mut ended = Vec::new();
    for id in &wanted {
        ended.push(end(&engine, *id).await);
    }
    for deployment in &ended {
        assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded), "{:?}", deployment.failure);
    }
    assert!(ended.windows(2).all(|pair| pair[0].finished_at <= pair[1].started_at), "two were active at once");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, *wanted.last().unwrap());
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn the_old_version_is_retired_after_its_grace() {
    let world = World::new();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::ZERO, ..app().timing };
    engine.create_app(app().with_timing(timing)).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    // A request that the old version still has keeps it alive.
    let request = world.router.open(&name()).unwrap();
    deploy_well(&engine, &world.good()).await;
    drop(request);
    eventually("the standby is gone", || async { world.app().await.serving.standby.is_none() }).await;
    assert!(!world.router.route(&name()).unwrap().backup);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_removed_app_leaves_nothing() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    let refused = engine.deploy(&name(), DeployRequest::default()).await.unwrap_err();
    assert!(["app_removed", "app_not_found"].contains(&refused.code()));
    assert_eq!(end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(engine.app(&name()).await.unwrap_err().code(), "app_not_found");
    assert!(world.runtime.containers().is_empty());
    assert!(world.router.route(&name()).is_none());
    engine.create_app(app()).await.expect("the name is free again");
    engine.shutdown().await;
}

#[tokio::test]
async fn only_a_stuck_deployment_can_be_set_going_again() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let deployment = deploy_well(&engine, &world.good()).await;
    assert_eq!(engine.retry(deployment.id).await.unwrap_err().code(), "not_stuck");
    assert_eq!(end(&engine, deployment.id).await.state, State::Completed);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_outlast_the_drain_are_counted() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let _open = [world.router.open(&name()).unwrap(), world.router.open(&name()).unwrap()];
    deploy_well(&engine, &world.good()).await;
    // It needs the slot of the first.
    deploy_well(&engine, &world.good()).await;
    assert!(world.metrics.says(Metric::RequestsCut(2)));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_fail_around_the_switch_are_counted() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    assert!(!world.metrics.says(Metric::PromotionRequestsFailed(0)), "none is no news");
    let (slot, route) = (first.slot.unwrap(), world.router.route(&name()).unwrap());
    for status in [200, 502, 503, 404] {
        let answer = Some((status, Duration::from_millis(5)));
        world.analysis.end(&name(), slot, route.endpoint(slot), answer);
    }
    deploy_well(&engine, &world.good()).await;
    assert!(world.metrics.says(Metric::PromotionRequestsFailed(2)));
    engine.shutdown().await;
}
