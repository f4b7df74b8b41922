//! What is found after an engine, or the machine, went away.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use quark_core::backend::{ContainerRuntime, ContainerSpec, ContainerState, Labels, StopOutcome};
use quark_core::process::ProcessRef;
use quark_local::LocalRuntime;
use serde_json::{Value, json};

use crate::stage::{Stage, call, id, processes_of, until};

const UNKNOWN: ContainerState = ContainerState::Exited { code: None, out_of_memory: false };

/// A process that is none of ours.
struct Innocent(Child);

impl Innocent {
    fn new() -> Self {
        Self(Command::new("sleep").arg("300").env_clear().spawn().unwrap())
    }

    fn process(&self) -> ProcessRef {
        ProcessRef::of_pid(self.0.id()).unwrap()
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn change(stage: &Stage, spec: &ContainerSpec, change: impl FnOnce(&mut Value)) {
    let file = stage.container_file(spec, "process.json");
    let mut value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

#[test]
fn a_process_survives_the_engine_and_is_found_by_the_next() {
    // A tokio runtime for each engine: all that the first one has in memory is
    // gone with it.
    let engine = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stage = Stage::new();
    let first = engine();
    let (spec, before) = first.block_on(async {
        let spec = stage.begin(&[]).await;
        stage.prints(&spec, "listening on ").await;
        let seen = stage.runtime.inspect(&spec.name).await.unwrap();
        (spec, seen)
    });
    drop(first);
    engine().block_on(async {
        let next = stage.another();
        assert_eq!(next.inspect(&spec.name).await.unwrap(), before);
        next.start(&call(), &id(&spec)).await.unwrap();
        assert_eq!(next.inspect(&spec.name).await.unwrap(), before);
        let outcome = next.stop(&call(), &id(&spec), Duration::from_secs(20)).await.unwrap();
        assert_eq!(outcome, StopOutcome::Exited);
        assert!(matches!(next.inspect(&spec.name).await.unwrap().unwrap().state, ContainerState::Exited { .. }));
        next.remove(&call(), &id(&spec), &spec.labels()).await.unwrap();
    });
}

#[tokio::test]
async fn a_process_that_was_not_written_down_is_adopted() {
    let stage = Stage::new();
    let spec = stage.begin_script("setsid sleep 300 &\necho up\nwait").await;
    stage.prints(&spec, "up").await;
    let before = stage.runtime.inspect(&spec.name).await.unwrap();
    let record = stage.container_file(&spec, "process.json");
    let written = fs::read(&record).unwrap();
    // The engine died after it started the process and before it wrote it down.
    fs::remove_file(&record).unwrap();
    let next = stage.another();
    assert_eq!(next.inspect(&spec.name).await.unwrap(), before);
    let processes = processes_of(&spec).len();
    next.start(&call(), &id(&spec)).await.unwrap();
    assert_eq!(fs::read(&record).unwrap(), written);
    assert_eq!(next.inspect(&spec.name).await.unwrap(), before);
    assert_eq!(processes_of(&spec).len(), processes);
    // And if it stops the container instead of starting it.
    fs::remove_file(&record).unwrap();
    assert_eq!(next.stop(&call(), &id(&spec), Duration::from_secs(20)).await.unwrap(), StopOutcome::Exited);
    assert_eq!(processes_of(&spec), []);
}

#[tokio::test]
async fn a_process_id_that_is_used_again_is_not_trusted() {
    let stage = Stage::new();
    let spec = stage.begin_script("exit 0").await;
    until("the end", async || stage.state_of(&spec).await != ContainerState::Running).await;
    let innocent = Innocent::new();
    let other = innocent.process();
    let pretended = json!({ "pid": other.pid, "group": other.group, "started": other.started - 1 });
    change(&stage, &spec, |value| value["process"] = pretended);
    assert_eq!(stage.state_of(&spec).await, UNKNOWN);
    let outcome = stage.runtime.stop(&call(), &id(&spec), Duration::ZERO).await.unwrap();
    assert_eq!(outcome, StopOutcome::AlreadyStopped);
    stage.runtime.remove(&call(), &id(&spec), &spec.labels()).await.unwrap();
    assert!(innocent.process().is_alive());
}

#[tokio::test]
async fn processes_of_another_boot_are_not_trusted() {
    let stage = Stage::new();
    let spec = stage.begin_script("exit 0").await;
    until("the end", async || stage.state_of(&spec).await != ContainerState::Running).await;
    let innocent = Innocent::new();
    change(&stage, &spec, |value| {
        value["process"] = serde_json::to_value(innocent.process()).unwrap();
        value["boot"] = json!("00000000-0000-0000-0000-000000000000");
    });
    assert_eq!(stage.state_of(&spec).await, UNKNOWN);
    stage.runtime.stop(&call(), &id(&spec), Duration::ZERO).await.unwrap();
    stage.runtime.remove(&call(), &id(&spec), &spec.labels()).await.unwrap();
    assert!(innocent.process().is_alive());
}

#[tokio::test]
async fn containers_of_another_installation_are_left_alone() {
    let (one, copy) = (Stage::new(), Stage::new());
    let spec = one.begin_script("echo up\nexec sleep 300").await;
    one.prints(&spec, "up").await;
    // A copy of the state, as when a backup is tried out on the same machine.
    for folder in ["containers", "images"] {
        let status = Command::new("cp").arg("-a").arg(one.state().join(folder)).arg(copy.state()).status().unwrap();
        assert!(status.success());
    }
    fs::remove_file(copy.container_file(&spec, "process.json")).unwrap();
    assert_eq!(copy.state_of(&spec).await, ContainerState::Created);
    copy.runtime.stop(&call(), &id(&spec), Duration::ZERO).await.unwrap();
    assert_eq!(one.state_of(&spec).await, ContainerState::Running);
}

#[tokio::test]
async fn what_was_interrupted_is_cleared_up() {
    let stage = Stage::new();
    let spec = stage.begin_script("exit 0").await;
    until("the end", async || stage.state_of(&spec).await != ContainerState::Running).await;
    fs::remove_file(stage.container_file(&spec, "container.json")).unwrap();
    assert_eq!(stage.runtime.inspect(&spec.name).await.unwrap(), None);
    assert_eq!(stage.runtime.list(&Labels::new()).await.unwrap(), []);
    stage.runtime.remove(&call(), &id(&spec), &spec.labels()).await.unwrap();
    assert!(!stage.container_file(&spec, "").exists());
    let removed = stage.state().join("containers/.removed-qk-shop-1");
    fs::create_dir(&removed).unwrap();
    fs::write(removed.join("container.json"), "").unwrap();
    stage.another();
    assert!(!removed.exists());
}

#[tokio::test]
async fn what_others_put_into_the_folder_is_not_listed() {
    let stage = Stage::new();
    let spec = stage.begin_script("exec sleep 300").await;
    for name in ["lost+found", "qk-half-made", "QK-x", ".hidden"] {
        fs::create_dir(stage.state().join("containers").join(name)).unwrap();
    }
    fs::write(stage.state().join("containers/qk-file"), "").unwrap();
    let listed = LocalRuntime::open(stage.config.clone()).unwrap().list(&Labels::new()).await.unwrap();
    assert_eq!(listed.iter().map(|container| &container.name).collect::<Vec<_>>(), [&spec.name]);
}
