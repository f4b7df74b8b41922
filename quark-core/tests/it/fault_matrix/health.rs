//! Rows 30 to 35: versions that are slow, that restart, that die later.

use std::time::Duration;

use quark_core::backend::{Call, ContainerState};
use quark_core::deployment::Fence;
use quark_core::memory::{Behaviour, Health};
use quark_core::{Clock, ContainerRuntime, HealthCheck, RollbackRequest, Slot, StepName};

use super::stage::{Scene, Stage, after, app, before, container_name, fail, name, succeed};

#[tokio::test(start_paused = true)]
async fn row_30_healthy_a_second_before_the_deadline() {
    let scene = Scene::new().await;
    // Asked four times a second, for 120 s.
    let slow = scene.stage.commit(Behaviour::with_health(Health::WarmsUp(119 * 4)));
    let wanted = scene.deploy(&slow).await;
    succeed(&scene.engine, wanted.id).await;
    let record = scene.stage.records(wanted.id, StepName::Probe).await.remove(0);
    let note = record.output.unwrap().note.unwrap();
    let after: u64 = note.strip_prefix("healthy after ").unwrap().strip_suffix(" ms").unwrap().parse().unwrap();
    assert!((119_000..120_000).contains(&after), "{note}");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_30_healthy_a_second_after_the_deadline() {
    let scene = Scene::new().await;
    let slow = scene.stage.commit(Behaviour::with_health(Health::WarmsUp(121 * 4)));
    let wanted = scene.deploy(&slow).await;
    fail(&scene.engine, wanted.id, "unhealthy").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

/// One good answer, one bad, one good …: never two in a row.
#[tokio::test(start_paused = true)]
async fn row_30_flapping_is_not_healthy() {
    let scene = Scene::new().await;
    let wanted = scene.second().await;
    let (runtime, id) = (scene.stage.runtime.clone(), container_name(wanted.id));
    let mut good = false;
    scene.fate.tell(before("prober.probe"), move |_| {
        good = !good;
        runtime.set_health(&id, if good { Health::Healthy } else { Health::Status(503) });
    });
    fail(&scene.engine, wanted.id, "unhealthy").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_30_healthy_once_and_then_dead() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(after("prober.probe"));
    let wanted = scene.second().await;
    gate.reached().await;
    assert!(scene.stage.runtime.kill(&container_name(wanted.id)));
    gate.open();
    fail(&scene.engine, wanted.id, "exited").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

/// Another process than the one that gave the first good answer.
#[tokio::test(start_paused = true)]
async fn row_31_a_restart_begins_the_row_again() {
    let health = HealthCheck { successes: 3, ..HealthCheck::default() };
    let scene = Scene::of(Stage::new(), app().with_health(health)).await;
    let asked = scene.fate.count("prober.probe");
    let gate = scene.fate.hold(after("prober.probe").from(2));
    let wanted = scene.second().await;
    gate.reached().await;
    let container = scene.stage.container(wanted.id).unwrap();
    assert!(scene.stage.runtime.kill(&container.name));
    let call = Call::new("a restart policy", Fence(0), Duration::from_secs(30));
    scene.stage.runtime.start(&call, &container.id).await.unwrap();
    gate.open();
    succeed(&scene.engine, wanted.id).await;
    // Two of the first process, three of the second, and a last look before the switch.
    assert_eq!(scene.fate.count("prober.probe") - asked, 6);
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_32_the_version_before_stands_in() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let address = scene.stage.runtime.spec(&container_name(second.id)).unwrap().endpoint().cloned().unwrap();
    assert!(scene.stage.runtime.kill(&container_name(second.id)));
    scene.stage.router.set_reachable(&address, false);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id), "nobody answers");
    // It is healed in place; then it serves again.
    scene.stage.until("it runs again", || async { scene.stage.runs(second.id) }).await;
    scene.stage.router.set_reachable(&address, true);
    assert_eq!(scene.stage.served_by().await, Some(second.id));
}

/// No standby is a backup that may be stopped at any moment.
#[tokio::test(start_paused = true)]
async fn row_32_what_is_retired_does_not_stand_in() {
    let scene = Scene::new().await;
    scene.with_standby().await;
    let stop = scene.fate.hold(before("runtime.stop"));
    scene.stage.pass(Duration::from_secs(700)).await;
    assert!(stop.is_reached());
    assert!(!scene.stage.router.route(&name()).unwrap().backup, "what is about to be stopped stands in");
    stop.open();
}

#[tokio::test(start_paused = true)]
async fn row_33_the_live_version_dies_later() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let switches = scene.stage.router.switches().len();
    assert!(scene.stage.runtime.kill(&container_name(second.id)));
    scene.stage.until("it serves again", || async { scene.stage.served_by().await == Some(second.id) }).await;
    assert_eq!(scene.stage.router.switches().len(), switches, "the route was changed");
    let serving = scene.stage.app().await.serving;
    assert_eq!(serving.live.unwrap().deployment, second.id);
    assert_eq!(serving.standby.unwrap().occupant.deployment, scene.first.id, "the way back was given up");
    assert_eq!(scene.stage.records(second.id, StepName::Mend).await.len(), 1, "it is written down what was done");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_34_the_standby_dies_in_its_grace() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    assert!(scene.stage.runtime.kill(&container_name(scene.first.id)));
    scene.stage.pass(Duration::from_secs(120)).await;
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    // A rollback is still possible, by starting the release anew.
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let back = succeed(&scene.engine, back.id).await;
    assert_eq!(back.artifact, scene.first.artifact);
    assert_eq!(scene.stage.records(back.id, StepName::Start).await.len(), 1);
    assert_eq!(scene.stage.served_by().await, Some(back.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_35_both_die_and_can_be_started() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let switches = scene.stage.router.switches().len();
    for id in [scene.first.id, second.id] {
        assert!(scene.stage.runtime.kill(&container_name(id)));
    }
    scene.stage.until("it serves again", || async { scene.stage.served_by().await == Some(second.id) }).await;
    scene.stage.pass(Duration::from_secs(300)).await;
    assert_eq!(scene.stage.router.switches().len(), switches, "the route flipped");
}

#[tokio::test(start_paused = true)]
async fn row_35_both_die_and_cannot_be_started() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let image = second.artifact.clone().unwrap().id;
    let switches = scene.stage.router.switches().len();
    scene.stage.runtime.define(image.clone(), Behaviour::with_health(Health::ExitsAtOnce(1)));
    for id in [scene.first.id, second.id] {
        assert!(scene.stage.runtime.kill(&container_name(id)));
    }
    let began = scene.stage.clock.monotonic();
    let starts = scene.fate.count("runtime.start");
    scene.stage.pass(Duration::from_secs(500)).await;
    let tried = scene.fate.count("runtime.start") - starts;
    assert!(tried >= 2, "it was given up");
    assert!(tried <= 101, "{tried} starts in {:?}", scene.stage.clock.monotonic() - began);
    assert_eq!(scene.stage.router.switches().len(), switches, "the route flipped");
    assert_eq!(scene.stage.app().await.serving.live.unwrap().slot, Slot::Green);
    assert!(matches!(scene.stage.container(second.id).unwrap().state, ContainerState::Exited { .. }));
    // What is written down about it does not grow without end.
    assert!(scene.stage.records(second.id, StepName::Mend).await.len() <= 64);
    // As soon as it can be started it is.
    scene.stage.runtime.define(image, Behaviour::healthy());
    scene.stage.until("it serves again", || async { scene.stage.served_by().await == Some(second.id) }).await;
}
