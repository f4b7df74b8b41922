//! Rows 22 to 24 and 39: the store is away, silent or full.

use quark_core::{Error, ErrorClass, ErrorKind, StepName, Store};

use super::stage::{
    LEASE, Scene, after_commit, away, before, before_commit, begins, ends, name, silence, soon, succeed,
};

/// The steps whose effects can be counted, and their operations.
const EFFECTS: [(StepName, &str); 2] = [(StepName::Create, "create"), (StepName::Start, "start")];

/// As SQLite says it.
fn disk_full() -> Error {
    Error::new(ErrorKind::ResourceExhausted, "the disk with the database is full")
        .with_code("disk_full")
        .with_class(ErrorClass::Retryable)
}

#[tokio::test(start_paused = true)]
async fn row_22_the_store_is_down_before_an_intent() {
    // Shorter and longer than the lease.
    for lasts in [LEASE / 3, LEASE * 10] {
        for (step, operation) in EFFECTS {
            let scene = Scene::new().await;
            let gate = scene.fate.hold(before_commit(begins(step)));
            let wanted = scene.second().await;
            gate.reached().await;
            let outages = [scene.fate.fail(before("store."), away), scene.fate.fail(before("queue."), away)];
            gate.refuse(away);
            scene.stage.pass(lasts).await;
            let key = format!("{}:{step}", wanted.id);
            assert_eq!(scene.stage.effects(operation, &key), 0, "{step}: something happened without an intent");
            let refused = scene.engine.deploy(&name(), quark_core::DeployRequest::default()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
            assert_eq!(scene.engine.ready().await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
            outages.into_iter().for_each(super::stage::Outage::end);
            succeed(&scene.engine, wanted.id).await;
            assert_eq!(scene.stage.effects(operation, &key), 1, "{step}");
            scene.stage.at_rest().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_23_the_store_is_down_after_an_effect() {
    for (lasts, times) in [(LEASE / 3, 1), (LEASE * 10, 2)] {
        for (step, operation) in EFFECTS {
            let scene = Scene::new().await;
            let gate = scene.fate.hold(before_commit(ends(step)));
            let wanted = scene.second().await;
            gate.reached().await;
            let made = scene.stage.container(wanted.id).unwrap();
            let outages = [scene.fate.fail(before("store."), away), scene.fate.fail(before("queue."), away)];
            gate.refuse(away);
            scene.stage.pass(lasts).await;
            outages.into_iter().for_each(super::stage::Outage::end);
            succeed(&scene.engine, wanted.id).await;
            let now = scene.stage.container(wanted.id).unwrap();
            assert_eq!((&now.id, now.started_at.is_some()), (&made.id, true), "{step}");
            assert!(made.started_at.is_none() || made.started_at == now.started_at, "{step}: it was started twice");
            // While the lease lasts the outcome is written; after it the next one looks.
            let key = format!("{}:{step}", wanted.id);
            let asked = if step == StepName::Start { 1 } else { times };
            assert_eq!(scene.stage.effects(operation, &key), asked, "{step}, away for {lasts:?}");
            scene.stage.at_rest().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_24_the_answer_to_a_commit_is_lost() {
    let steps =
        [StepName::Fetch, StepName::Build, StepName::Create, StepName::Start, StepName::Probe, StepName::Promote];
    for step in steps {
        for written in [true, false] {
            let scene = Scene::new().await;
            let point = if written { after_commit(begins(step)) } else { before_commit(begins(step)) };
            let outage = scene.fate.fail_times(point, 1, silence);
            let wanted = scene.second().await;
            outage.met(1).await;
            succeed(&scene.engine, wanted.id).await;
            let records = scene.stage.records(wanted.id, step).await;
            assert_eq!(records.len(), 1, "{step}");
            assert_eq!(records[0].resumed, 0, "{step}: it was gone on with although nobody died");
            for (_, operation) in EFFECTS {
                let key = format!("{}:{operation}", wanted.id);
                assert_eq!(scene.stage.effects(operation, &key), 1, "{step}: done twice");
            }
            scene.stage.at_rest().await;
        }
    }
}

/// Neither is it known at once whether it was written.
#[tokio::test(start_paused = true)]
async fn row_24_the_answer_to_a_commit_is_lost_and_the_store_is_away() {
    for step in [StepName::Create, StepName::Start, StepName::Promote] {
        for written in [true, false] {
            let scene = Scene::new().await;
            let point = if written { after_commit(begins(step)) } else { before_commit(begins(step)) };
            let gate = scene.fate.hold(point);
            let wanted = scene.second().await;
            gate.reached().await;
            let outage = scene.fate.fail(before("store."), away);
            gate.refuse(silence);
            scene.stage.pass(LEASE / 3).await;
            outage.end();
            succeed(&scene.engine, wanted.id).await;
            for (_, operation) in EFFECTS {
                let key = format!("{}:{operation}", wanted.id);
                assert_eq!(scene.stage.effects(operation, &key), 1, "{step}, written: {written}");
            }
            scene.stage.at_rest().await;
        }
    }
}

/// The last one gives back lease and job: what was done may neither be called
/// broken off, nor may anything that was given back be held on to.
#[tokio::test(start_paused = true)]
async fn row_24_the_answer_to_the_last_commit_is_lost() {
    for (written, gone) in [(true, false), (true, true), (false, false), (false, true)] {
        let scene = Scene::new().await;
        let point =
            if written { after_commit(ends(StepName::Promote)) } else { before_commit(ends(StepName::Promote)) };
        let gate = scene.fate.hold(point);
        let wanted = scene.second().await;
        gate.reached().await;
        let outage = gone.then(|| scene.fate.fail(before("store."), away));
        gate.refuse(silence);
        if let Some(outage) = outage {
            scene.stage.pass(LEASE / 3).await;
            outage.end();
        }
        succeed(&scene.engine, wanted.id).await;
        // Also whatever would still come of it.
        scene.stage.pass(LEASE).await;
        for (_, operation) in EFFECTS {
            let key = format!("{}:{operation}", wanted.id);
            assert_eq!(scene.stage.effects(operation, &key), 1, "written: {written}, gone: {gone}");
        }
        assert_eq!(scene.fate.count("queue.nack"), 0, "written: {written}, gone: {gone}: it was called broken off");
        scene.stage.at_rest().await;
        let other = "another".parse().unwrap();
        scene.stage.store.acquire_lease(&name(), &other, LEASE).await.expect("the lease was given back");
    }
}

/// A cancel that comes between the lost answer and the look.
#[tokio::test(start_paused = true)]
async fn row_24_the_answer_to_the_intent_of_the_cutover_is_lost() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(after_commit(begins(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    assert_eq!(scene.engine.cancel(wanted.id, "alice").await.unwrap_err().code(), "too_late");
    gate.refuse(silence);
    succeed(&scene.engine, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

/// Who wishes again under the same key gets what the lost answer was about.
#[tokio::test(start_paused = true)]
async fn row_24_the_answer_to_a_wish_is_lost() {
    let scene = Scene::new().await;
    scene.fate.fail_times(super::stage::after("store.create_deployment"), 1, silence);
    let commit = scene.stage.good();
    let request = quark_core::DeployRequest::commit(commit).with_key("one-wish".parse().unwrap());
    let lost = scene.engine.deploy(&name(), request.clone()).await.unwrap_err();
    assert_eq!(lost.class(), ErrorClass::Unknown);
    let known = scene.engine.deploy(&name(), request).await.unwrap();
    succeed(&scene.engine, known.id).await;
    assert_eq!(scene.engine.deployments(&name(), None, 10).await.unwrap().len(), 2);
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_39_the_disk_of_the_store_is_full() {
    for lasts in [LEASE / 3, LEASE * 10] {
        for (step, operation) in EFFECTS {
            for outcome in [false, true] {
                let scene = Scene::new().await;
                let gate = if outcome {
                    scene.fate.hold(before_commit(ends(step)))
                } else {
                    scene.fate.hold(before_commit(begins(step)))
                };
                let wanted = scene.second().await;
                gate.reached().await;
                let key = format!("{}:{step}", wanted.id);
                let done = scene.stage.effects(operation, &key);
                // Nothing is written; what is there can be read, and the queue is elsewhere.
                let writes = ["store.commit", "store.acquire_lease", "store.renew_lease", "store.create_deployment"];
                let outages = writes.map(|write| scene.fate.fail(before(write), disk_full));
                gate.refuse(disk_full);
                scene.stage.pass(lasts).await;
                assert_eq!(scene.stage.effects(operation, &key), done, "{step}: something happened without an intent");
                let refused = scene.engine.deploy(&name(), quark_core::DeployRequest::default()).await.unwrap_err();
                assert_eq!(refused.code(), "disk_full");
                assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
                outages.into_iter().for_each(super::stage::Outage::end);
                soon("it goes on", succeed(&scene.engine, wanted.id)).await;
                scene.stage.at_rest().await;
            }
        }
    }
}

/// To claim a job is to write: then a job that waits must not keep the engine busy.
#[tokio::test(start_paused = true)]
async fn row_39_the_disk_of_the_queue_is_full() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before("queue.claim"), disk_full);
    let wanted = scene.second().await;
    outage.met(1).await;
    scene.stage.pass(LEASE * 10).await;
    assert!(!scene.fate.spins(), "it asks all the time");
    let asked = scene.fate.count("queue.claim");
    assert!(asked <= 700, "it asked {asked} times in {:?}", LEASE * 10);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    succeed(&scene.engine, wanted.id).await;
    scene.stage.at_rest().await;
}
