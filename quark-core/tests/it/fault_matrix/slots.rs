//! Rows 47 to 49: the image or the address of a new version is gone, or
//! somebody else answers there.

use quark_core::memory::{Behaviour, Health};
use quark_core::{ErrorKind, Slot, StepName};

use super::stage::{Scene, before, fail, succeed};

#[tokio::test(start_paused = true)]
async fn row_47_the_image_is_pruned_before_it_is_used() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    let gate = scene.fate.hold(before("runtime.create"));
    let wanted = scene.deploy(&commit).await;
    gate.reached().await;
    scene.stage.builder.prune();
    gate.open();
    succeed(&scene.engine, wanted.id).await;
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit).count();
    assert_eq!(builds, 2);
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_47_the_image_is_pruned_again_and_again() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    let gates = [scene.fate.hold(before("runtime.create")), scene.fate.hold(before("runtime.create"))];
    let wanted = scene.deploy(&commit).await;
    for gate in gates {
        gate.reached().await;
        scene.stage.builder.prune();
        gate.open();
    }
    fail(&scene.engine, wanted.id, "image_not_found").await;
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit).count();
    assert_eq!(builds, 2, "once more, and not for ever");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_48_two_addresses_are_taken() {
    let scene = Scene::new().await;
    let mut held = Vec::new();
    let gates = [scene.fate.hold(before("runtime.start")), scene.fate.hold(before("runtime.start"))];
    let wanted = scene.second().await;
    for gate in gates {
        gate.reached().await;
        let address = scene.stage.app().await.serving.green.unwrap();
        held.push(scene.stage.runtime.occupy(&address));
        gate.open();
    }
    succeed(&scene.engine, wanted.id).await;
    // The one that it has is nobody else's, and is where the route goes.
    let address = scene.stage.app().await.serving.green.unwrap();
    assert_eq!(scene.stage.router.route(&super::stage::name()).unwrap().endpoint(Slot::Green), &address);
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_48_three_addresses_are_taken() {
    let scene = Scene::new().await;
    let mut held = Vec::new();
    let starts = || scene.fate.hold(before("runtime.start"));
    let gates = [starts(), starts(), starts()];
    let wanted = scene.second().await;
    for gate in gates {
        gate.reached().await;
        let address = scene.stage.app().await.serving.green.unwrap();
        held.push((scene.stage.runtime.occupy(&address), address));
        gate.open();
    }
    let failure = fail(&scene.engine, wanted.id, "port_taken").await.failure.unwrap();
    assert_eq!(failure.kind, ErrorKind::ResourceExhausted);
    assert_eq!(scene.stage.records(wanted.id, StepName::Start).await.len(), 3);
    let mut addresses: Vec<_> = held.iter().map(|(_, address)| address.clone()).collect();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "an address that was taken was tried again");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
    // The strangers stay; the next deployment does not stumble over them again.
    let next = succeed(&scene.engine, scene.second().await.id).await;
    assert_eq!(scene.stage.records(next.id, StepName::Start).await.len(), 1);
    scene.stage.at_rest().await;
}

/// The address of what is live is its own again when the stranger has left.
#[tokio::test(start_paused = true)]
async fn row_48_the_address_of_what_is_live_is_taken_while_it_is_dead() {
    let scene = Scene::new().await;
    let address = scene.stage.app().await.serving.blue.unwrap();
    assert!(scene.stage.runtime.kill(&super::stage::container_name(scene.first.id)));
    let stranger = scene.stage.runtime.occupy(&address);
    scene.stage.pass(std::time::Duration::from_secs(300)).await;
    assert!(!scene.stage.runs(scene.first.id));
    drop(stranger);
    scene.stage.until("it runs again", || async { scene.stage.runs(scene.first.id) }).await;
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_49_somebody_else_answers_the_probe() {
    let scene = Scene::new().await;
    let silent = scene.stage.commit(Behaviour::with_health(Health::NeverListens));
    let gate = scene.fate.hold(before("runtime.listening"));
    let wanted = scene.deploy(&silent).await;
    gate.reached().await;
    let asked = scene.fate.count("prober.probe");
    let address = scene.stage.app().await.serving.green.unwrap();
    let stranger = scene.stage.runtime.occupy(&address);
    gate.open();
    // There it is given another address, where it does not listen either.
    fail(&scene.engine, wanted.id, "never_listened").await;
    let records = scene.stage.records(wanted.id, StepName::Probe).await;
    assert_eq!(records[0].failure.as_ref().unwrap().code, "port_taken");
    assert_eq!(scene.fate.count("prober.probe"), asked, "an answer at the port was asked for, whoever gives it");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    drop(stranger);
    scene.stage.at_rest().await;
}
