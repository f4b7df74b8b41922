//! Versions that are gone, slow, half well, or collected too early.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt;
use quark_core::backend::{Call, ContainerState};
use quark_core::deployment::Fence;
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    App, Conclusion, ContainerRuntime, DeployRequest, HealthCheck, ImageRef, RollbackRequest, Source, StepName, Timing,
};

use crate::fault_matrix::stage::{Fate, Scene, Stage, app, before, container_name, end, fail, name, succeed, want};

/// The standby is gone when it is rolled back to.
fn without_grace() -> Timing {
    Timing { grace: Duration::ZERO, ..Timing::default() }
}

// temps PR #5, kamal PR #270, caprover #832: the image of the version to go back to had been pruned.
#[tokio::test(start_paused = true)]
async fn rollback_to_a_pruned_image_temps_5() {
    let scene = Scene::of(Stage::new(), app().with_timing(without_grace())).await;
    let second = scene.with_standby().await;
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("the old version is gone", gone).await;
    scene.stage.builder.prune();
    let gate = scene.fate.hold(before("builder.build"));
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    gate.reached().await;
    assert_eq!(scene.stage.served_by().await, Some(second.id), "traffic was touched before there was an image");
    gate.open();
    let back = succeed(&scene.engine, back.id).await;
    assert_eq!(back.revision.commit, scene.first.revision.commit);
    assert_eq!(scene.stage.served_by().await, Some(back.id));
}

/// It cannot be made again: the rollback fails, and what serves goes on.
#[tokio::test(start_paused = true)]
async fn rollback_to_an_image_that_is_gone_for_good_temps_5() {
    let stage = Stage::new();
    let engine = stage.next().await;
    let (one, two) = (ImageRef::parse("acme/shop:1").unwrap(), ImageRef::parse("acme/shop:2").unwrap());
    let artifact = stage.runtime.publish(&one, Behaviour::healthy());
    stage.runtime.publish(&two, Behaviour::healthy());
    let spec = App { source: Source::Image { image: one }, ..app().with_timing(without_grace()) };
    engine.create_app(spec).await.unwrap();
    let deploy = async |image| {
        let request = DeployRequest { image, ..DeployRequest::default() };
        succeed(&engine, engine.deploy(&name(), request).await.unwrap().id).await
    };
    deploy(None).await;
    let second = deploy(Some(two)).await;
    stage.until("the old version is gone", || async { stage.app().await.serving.standby.is_none() }).await;
    stage.runtime.forget(&artifact.id);
    let back = engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let failure = fail(&engine, back.id, "image_not_found").await.failure.unwrap();
    assert!(failure.hint.is_some());
    assert_eq!(stage.served_by().await, Some(second.id));
    stage.at_rest().await;
}

// coolify #11467: the rollback ran something else than the version that was asked for, and said it had succeeded.
#[tokio::test(start_paused = true)]
async fn rollback_runs_what_ran_then_coolify_11467() {
    let scene = Scene::of(Stage::new(), app().with_timing(without_grace()).with_env("MODE", "then").unwrap()).await;
    let record = scene.engine.app(&name()).await.unwrap();
    let changed = app().with_timing(without_grace()).with_env("MODE", "now").unwrap();
    scene.engine.update_app(changed, record.version).await.unwrap();
    scene.with_standby().await;
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("the old version is gone", gone).await;
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    succeed(&scene.engine, back.id).await;
    let spec = scene.stage.runtime.spec(&container_name(back.id)).unwrap();
    assert_eq!(Some(spec.artifact), scene.first.artifact);
    let mode = spec.env.iter().find(|(key, _)| key.as_str() == "MODE").unwrap().1.expose().to_owned();
    assert_eq!(mode, "then");
}

// coolify #11582, kamal #1922: the collection of garbage took what a deployment was about to use.
#[tokio::test(start_paused = true)]
async fn garbage_collection_during_a_deploy_coolify_11582() {
    for call in ["runtime.start", "runtime.listening", "router.apply"] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(call));
        let wanted = scene.second().await;
        gate.reached().await;
        let made = scene.stage.container(wanted.id).expect("it was made before");
        // Engines start one after the other, and each collects at its start.
        for number in 0..5 {
            let fate = Fate::default();
            let other = scene.stage.builder(&format!("other-{number}"), &fate).start().await.unwrap();
            assert!(fate.count("runtime.list") > 0, "nobody has looked");
            other.shutdown().await;
        }
        assert_eq!(scene.stage.container(wanted.id).map(|it| it.id), Some(made.id), "{call}: it was collected");
        gate.open();
        let ended = end(&scene.engine, wanted.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{call}: {:?}", ended.failure);
        scene.stage.at_rest().await;
    }
}

// devpush #63: any answer at all counted as healthy.
#[tokio::test(start_paused = true)]
async fn app_answering_500_then_200_devpush_63() {
    let scene = Scene::new().await;
    let commit = scene.stage.commit(Behaviour::with_health(Health::Status(500)));
    let gate = scene.fate.hold(before("prober.probe").from(8));
    let wanted = scene.deploy(&commit).await;
    gate.reached().await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id), "500 counted as healthy");
    assert!(scene.stage.runtime.set_health(&container_name(wanted.id), Health::Healthy));
    gate.open();
    succeed(&scene.engine, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    // One that goes on like that never serves.
    let bad = scene.deploy(&scene.stage.commit(Behaviour::with_health(Health::Status(500)))).await;
    fail(&scene.engine, bad.id, "unhealthy").await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

// kamal #1041 #842 #1139: an app that boots in 40 s was given 30 s, and nobody could see why it failed.
#[tokio::test(start_paused = true)]
async fn app_that_boots_in_40_s_with_a_limit_of_30_s_kamal_1041() {
    let limit = |seconds| HealthCheck::default().with_deadline(Duration::from_secs(seconds));
    let boots = || Behaviour::with_health(Health::WarmsUp(40 * 4)).printing(["waiting for the database"]);
    let scene = Scene::of(Stage::new(), app().with_health(limit(30))).await;
    let wanted = scene.deploy(&scene.stage.commit(boots())).await;
    let failure = fail(&scene.engine, wanted.id, "unhealthy").await.failure.unwrap();
    for told in ["30 s", "503", "`/`"] {
        assert!(failure.message.contains(told), "{told} is missing: {failure}");
    }
    assert!(failure.hint.is_some());
    // The container is gone; what it has said is not.
    assert!(scene.stage.container(wanted.id).is_none());
    let log: Vec<_> = scene.engine.log(wanted.id, 0, false).try_collect().await.unwrap();
    assert!(log.iter().any(|line| line.text == "waiting for the database"), "{log:?}");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    // With a limit that fits it serves.
    let record = scene.engine.app(&name()).await.unwrap();
    scene.engine.update_app(app().with_health(limit(60)), record.version).await.unwrap();
    let again = scene.deploy(&scene.stage.commit(boots())).await;
    succeed(&scene.engine, again.id).await;
    scene.stage.at_rest().await;
}

// NginxProxyManager #1021: after a restart the container had another address, and its route led nowhere.
#[tokio::test(start_paused = true)]
async fn container_address_change_nginx_proxy_manager_1021() {
    let scene = Scene::new().await;
    let address =
        |scene: &Scene| scene.stage.runtime.spec(&container_name(scene.first.id)).unwrap().endpoint().cloned();
    let first = address(&scene);
    // Somebody removes the container altogether.
    let container = scene.stage.container(scene.first.id).unwrap();
    let call = Call::new("by hand", Fence(0), Duration::from_secs(30));
    assert!(scene.stage.runtime.kill(&container.name));
    scene.stage.runtime.remove(&call, &container.id, &container.labels).await.unwrap();
    scene.stage.until("it serves again", || async { scene.stage.served_by().await.is_some() }).await;
    assert_ne!(scene.stage.container(scene.first.id).unwrap().id, container.id);
    assert_eq!(address(&scene), first);
    assert!(scene.stage.records(scene.first.id, StepName::Mend).await.len() == 1);
    scene.stage.at_rest().await;
}

// coolify: an app with a port of the host was stopped before its next version was started.
#[tokio::test(start_paused = true)]
async fn host_port_app_is_never_stopped_first_coolify() {
    let scene = Scene::of(Stage::new(), app().with_port(80)).await;
    let served: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    for _ in 0..3 {
        let live = scene.stage.live().await.unwrap();
        let (runtime, name, gaps) = (scene.stage.runtime.clone(), container_name(live), Arc::clone(&served));
        let promoted = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&promoted);
        scene.fate.tell(before(""), move |call| {
            let mut promoted = seen.lock().unwrap();
            *promoted |= call.commit().is_some_and(crate::fault_matrix::stage::ends(StepName::Promote));
            let runs =
                |it: &quark_core::backend::ObservedContainer| it.name == name && it.state == ContainerState::Running;
            if !*promoted && !runtime.containers().iter().any(runs) {
                gaps.lock().unwrap().push(call.operation);
            }
        });
        succeed(&scene.engine, want(&scene.engine, &scene.stage.good()).await.id).await;
        assert!(*promoted.lock().unwrap());
    }
    assert!(served.lock().unwrap().is_empty(), "nobody served at {:?}", served.lock().unwrap());
    scene.stage.at_rest().await;
}
