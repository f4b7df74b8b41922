//! Row 25: the store has gone back in time.

use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::{Call, ContainerSpec, Store};
use quark_core::deployment::Fence;
use quark_core::memory::MemoryStore;
use quark_core::{Clock, ContainerRuntime, DeploymentId, ErrorKind, Slot};

use super::stage::{Fate, Scene, Stage, app, before, container_name, name, succeed, want};

/// The same machine with a store that knows the app and nothing that happened since.
async fn restored(scene: &Scene) -> Stage {
    let stage = &scene.stage;
    let queue = stage.queue.lock().unwrap().clone();
    let store = MemoryStore::with_queue(stage.time(), queue);
    store.create_app(app(), stage.clock.now()).await.unwrap();
    Stage {
        store,
        queue: Arc::clone(&stage.queue),
        runtime: stage.runtime.clone(),
        router: stage.router.clone(),
        builder: stage.builder.clone(),
        source: stage.source.clone(),
        clock: stage.clock.clone(),
        installation: Some(stage.store.installation().await.unwrap()),
        folder: Arc::clone(&stage.folder),
        fates: std::sync::Mutex::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn row_25_a_store_from_a_backup_touches_nothing() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    scene.engine.shutdown().await;
    let stage = restored(&scene).await;
    let effects = stage.runtime.effects().len();
    let fate = Fate::default();
    let engine = stage.engine(&fate).await;
    assert!(engine.safe_mode().is_some(), "nobody has noticed");
    let refused = engine.deploy(&name(), quark_core::DeployRequest::default()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Unavailable, "safe_mode"));
    assert!(refused.hint().is_some());
    stage.pass(Duration::from_secs(3600)).await;
    assert!(!fate.spins(), "it waits for a person by looking all the time");
    assert_eq!(stage.runtime.effects().len(), effects, "something was stopped or started");
    assert_eq!(fate.count("router.apply") + fate.count("router.remove"), 0);
    assert_eq!(stage.served_by().await, Some(second.id));
    assert!(stage.runs(scene.first.id) && stage.runs(second.id));
    // Starting it again changes nothing about it.
    engine.shutdown().await;
    assert!(stage.next().await.safe_mode().is_some());
}

#[tokio::test(start_paused = true)]
async fn row_25_a_person_resumes_and_it_goes_on() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    scene.engine.shutdown().await;
    let stage = restored(&scene).await;
    let engine = stage.next().await;
    engine.resume().await.unwrap();
    assert_eq!(engine.safe_mode(), None);
    let third = want(&engine, &stage.good()).await;
    succeed(&engine, third.id).await;
    assert_eq!(stage.served_by().await, Some(third.id));
    // A person has looked: what the store does not know is left alone, and is no new reason to stop.
    stage.pass(Duration::from_secs(600)).await;
    assert_eq!(engine.safe_mode(), None, "a person resumed it, and it stopped again");
    assert!(stage.runs(scene.first.id) && stage.runs(second.id), "what the store does not know was taken away");
    succeed(&engine, want(&engine, &stage.good()).await.id).await;
}

/// The route and the numbers are as before; only what happened since is missing.
#[tokio::test(start_paused = true)]
async fn row_25_the_last_events_are_lost() {
    let scene = Scene::new().await;
    scene.stage.pass(Duration::from_secs(120)).await;
    scene.engine.shutdown().await;
    let mut stage = restored(&scene).await;
    // A machine whose router forgets gives no hint either.
    stage.router = quark_core::memory::MemoryRouter::with_clock(stage.time());
    let engine = stage.next().await;
    let reason = engine.safe_mode().expect("nobody has noticed");
    assert!(reason.contains("event"), "{reason}");
    assert!(stage.runs(scene.first.id));
}

/// It is found out in the middle of the work: the router has seen a later fence.
#[tokio::test(start_paused = true)]
async fn row_25_the_router_has_seen_a_later_fence() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    let route = scene.stage.router.route(&name()).unwrap();
    let later = quark_core::backend::Route { fence: Fence(1_000_000), ..route };
    let call = Call::new("from a later time", later.fence, Duration::from_secs(30));
    quark_core::Router::apply(&scene.stage.router, &call, &later).await.unwrap();
    gate.open();
    scene.stage.until("it is noticed", || async { scene.engine.safe_mode().is_some() }).await;
    scene.stage.pass(Duration::from_secs(3600)).await;
    assert!(!scene.fate.spins(), "it waits for a person by looking all the time");
    assert!(scene.stage.runs(scene.first.id) && scene.stage.runs(wanted.id), "something was stopped");
    assert_eq!(scene.stage.router.route(&name()).unwrap().active, Slot::Blue);
    // A person resumes: it goes on with fences above all others.
    scene.engine.resume().await.unwrap();
    succeed(&scene.engine, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

/// The brake: so many orphans are rather a wrong store than a dirty machine.
#[tokio::test(start_paused = true)]
async fn row_25_many_orphans_are_left_alone() {
    let scene = Scene::new().await;
    let spec = scene.stage.runtime.spec(&container_name(scene.first.id)).unwrap();
    let call = Call::new("by hand", Fence(0), Duration::from_secs(30));
    for number in 0..4 {
        // Of a deployment that is over, and of no instance that is known.
        let orphan = ContainerSpec {
            name: quark_core::ContainerName::of(&name(), DeploymentId::generate(), number),
            ..spec.clone().at(quark_core::Endpoint::new(format!("memory:orphan-{number}")))
        };
        scene.stage.runtime.create(&call, &orphan).await.unwrap();
    }
    scene.stage.pass(Duration::from_secs(3600)).await;
    assert_eq!(scene.stage.runtime.containers().len(), 5);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
}
