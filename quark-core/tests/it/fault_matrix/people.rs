//! Rows 37, 40 and 42 to 46: disks fill up, versions of QUARK change, people
//! delete, forget and start things twice, readers are slow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use quark_core::backend::{Metric, MetricsSink};
use quark_core::deployment::StepRecord;
use quark_core::memory::{Behaviour, Health};
use quark_core::{AppName, Conclusion, Error, ErrorKind, State, StepName, Store};

use super::stage::{
    Fate, LEASE, Scene, Stage, app, away, before, before_commit, begins, end, ends, fail, name, named, soon, succeed,
    want,
};

fn no_space() -> Error {
    Error::new(ErrorKind::ResourceExhausted, "no space is left in `/var/lib/images`").with_code("no_space")
}

#[tokio::test(start_paused = true)]
async fn row_37_the_disk_is_full_in_a_build() {
    // Once more, in the hope that somebody tidies up, and not for ever.
    for (times, ends_well) in [(1, true), (2, false)] {
        let scene = Scene::new().await;
        scene.fate.fail_times(before("builder.build"), times, no_space);
        let wanted = scene.second().await;
        if ends_well {
            succeed(&scene.engine, wanted.id).await;
        } else {
            let failure = fail(&scene.engine, wanted.id, "no_space").await.failure.unwrap();
            assert!(failure.message.contains("/var/lib/images"), "where? {failure}");
            assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
        }
        assert_eq!(scene.stage.records(wanted.id, StepName::Build).await.len(), 2);
        scene.stage.at_rest().await;
    }
}

/// The engine is replaced by a newer one in the middle of a deployment.
#[tokio::test(start_paused = true)]
async fn row_40_an_engine_is_replaced_in_mid_deploy() {
    for point in ["source.fetch", "builder.build", "runtime.create", "runtime.start", "prober.probe", "router.apply"] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(point));
        let wanted = scene.second().await;
        gate.reached().await;
        let ending = tokio::spawn({
            let engine = scene.engine.clone();
            async move { engine.shutdown().await }
        });
        tokio::task::yield_now().await;
        gate.open();
        soon("it ends in order", ending).await.unwrap();
        assert!(scene.stage.served_by().await.is_some(), "{point}");
        let next = scene.stage.next().await;
        let ended = succeed(&next, wanted.id).await;
        assert_eq!(scene.stage.served_by().await, Some(ended.id), "{point}");
        let records = scene.stage.snapshot(wanted.id).await.steps;
        assert!(records.iter().all(|record| record.resumed <= 1), "{point}: a shutdown is no death");
        scene.stage.at_rest().await;
    }
}

/// A journal that was written before deaths were counted can be read.
#[tokio::test(start_paused = true)]
async fn row_40_a_journal_of_an_older_version_is_read() {
    let scene = Scene::new().await;
    let record = scene.stage.records(scene.first.id, StepName::Create).await.remove(0);
    let mut old = serde_json::to_value(&record).unwrap();
    old.as_object_mut().unwrap().remove("resumed").unwrap();
    assert_eq!(serde_json::from_value::<StepRecord>(old).unwrap(), record);
    // A step that this version does not know is refused, and not taken for another.
    let mut newer = serde_json::to_value(&record).unwrap();
    newer["name"] = "warm_the_cache".into();
    serde_json::from_value::<StepRecord>(newer).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn row_42_the_app_is_deleted_in_mid_deploy() {
    let points = [
        before("source.fetch"),
        before("builder.build"),
        before("runtime.create"),
        before("runtime.start"),
        before("prober.probe"),
        before_commit(begins(StepName::Promote)),
        before("router.apply"),
        before_commit(ends(StepName::Promote)),
    ];
    for (number, point) in points.into_iter().enumerate() {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(point);
        let wanted = scene.second().await;
        gate.reached().await;
        let removal = scene.engine.remove_app(&name(), "alice").await.unwrap();
        let refused = scene.engine.deploy(&name(), quark_core::DeployRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), "app_removed");
        gate.open();
        succeed(&scene.engine, removal.id).await;
        nothing_is_left(&scene.stage, number).await;
        // The rows of what happened are kept, and say how it ended.
        let ended = scene.stage.deployment(wanted.id).await;
        let promoted = number >= 6;
        let expected = if promoted { Conclusion::Succeeded } else { Conclusion::Superseded };
        assert_eq!(ended.conclusion, Some(expected), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn row_42_the_app_is_deleted_and_the_engine_dies() {
    for point in ["router.remove", "runtime.stop", "runtime.remove"] {
        let scene = Scene::new().await;
        let build = scene.fate.hold(before("builder.build"));
        let gate = scene.fate.hold(before(point));
        scene.second().await;
        build.reached().await;
        let removal = scene.engine.remove_app(&name(), "alice").await.unwrap();
        build.open();
        gate.reached().await;
        let next = scene.restart().await;
        succeed(&next, removal.id).await;
        nothing_is_left(&scene.stage, 0).await;
        next.create_app(app()).await.expect("the name is free again");
    }
}

async fn nothing_is_left(stage: &Stage, number: usize) {
    assert!(stage.runtime.containers().is_empty(), "{number}: containers are left");
    assert!(stage.router.route(&name()).is_none(), "{number}: a route is left");
    assert!(stage.store.app(&name()).await.unwrap().is_none(), "{number}: the app is left");
    assert!(stage.store.instances(&name()).await.unwrap().is_empty(), "{number}: instances are left");
    assert!(stage.store.unfinished(None).await.unwrap().is_empty(), "{number}: something is unfinished");
}

/// What is wrong with the variables is said before anything is made.
#[tokio::test(start_paused = true)]
async fn row_43_a_variable_that_cannot_be() {
    let stage = Stage::new();
    let engine = stage.next().await;
    for (key, value) in [("1BAD", "x"), ("A=B", "x"), ("", "x"), ("A", "nul\0hunter2")] {
        let refused = app().with_env(key, value).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{key:?}");
        assert!(!format!("{refused:?} {refused}").contains("hunter2"), "the value is shown");
    }
    assert!(engine.apps().await.unwrap().is_empty());
    assert!(stage.runtime.effects().is_empty());
}

/// Two installations on one machine, and one engine started twice.
#[tokio::test(start_paused = true)]
async fn row_44_two_installations_on_one_host() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let mut other = Stage::new();
    other.runtime = scene.stage.runtime.clone();
    other.router = scene.stage.router.clone();
    let containers = other.runtime.containers();
    let effects = other.runtime.effects().len();
    let fate = Fate::default();
    let engine = other.engine(&fate).await;
    scene.stage.pass(Duration::from_secs(300)).await;
    assert_eq!(engine.safe_mode(), None);
    assert_eq!(other.runtime.containers(), containers);
    assert_eq!(other.runtime.effects().len(), effects, "it touched what is not its own");
    assert_eq!(fate.count("router.apply") + fate.count("router.remove"), 0);
    assert_eq!(scene.stage.served_by().await, Some(second.id));
}

#[tokio::test(start_paused = true)]
async fn row_44_an_engine_is_started_twice() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    // Of the same name: it takes the claims and the leases of the first for its own.
    let twin = scene.stage.next().await;
    scene.stage.pass(LEASE).await;
    scene.stage.builder.release(&commit);
    succeed(&twin, wanted.id).await;
    assert_eq!(scene.engine.safe_mode(), None);
    assert_eq!(twin.safe_mode(), None);
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
    for engine in [&scene.engine, &twin] {
        succeed(engine, want(engine, &scene.stage.good()).await.id).await;
        scene.stage.at_rest().await;
    }
}

/// Counts the lines that were dropped.
#[derive(Clone, Debug, Default)]
struct Dropped(Arc<Mutex<u64>>);

impl MetricsSink for Dropped {
    fn record(&self, metric: Metric) {
        if let Metric::LogLinesDropped(lines) = metric {
            *self.0.lock().unwrap() += lines;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_45_the_log_cannot_be_written() {
    let stage = Stage::new();
    let (fate, dropped) = (Fate::default(), Dropped::default());
    let engine = stage.builder("test", &fate).with_metrics(Arc::new(dropped.clone())).start().await.unwrap();
    engine.create_app(app()).await.unwrap();
    fate.fail(before("store.append_log"), away);
    succeed(&engine, want(&engine, &stage.good()).await.id).await;
    assert!(*dropped.0.lock().unwrap() > 0, "nobody has counted what was lost");
    stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_45_the_log_is_slow() {
    let scene = Scene::new().await;
    // Nothing comes back from it any more.
    let gate = scene.fate.hold(before("store.append_log"));
    let wanted = scene.second().await;
    gate.reached().await;
    succeed(&scene.engine, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
}

/// A reader of events who does not read keeps nobody.
#[tokio::test(start_paused = true)]
async fn row_46_nobody_takes_the_events() {
    let scene = Scene::new().await;
    let wanted = scene.second().await;
    let mut slow = scene.engine.watch(wanted.id, 0);
    let first = slow.next().await.unwrap().unwrap();
    succeed(&scene.engine, wanted.id).await;
    // What it has not taken is all still there, in order and once.
    let rest: Vec<_> = soon("the stream ends", slow.map(Result::unwrap).collect::<Vec<_>>()).await;
    let all = scene.stage.store.events(Some(wanted.id), 0, 1000).await.unwrap();
    assert_eq!([vec![first], rest].concat(), all);
    // Nor does one who cannot reach them.
    let outage = scene.fate.fail(before("store.events"), away);
    succeed(&scene.engine, scene.second().await.id).await;
    outage.end();
    scene.stage.at_rest().await;
}

/// One app that is in trouble holds up no other.
#[tokio::test(start_paused = true)]
async fn row_42_a_stuck_deployment_is_taken_along() {
    let scene = Scene::new().await;
    let other: AppName = named("alpha").name;
    scene.engine.create_app(named("alpha")).await.unwrap();
    let bad = scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(1)));
    let outage = scene.fate.fail(before("runtime.stop"), away);
    let wanted = scene.deploy(&bad).await;
    assert_eq!(end(&scene.engine, wanted.id).await.state, State::Stuck);
    let fine = scene.engine.deploy(&other, quark_core::DeployRequest::commit(scene.stage.good())).await.unwrap();
    succeed(&scene.engine, fine.id).await;
    outage.end();
    let removal = scene.engine.remove_app(&name(), "alice").await.unwrap();
    succeed(&scene.engine, removal.id).await;
    assert!(scene.stage.store.app(&name()).await.unwrap().is_none());
    assert!(scene.stage.container(wanted.id).is_none() && scene.stage.container(scene.first.id).is_none());
    assert_eq!(scene.stage.deployment(wanted.id).await.conclusion, Some(Conclusion::Failed));
}
