//! Rows 1 to 5, 10 and 11: an engine is killed.

use std::time::Duration;

use quark_core::deployment::StepPhase;
use quark_core::memory::{Behaviour, Health};
use quark_core::{Clock, HealthCheck, StepName, Timing};

use super::stage::{Fate, Scene, Stage, app, before, before_commit, begins, end, ends, fail, succeed};

/// The steps of a deployment into an empty slot.
const STEPS: [StepName; 6] =
    [StepName::Fetch, StepName::Build, StepName::Create, StepName::Start, StepName::Probe, StepName::Promote];

#[tokio::test(start_paused = true)]
async fn row_01_kill_before_an_intent_commits() {
    for step in STEPS {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before_commit(begins(step)));
        let wanted = scene.second().await;
        gate.reached().await;
        let key = format!("{}:{step}", wanted.id);
        let effects = || scene.stage.runtime.effects().into_iter().filter(|effect| effect.key == key).count();
        let next = scene.restart().await;
        assert!(scene.stage.records(wanted.id, step).await.is_empty(), "{step}");
        assert_eq!(effects(), 0, "{step}: something happened without an intent");
        assert!(scene.stage.router.switches().iter().all(|switch| switch.key != key), "{step}");
        succeed(&next, wanted.id).await;
        let records = scene.stage.records(wanted.id, step).await;
        assert_eq!(records.len(), 1, "{step}");
        assert_eq!((records[0].attempt, records[0].resumed), (1, 0), "{step}: it was begun anew, not gone on with");
        assert_eq!(effects(), usize::from(matches!(step, StepName::Create | StepName::Start)), "{step}");
        scene.stage.at_rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_02_kill_after_an_intent_before_its_effect() {
    let effects = [
        ("source.fetch", StepName::Fetch),
        ("builder.build", StepName::Build),
        ("runtime.create", StepName::Create),
        ("runtime.start", StepName::Start),
        ("prober.probe", StepName::Probe),
        ("router.apply", StepName::Promote),
    ];
    for (effect, step) in effects {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(effect));
        let wanted = scene.second().await;
        gate.reached().await;
        scene.fate.kill();
        let records = scene.stage.records(wanted.id, step).await;
        assert_eq!(records.iter().map(|record| record.phase).collect::<Vec<_>>(), [StepPhase::Intent], "{step}");
        assert_eq!(scene.stage.served_by().await, Some(scene.first.id), "{step}");
        let restarted = scene.stage.clock.now();
        let next = scene.stage.next().await;
        let ended = succeed(&next, wanted.id).await;
        let records = scene.stage.records(wanted.id, step).await;
        assert_eq!(records.len(), 1, "{step}: it was tried a second time");
        assert_eq!((records[0].attempt, records[0].resumed), (1, 1), "{step}");
        // Nobody waited for anything but the second answer of the probe.
        let longest = app().health.interval;
        assert!(ended.finished_at.unwrap().since(restarted) <= longest, "{step}: there was a pause");
        scene.stage.at_rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_03_kill_after_an_effect_before_its_outcome() {
    for step in STEPS {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before_commit(ends(step)));
        let wanted = scene.second().await;
        gate.reached().await;
        let made = scene.stage.container(wanted.id);
        let next = scene.restart().await;
        succeed(&next, wanted.id).await;
        let records = scene.stage.records(wanted.id, step).await;
        assert_eq!(records.len(), 1, "{step}");
        assert_eq!((records[0].attempt, records[0].resumed), (1, 1), "{step}");
        let now = scene.stage.container(wanted.id).unwrap();
        if let Some(made) = made {
            assert_eq!(now.id, made.id, "{step}: a second container was made");
            if made.started_at.is_some() {
                assert_eq!(now.started_at, made.started_at, "{step}: it was started a second time");
            }
        }
        if matches!(step, StepName::Create | StepName::Start) {
            assert!(records[0].output.as_ref().unwrap().reused, "{step}: nobody saw that it was there");
        }
        let builds = scene
            .stage
            .builder
            .builds()
            .into_iter()
            .filter(|build| Some(&build.commit) == wanted.revision.commit.as_ref());
        assert_eq!(builds.count(), 1, "{step}: it was built a second time");
        scene.stage.at_rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_04_kill_in_a_build() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    let next = scene.restart().await;
    scene.stage.builder.release(&commit);
    succeed(&next, wanted.id).await;
    // The build of the dead engine died with it, so there is a second one under the same key.
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit);
    let key = format!("{}:build", wanted.id);
    assert_eq!(builds.map(|build| build.key).collect::<Vec<_>>(), [key.clone(), key]);
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_05_kill_in_probing_begins_the_row_again() {
    let health = HealthCheck { successes: 3, ..HealthCheck::default() };
    let scene = Scene::of(Stage::new(), app().with_health(health)).await;
    let gate = scene.fate.hold(before("prober.probe").from(3));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    let fate = Fate::default();
    let next = scene.stage.engine(&fate).await;
    succeed(&next, wanted.id).await;
    // Three in a row, and a last look before the switch.
    assert_eq!(fate.count("prober.probe"), 4, "answers that a dead engine got were counted");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_05_kill_in_probing_does_not_move_the_deadline() {
    let scene = Scene::new().await;
    let bad = scene.stage.commit(Behaviour::with_health(Health::Status(503)));
    let gate = scene.fate.hold(before("prober.probe").from(10));
    let wanted = scene.deploy(&bad).await;
    gate.reached().await;
    scene.fate.kill();
    let begun = scene.stage.records(wanted.id, StepName::Probe).await.remove(0);
    scene.stage.pass(Duration::from_secs(100)).await;
    let next = scene.stage.next().await;
    let ended = fail(&next, wanted.id, "unhealthy").await;
    let records = scene.stage.records(wanted.id, StepName::Probe).await;
    assert_eq!((records.len(), records[0].deadline), (1, begun.deadline));
    let finished = ended.finished_at.unwrap();
    assert!(finished <= begun.deadline, "it failed at {finished}, and had until {}", begun.deadline);
    scene.stage.at_rest().await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
}

/// A restart after the deadline gives one look, and no more time.
#[tokio::test(start_paused = true)]
async fn row_05_kill_in_probing_until_the_deadline_is_over() {
    let scene = Scene::new().await;
    let bad = scene.stage.commit(Behaviour::with_health(Health::Status(503)));
    let gate = scene.fate.hold(before("prober.probe").from(10));
    let wanted = scene.deploy(&bad).await;
    gate.reached().await;
    scene.fate.kill();
    scene.stage.pass(Duration::from_secs(600)).await;
    let restarted = scene.stage.clock.now();
    let next = scene.stage.next().await;
    let ended = fail(&next, wanted.id, "unhealthy").await;
    assert_eq!(ended.finished_at.unwrap(), restarted, "it was given time again");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_10_kill_in_a_stop_or_a_removal() {
    let points = || [super::stage::after("runtime.stop"), super::stage::after("runtime.remove")];
    // The standby is taken away because its slot is needed.
    for point in points() {
        let scene = Scene::new().await;
        scene.with_standby().await;
        let gate = scene.fate.hold(point);
        let third = scene.second().await;
        gate.reached().await;
        let next = scene.restart().await;
        succeed(&next, third.id).await;
        assert!(scene.stage.container(scene.first.id).is_none());
        scene.stage.at_rest().await;
    }
    // What a failed deployment has made is taken away.
    for point in points() {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(point);
        let bad = scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(1)));
        let wanted = scene.deploy(&bad).await;
        gate.reached().await;
        let next = scene.restart().await;
        fail(&next, wanted.id, "exited").await;
        assert!(scene.stage.container(wanted.id).is_none());
        scene.stage.at_rest().await;
    }
    // The standby is taken away at the end of its grace.
    for point in points() {
        let timing = Timing { grace: Duration::from_secs(60), ..Timing::default() };
        let scene = Scene::of(Stage::new(), app().with_timing(timing)).await;
        let second = scene.with_standby().await;
        let gate = scene.fate.hold(point);
        gate.reached().await;
        let next = scene.restart().await;
        let gone = || async { scene.stage.app().await.serving.standby.is_none() };
        scene.stage.until("the standby is gone", gone).await;
        assert_eq!(scene.stage.served_by().await, Some(second.id));
        scene.stage.at_rest().await;
        next.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_11_kill_of_all_workers_for_an_hour() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let third = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.fate.kill();
    let effects = scene.stage.runtime.effects().len();
    scene.stage.pass(Duration::from_secs(3600)).await;
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    assert_eq!(scene.stage.runtime.effects().len(), effects);
    // Something has happened to the live container meanwhile.
    assert!(scene.stage.runtime.kill(&super::stage::container_name(second.id)));

    let fate = Fate::default();
    let claim = fate.hold(before("queue.claim"));
    let next = scene.stage.engine(&fate).await;
    claim.reached().await;
    // First it recovers, then it takes jobs.
    assert_eq!(scene.stage.served_by().await, Some(second.id), "a job was taken before what is live was looked at");
    let calls = fate.calls();
    let first = |name: &str| calls.iter().position(|call| *call == name);
    assert!(first("queue.reclaim") < first("runtime.list"));
    assert!(first("runtime.list") < first("queue.claim"));
    claim.open();
    // The time of the deployment is up, and so is that of the standby.
    fail(&next, third.id, "deadline_exceeded").await;
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("the standby is gone", gone).await;
    assert_eq!(end(&next, second.id).await.id, scene.stage.live().await.unwrap());
    assert_eq!(scene.stage.builder.builds().iter().filter(|build| build.commit == commit).count(), 1);
    scene.stage.at_rest().await;
}
