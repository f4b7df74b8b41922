//! Row 29: clocks are wrong or jump, and machines stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use quark_core::{Clock, StepName};

use super::stage::{Fate, LEASE, Scene, Stage, app, before, before_commit, begins, container_name, succeed, want};

const HOUR: i64 = 3_600_000_000;

/// A machine stands still in the middle of an effect for longer than its lease.
#[tokio::test(start_paused = true)]
async fn row_29_a_pause_in_an_effect_makes_nothing_twice() {
    for (effect, step) in
        [("runtime.create", StepName::Create), ("runtime.start", StepName::Start), ("router.apply", StepName::Promote)]
    {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(effect));
        let wanted = scene.second().await;
        gate.reached().await;
        scene.fate.freeze();
        scene.stage.pass(LEASE * 2).await;
        let fate = Fate::default();
        let other = scene.stage.builder("another", &fate).start().await.unwrap();
        succeed(&other, wanted.id).await;
        let container = scene.stage.container(wanted.id);
        let effects = scene.fate.calls().len();
        scene.fate.thaw();
        gate.open();
        scene.stage.pass(LEASE * 2).await;
        assert_eq!(scene.stage.container(wanted.id), container, "{effect}: it was made or started again");
        let later: Vec<_> = scene.fate.calls().split_off(effects);
        let changes = ["runtime.stop", "runtime.remove", "runtime.create", "runtime.start", "router.apply"];
        assert!(!later.iter().any(|call| changes.contains(call)), "{effect}: it went on without its lease: {later:?}");
        assert_eq!(scene.stage.records(wanted.id, step).await.len(), 1);
        assert_eq!(scene.stage.served_by().await, Some(wanted.id));
        scene.stage.at_rest().await;
        // The one that stood still is well, and takes up work again.
        assert_eq!(scene.engine.safe_mode(), None);
        other.shutdown().await;
        succeed(&scene.engine, scene.second().await.id).await;
        scene.stage.at_rest().await;
    }
}

/// The guard fails before the next effect: nothing is stopped without a lease.
#[tokio::test(start_paused = true)]
async fn row_29_a_pause_before_a_stop_stops_nothing() {
    let scene = Scene::new().await;
    scene.with_standby().await;
    let third = scene.second();
    // The first look of the clearing of the slot: then it would stop what it sees.
    let drained = scene.fate.hold(super::stage::after("router.drained"));
    let third = third.await;
    drained.reached().await;
    scene.fate.freeze();
    scene.stage.pass(LEASE * 2).await;
    let other = scene.stage.builder("another", &Fate::default()).start().await.unwrap();
    succeed(&other, third.id).await;
    let stops = scene.fate.count("runtime.stop");
    scene.fate.thaw();
    drained.open();
    scene.stage.pass(LEASE * 2).await;
    assert_eq!(scene.fate.count("runtime.stop"), stops, "something was stopped without a lease");
    assert!(scene.stage.runs(third.id));
    assert_eq!(scene.stage.served_by().await, Some(third.id));
    scene.stage.at_rest().await;
}

/// A machine stands still with the intent of a cutover in its hand: the write is fenced.
#[tokio::test(start_paused = true)]
async fn row_29_a_pause_before_a_write_writes_nothing() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before_commit(begins(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.freeze();
    scene.stage.pass(LEASE * 2).await;
    let other = scene.stage.builder("another", &Fate::default()).start().await.unwrap();
    succeed(&other, wanted.id).await;
    let third = want(&other, &scene.stage.good()).await;
    succeed(&other, third.id).await;
    let applied = scene.fate.count("router.apply");
    scene.fate.thaw();
    gate.open();
    scene.stage.pass(LEASE * 2).await;
    assert_eq!(scene.fate.count("router.apply"), applied);
    assert_eq!(scene.stage.served_by().await, Some(third.id));
    assert_eq!(scene.engine.safe_mode(), None);
    scene.stage.at_rest().await;
}

/// The time of day of a machine jumps in the middle of a deployment.
#[tokio::test(start_paused = true)]
async fn row_29_a_step_of_the_clock_changes_no_outcome() {
    for step in [HOUR, -HOUR] {
        for point in ["builder.build", "runtime.create", "prober.probe", "router.apply"] {
            let stage = Stage::new();
            let first = stage.next().await;
            first.create_app(app()).await.unwrap();
            succeed(&first, want(&first, &stage.good()).await.id).await;
            first.shutdown().await;
            let (fate, ahead) = (Fate::default(), Arc::new(AtomicI64::new(0)));
            let engine = stage.builder_with("test", &fate, &ahead).start().await.unwrap();
            let gate = fate.hold(before(point));
            let wanted = want(&engine, &stage.good()).await;
            gate.reached().await;
            ahead.store(step, Ordering::SeqCst);
            gate.open();
            succeed(&engine, wanted.id).await;
            assert_eq!(stage.served_by().await, Some(wanted.id), "{point}");
            assert!(stage.runs(wanted.id));
            engine.shutdown().await;
        }
    }
}

/// A second machine whose clock is wrong takes a deployment over.
#[tokio::test(start_paused = true)]
async fn row_29_a_machine_with_a_wrong_clock_takes_over() {
    for ahead in [HOUR, -HOUR] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before("runtime.create"));
        let wanted = scene.second().await;
        gate.reached().await;
        scene.fate.kill();
        let wrong = Arc::new(AtomicI64::new(ahead));
        let died = scene.stage.clock.monotonic();
        let other = scene.stage.builder_with("another", &Fate::default(), &wrong).start().await.unwrap();
        succeed(&other, wanted.id).await;
        // Neither at once, over a lease that lasts, nor an hour later.
        let took = scene.stage.clock.monotonic() - died;
        assert!(took <= LEASE + Duration::from_secs(5), "it took {took:?}");
        assert_eq!(scene.stage.served_by().await, Some(wanted.id));
        assert!(scene.stage.container(wanted.id).is_some_and(|it| it.name == container_name(wanted.id)));
    }
}
