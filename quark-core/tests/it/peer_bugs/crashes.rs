//! Somebody is killed between two lines that belong together.

use std::time::Duration;

use quark_core::memory::MemoryRouter;
use quark_core::{OwnerId, StepName, Store, Timing};

use crate::fault_matrix::stage::{
    Fate, LEASE, Scene, Stage, after, after_commit, app, before, before_commit, begins, ends, fail, name, succeed, want,
};

// devpush: the status of a deployment was committed, and the job that was to follow it was queued afterwards.
#[tokio::test(start_paused = true)]
async fn kill_between_finalize_and_enqueue_devpush() {
    let timing = Timing { grace: Duration::from_secs(300), ..Timing::default() };
    // The wish is written down and its job is not queued.
    let scene = Scene::of(Stage::with_queue_apart(), app().with_timing(timing)).await;
    let gate = scene.fate.hold(before("queue.enqueue"));
    let engine = scene.engine.clone();
    let commit = scene.stage.good();
    let asking = tokio::spawn(async move { want(&engine, &commit).await });
    gate.reached().await;
    scene.fate.kill();
    asking.abort();
    let wanted = scene.stage.store.unfinished(None).await.unwrap().remove(0);
    // It is promoted, and the retirement of the one before is not queued.
    let fate = Fate::default();
    let gate = fate.hold(after_commit(ends(StepName::Promote)));
    scene.stage.engine(&fate).await;
    gate.reached().await;
    fate.kill();
    let next = scene.stage.next().await;
    succeed(&next, wanted.id).await;
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("the old version is retired", gone).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

// temps: the pointer to the live version was moved, and the teardown of the old one never came.
#[tokio::test(start_paused = true)]
async fn kill_after_the_pointer_update_before_the_teardown_temps() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(after_commit(ends(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    let next = scene.restart().await;
    succeed(&next, wanted.id).await;
    assert!(scene.stage.runs(scene.first.id), "it stands by for its grace");
    let gone = || async { scene.stage.container(scene.first.id).is_none() };
    scene.stage.until("the old version is taken down", gone).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

// rustploy: the old container was removed and the new one not yet renamed to its name.
#[tokio::test(start_paused = true)]
async fn kill_at_every_point_of_a_promotion_rustploy() {
    for number in 1.. {
        let scene = Scene::new().await;
        // The calls of the promotion, before and after each.
        let intent = scene.fate.hold(before_commit(begins(StepName::Promote)));
        let wanted = scene.second().await;
        intent.reached().await;
        let point = if number % 2 == 1 { before("") } else { after("") };
        let gate = scene.fate.hold(point.from(number / 2 + 1));
        intent.open();
        let promoted = || async { gate.is_reached() || scene.stage.deployment(wanted.id).await.state.is_terminal() };
        scene.stage.until("it dies or has ended", promoted).await;
        let over = scene.stage.deployment(wanted.id).await.state.is_terminal();
        scene.fate.kill();
        assert!(scene.stage.served_by().await.is_some(), "point {number}: nobody serves");
        let next = scene.stage.next().await;
        succeed(&next, wanted.id).await;
        assert_eq!(scene.stage.served_by().await, Some(wanted.id));
        scene.stage.at_rest().await;
        if over {
            assert!(number > 8, "only {number} points were tried");
            break;
        }
    }
}

// kamal-proxy: the file with its routes was written in place, and half a file was no routes at all.
// Here a router may forget everything: what it should have is in the store.
#[tokio::test(start_paused = true)]
async fn truncate_the_router_state_kamal_proxy() {
    let mut scene = Scene::new().await;
    let second = scene.with_standby().await;
    scene.engine.shutdown().await;
    let route = scene.stage.router.route(&name());
    scene.stage.router = MemoryRouter::with_clock(scene.stage.time());
    let next = scene.stage.next().await;
    let restored = scene.stage.router.route(&name());
    let comparable = |route: Option<quark_core::backend::Route>| {
        route.map(|route| (route.generation, route.domains, route.blue, route.green, route.active, route.backup))
    };
    assert_eq!(comparable(restored), comparable(route));
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    next.shutdown().await;
}

// kamal #656: the lock of a client that was killed stayed until a person removed it.
#[tokio::test(start_paused = true)]
async fn sigkill_of_the_lock_holder_kamal_656() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.fate.kill();
    scene.stage.builder.release(&commit);
    // On another machine, where nobody knows of the first.
    let other = scene.stage.builder("another", &Fate::default()).start().await.unwrap();
    let asked = scene.stage.deployment(wanted.id).await.created_at;
    let ended = succeed(&other, wanted.id).await;
    let waited = ended.finished_at.unwrap().since(asked);
    assert!(waited <= LEASE + Duration::from_secs(10), "it took {waited:?}");
    scene.stage.at_rest().await;
}

// kamal #656, the other half: the holder was not dead, only slow, and writes when it wakes up.
#[tokio::test(start_paused = true)]
async fn a_stale_lock_holder_cannot_write_kamal_656() {
    let scene = Scene::new().await;
    let stale = OwnerId::parse("stale").unwrap();
    scene.engine.shutdown().await;
    let lease = scene.stage.store.acquire_lease(&name(), &stale, LEASE).await.unwrap();
    scene.stage.pass(LEASE * 2).await;
    let next = scene.stage.next().await;
    succeed(&next, want(&next, &scene.stage.good()).await.id).await;
    let renewed = scene.stage.store.renew_lease(&lease, LEASE).await.unwrap_err();
    assert_eq!(renewed.kind(), quark_core::ErrorKind::Fenced);
    scene.stage.at_rest().await;
}

// temps: the listener that carries the new route to the proxy was cut off in the middle of a cutover, and
// the store said one thing and the proxy another.
#[tokio::test(start_paused = true)]
async fn route_listener_disconnected_during_the_cutover_temps() {
    for (point, times) in [(before("router.apply"), 1), (after("router.apply"), 1), (before("router."), 2)] {
        let scene = Scene::new().await;
        let outage = scene.fate.fail_times(point, times, crate::fault_matrix::stage::away);
        let wanted = scene.second().await;
        outage.met(1).await;
        let ended = crate::fault_matrix::stage::end(&scene.engine, wanted.id).await;
        let expected = if ended.failure.is_none() { wanted.id } else { scene.first.id };
        assert_eq!(scene.stage.live().await, Some(expected));
        assert_eq!(scene.stage.served_by().await, Some(expected), "the store and the router differ");
        scene.stage.at_rest().await;
    }
}

// devpush: the container was created and started, and its id was stored afterwards.
#[tokio::test(start_paused = true)]
async fn kill_between_the_start_of_a_container_and_its_row_devpush() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(after("runtime.start"));
    let bad = scene.stage.commit(quark_core::memory::Behaviour::with_health(quark_core::memory::Health::Status(500)));
    let wanted = scene.deploy(&bad).await;
    gate.reached().await;
    let next = scene.restart().await;
    fail(&next, wanted.id, "unhealthy").await;
    assert!(scene.stage.container(wanted.id).is_none(), "a container that nobody knows was left");
    scene.stage.at_rest().await;
}
