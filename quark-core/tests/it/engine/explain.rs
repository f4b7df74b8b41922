//! What an explanation says, as data and as text.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use quark_core::backend::{Call, Route};
use quark_core::engine::{Explanation, Finding, Next, Wait};
use quark_core::memory::{Behaviour, Health};
use quark_core::{DeployRequest, DeploymentEngine, Error, ErrorKind, Router, Slot, State, StepName};

use super::hooked::{Hook, Hooked};
use super::world::{Parts, World, app, deploy_well, name};

async fn explain(engine: &DeploymentEngine) -> Explanation {
    engine.explain(&name()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_app_that_nobody_has_deployed() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let explanation = explain(&engine).await;
    assert_eq!((explanation.live.as_ref(), &explanation.next[..]), (None, &[Next::Deploy][..]));
    assert_eq!(explanation.to_string(), "Nothing of `shop` is live.\n\nYou could:\n- deploy a version\n");
    let unknown = engine.explain(&"nobody".parse().unwrap()).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_with_which_all_is_well() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let commit = world.good();
    deploy_well(&engine, &commit).await;
    let explanation = explain(&engine).await;
    assert_eq!((&explanation.findings[..], &explanation.work[..]), (&[][..], &[][..]));
    let (live, standby) = (explanation.live.as_ref().unwrap(), explanation.standby.as_ref().unwrap());
    assert_eq!((live.sequence, standby.served.sequence, standby.runs), (2, 1, Some(true)));
    assert_eq!(explanation.next, [Next::Retire { sequence: 1, at: standby.until }, Next::RollBack { sequence: 1 }]);
    let text = explanation.to_string();
    let short = &commit.as_str()[..7];
    assert!(text.starts_with(&format!("`shop` serves commit {short} (#2, green), for ")), "{text}");
    assert!(text.contains("it runs, so a rollback takes a moment"), "{text}");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_under_way_and_one_that_waits_for_it() {
    let world = World::paused();
    let engine = world.engine().await;
    let serial = app().with_supersede(quark_core::deployment::SupersedePolicy::Serial);
    engine.create_app(serial).await.unwrap();
    let (first, commit) = world.under_way(&engine).await;
    let second = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    world.pass(Duration::from_secs(65)).await;
    let explanation = explain(&engine).await;
    let [building, waiting] = &explanation.work[..] else { panic!("{explanation}") };
    assert_eq!((building.deployment, building.state), (first.id, State::Building));
    assert_eq!((waiting.deployment, &waiting.waits_for), (second.id, &Some(Wait::Earlier(1))));
    assert_eq!(explanation.next, [Next::GoOn { sequence: 1 }, Next::Begin { sequence: 2 }]);
    let text = explanation.to_string();
    assert!(text.contains("asked for by engine 1 min 5 s ago: building, step build for 1 min 5 s"), "{text}");
    assert!(text.contains("waits for the end of #1"), "{text}");
    world.builder.release(&commit);
    world.end(&engine, second.id).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_failed_and_changed_nothing() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    let failed = engine.deploy(&name(), DeployRequest::commit(sick)).await.unwrap();
    world.end(&engine, failed.id).await;
    let explanation = explain(&engine).await;
    let [Finding::LastFailed { sequence: 2, failure }] = &explanation.findings[..] else { panic!("{explanation}") };
    assert_eq!(failure.code, "unhealthy");
    assert_eq!(explanation.next, [Next::MendAndDeploy]);
    assert!(explanation.to_string().contains("#2, the newest deployment, failed and changed nothing"), "{explanation}");
    deploy_well(&engine, &world.good()).await;
    assert_eq!(explain(&engine).await.findings, [], "what came after it went well");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_live_container_that_was_killed() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let container = world.container(live.id);
    world.runtime.kill(&container);
    let explanation = explain(&engine).await;
    assert_eq!(explanation.findings, [Finding::ContainerStopped { container }]);
    assert_eq!(explanation.next, [Next::Mend]);
    world.pass(Duration::from_secs(61)).await;
    assert_eq!(explain(&engine).await.findings, [], "it was mended");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_died_is_no_quick_way_back() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    world.runtime.kill(&world.container(first.id));
    let explanation = explain(&engine).await;
    assert_eq!(explanation.findings, [Finding::StandbyDead]);
    assert!(!explanation.next.iter().any(|next| matches!(next, Next::RollBack { .. })), "{explanation}");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn backends_that_do_not_answer() {
    let world = World::paused();
    // 0: it answers, 1: it fails, 2: it never answers.
    let mood = Arc::new(AtomicU8::new(0));
    let observed = Arc::clone(&mood);
    let hook: Hook = Arc::new(move |at| {
        let mood = if at == "observe" { observed.load(Ordering::SeqCst) } else { 0 };
        Box::pin(async move {
            match mood {
                0 => Ok(()),
                1 => Err(Error::new(ErrorKind::Unavailable, "it is away")),
                _ => std::future::pending().await,
            }
        })
    });
    let router = Arc::new(Hooked::new(world.router.clone(), hook));
    let engine = world.start("test", Parts { router, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    for (mood_now, told) in [(1, "it is away"), (2, "did not answer within 5 s")] {
        mood.store(mood_now, Ordering::SeqCst);
        let explanation = explain(&engine).await;
        let [Finding::RouterAway { why }] = &explanation.findings[..] else { panic!("{explanation}") };
        assert!(why.contains(told), "{why}");
        assert_eq!(explanation.next, [Next::BringBack]);
    }
    mood.store(0, Ordering::SeqCst);
    assert_eq!(explain(&engine).await.findings, []);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_somebody_else_has_moved() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let route = world.router.route(&name()).unwrap();
    let call = Call::new("by hand", route.fence, Duration::from_secs(5)).with_clock(Arc::clone(&world.clock));
    world.router.apply(&call, &Route { active: Slot::Blue, ..route }).await.unwrap();
    let explanation = explain(&engine).await;
    assert_eq!(explanation.findings, [Finding::WrongRoute { at: Slot::Blue, should: Slot::Green }]);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stuck_and_those_behind_it() {
    let world = World::paused();
    let broken = |at: &'static str| (at == "stop").then(|| Error::new(ErrorKind::Unavailable, "it cannot be stopped"));
    let runtime = Arc::new(Hooked::failing(world.runtime.clone(), broken));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    let stuck = engine.deploy(&name(), DeployRequest::commit(sick)).await.unwrap();
    assert_eq!(world.end(&engine, stuck.id).await.state, State::Stuck);
    let behind = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let explanation = explain(&engine).await;
    let [first, second] = &explanation.work[..] else { panic!("{explanation}") };
    assert_eq!((first.deployment, &first.waits_for), (stuck.id, &Some(Wait::Person)));
    assert_eq!((second.deployment, &second.waits_for), (behind.id, &Some(Wait::Earlier(2))));
    let [Finding::Stuck { sequence: 2, step: StepName::Undo, failure }] = &explanation.findings[..] else {
        panic!("{explanation}")
    };
    assert!(failure.message.contains("it cannot be stopped"));
    assert_eq!(explanation.next, [Next::RetryOrAbandon { deployment: stuck.id, sequence: 2 }]);
    let text = explanation.to_string();
    assert!(text.contains(&format!("`retry` deployment `{}`, or `abandon` it", stuck.id)), "{text}");
    engine.shutdown().await;
}
