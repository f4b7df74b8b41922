//! How builds run, fail and end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::ErrorKind;
use quark_core::backend::{Call, ImageBuilder, NoLog};
use quark_core::deployment::Fence;
use quark_core::process::ProcessRef;
use quark_local::{LocalBuilder, LocalConfig};

use crate::stage::{Lines, Stage, call, key_of, marked};

fn built_by(stage: &Stage, script: &str) -> PathBuf {
    let toml = "[build]\ncommand = ['./build']\n[start]\ncommand = ['./server']";
    stage.source(&[("quark.toml", toml), ("build", &format!("#!/bin/sh\n{script}\n"))])
}

fn images(stage: &Stage) -> usize {
    fs::read_dir(stage.state().join("images")).unwrap().count()
}

#[tokio::test]
async fn a_build_yields_what_is_found_and_runs_once() {
    let stage = Stage::new();
    let source = built_by(&stage, "echo building; echo 'aside' >&2; printf '#!/bin/sh\\n' > server; chmod +x server");
    let key = key_of(&source);
    assert_eq!(stage.builder.find(&key).await.unwrap(), None);
    let lines = Lines::default();
    let artifact = stage.build(&source, &lines).await.unwrap();
    assert_eq!(artifact.id, format!("local:{}", key.as_str()));
    assert_eq!(artifact.label, "quark/shop:aaaaaaaaaaaa");
    for line in ["build: ./build", "building", "aside"] {
        assert!(lines.all().contains(&line.to_owned()), "{:?}", lines.all());
    }
    assert_eq!(stage.builder.find(&key).await.unwrap(), Some(artifact.clone()));
    // A discard that comes late takes nothing away that is finished.
    stage.builder.discard(&key).await.unwrap();
    let again = Lines::default();
    assert_eq!(stage.build(&source, &again).await.unwrap(), artifact);
    assert_eq!(again.all(), [""; 0]);
}

#[tokio::test]
async fn the_message_of_a_failed_build_says_why() {
    let stage = Stage::new();
    let source = built_by(&stage, "for i in $(seq 50); do echo line $i; done; echo 'no such crate' >&2; exit 3");
    let error = stage.build(&source, &NoLog).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::BuildFailed, "build_failed"));
    assert!(error.message().starts_with("the build command `./build` ended with exit code 3:\n"), "{error}");
    assert!(error.message().contains("line 50") && error.message().contains("no such crate"), "{error}");
    assert!(!error.message().contains("line 5\n"), "the message is too long");
    assert_eq!(stage.builder.find(&key_of(&source)).await.unwrap(), None);
    assert_eq!(images(&stage), 0);
}

#[tokio::test]
async fn programs_that_are_missing_are_named() {
    let stage = Stage::new();
    for (toml, kind, code, said) in [
        (
            "[build]\ncommand = ['no-such-program']\n[start]\ncommand = ['sh']",
            ErrorKind::BuildFailed,
            "command_not_found",
            "the build command `no-such-program` is not in any folder of `PATH`",
        ),
        (
            "[build]\ncommand = ['./data']\n[start]\ncommand = ['sh']",
            ErrorKind::BuildFailed,
            "command_not_executable",
            "the build command `./data` is not an executable file",
        ),
        (
            "[build]\ncommand = ['./orphan']\n[start]\ncommand = ['sh']",
            ErrorKind::BuildFailed,
            "command_not_found",
            "the build command `./orphan` could not be started",
        ),
        (
            "[build]\ncommand = ['./text']\n[start]\ncommand = ['sh']",
            ErrorKind::BuildFailed,
            "command_not_executable",
            "the build command `./text` could not be started",
        ),
        (
            "[start]\ncommand = ['./server']",
            ErrorKind::InvalidInput,
            "command_not_found",
            "the start command `./server` does not exist after the build",
        ),
        (
            "[start]\ncommand = ['no-such-program']",
            ErrorKind::InvalidInput,
            "command_not_found",
            "the start command `no-such-program` is not in any folder of `PATH`",
        ),
    ] {
        let source =
            stage.source(&[("quark.toml", toml), ("data", ""), ("text", "#!"), ("orphan", "#!/no/such/interpreter\n")]);
        let error = stage.build(&source, &NoLog).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{toml}");
        assert!(error.message().starts_with(said), "{error}");
    }
    assert_eq!(images(&stage), 0);
}

#[tokio::test]
async fn a_build_sees_what_it_is_given_and_nothing_else() {
    let stage = Stage::with(|config| config.with_inherited(&["CARGO_PKG_NAME"]));
    let source = built_by(&stage, "/usr/bin/env | sort; cp build server");
    let lines = Lines::default();
    stage.build(&source, &lines).await.unwrap();
    let all = lines.all();
    let names: Vec<&str> = all.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // `PWD` is the shell's own.
    assert_eq!(names, ["CARGO_PKG_NAME", "PATH", "PWD", "QUARK_BUILD", "QUARK_STATE"]);
}

/// Starts one process in the group and one that has left it.
const RESTLESS: &str = "trap '' TERM\nsleep 300 &\nsetsid sleep 300 &\necho running\nwait";

#[tokio::test]
async fn a_cancelled_build_leaves_no_process_and_no_file() {
    let stage = Stage::new();
    let source = built_by(&stage, RESTLESS);
    let key = key_of(&source);
    let (lines, call) = (Lines::default(), call());
    let (built, ()) = tokio::join!(stage.build_with(&call, &source, &lines), async {
        lines.has("running").await;
        assert!(marked("QUARK_BUILD", key.as_str()).len() >= 3);
        call.cancel.cancel();
    });
    assert_eq!(built.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(marked("QUARK_BUILD", key.as_str()), []);
    assert_eq!(stage.builder.find(&key).await.unwrap(), None);
    assert_eq!(images(&stage), 0);
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_ended() {
    let stage = Stage::new();
    let source = built_by(&stage, RESTLESS);
    let call = Call::new("test", Fence(1), Duration::from_secs(1));
    let error = stage.build_with(&call, &source, &NoLog).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(marked("QUARK_BUILD", key_of(&source).as_str()), []);
    assert_eq!(images(&stage), 0);
}

#[tokio::test]
async fn what_a_finished_build_left_running_is_ended() {
    let stage = Stage::new();
    let source = built_by(&stage, "setsid sleep 300 >/dev/null 2>&1 &\ncp build server");
    stage.build(&source, &NoLog).await.unwrap();
    assert_eq!(marked("QUARK_BUILD", key_of(&source).as_str()), []);
}

#[tokio::test]
async fn discard_clears_up_after_an_engine_that_died() {
    let stage = Stage::new();
    let source = built_by(&stage, RESTLESS);
    let key = key_of(&source);
    let lines = Lines::default();
    {
        let build = stage.build(&source, &lines);
        tokio::pin!(build);
        tokio::select! {
            done = &mut build => panic!("{done:?}"),
            () = lines.has("running") => {}
        }
        // Dropped here, as it is when an engine dies.
    }
    assert!(!marked("QUARK_BUILD", key.as_str()).is_empty());
    assert!(stage.state().join("images").join(key.as_str()).exists());
    let next = LocalBuilder::open(stage.config.clone()).unwrap();
    assert_eq!(next.find(&key).await.unwrap(), None);
    next.discard(&key).await.unwrap();
    assert_eq!(marked("QUARK_BUILD", key.as_str()), []);
    assert_eq!(images(&stage), 0);
    next.discard(&key).await.unwrap();
}

#[tokio::test]
async fn a_second_build_takes_over_from_one_that_hangs() {
    let stage = Stage::new();
    let flag = stage.state().join("go-on");
    let script = format!("if test ! -e {}; then {RESTLESS}; fi\ncp build server", flag.display());
    let source = built_by(&stage, &script.replace('\n', ";").replace("&;", "& "));
    let lines = Lines::default();
    let (first, second) = tokio::join!(stage.build(&source, &lines), async {
        lines.has("running").await;
        fs::write(&flag, "").unwrap();
        stage.build(&source, &NoLog).await
    });
    assert_eq!(first.unwrap_err().kind(), ErrorKind::BuildFailed);
    let artifact = second.unwrap();
    assert_eq!(stage.builder.find(&key_of(&source)).await.unwrap(), Some(artifact));
}

#[tokio::test]
async fn builds_of_other_installations_are_left_alone() {
    let (one, other) = (Stage::new(), Stage::new());
    let source = built_by(&one, RESTLESS);
    let (lines, call) = (Lines::default(), call());
    let (built, ()) = tokio::join!(one.build_with(&call, &source, &lines), async {
        lines.has("running").await;
        let before = marked("QUARK_BUILD", key_of(&source).as_str());
        other.builder.discard(&key_of(&source)).await.unwrap();
        // It may have begun more of them meanwhile, and one that has just begun
        // may have moved into a group of its own.
        let after = marked("QUARK_BUILD", key_of(&source).as_str());
        let is_there =
            |process: &ProcessRef| after.iter().any(|it| (it.pid, it.started) == (process.pid, process.started));
        assert!(before.iter().all(is_there), "of {before:?} there are {after:?}");
        call.cancel.cancel();
    });
    assert_eq!(built.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for ports in [0..=10, RangeInclusive::new(2, 1)] {
        let config = LocalConfig::new(folder.path().join("state")).with_ports(ports);
        let error = LocalBuilder::open(config).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "invalid_ports"));
    }
    assert!(!folder.path().join("state").exists());
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(LocalBuilder::open(LocalConfig::new(folder.path().join("file/state"))).is_err());
    assert!(Path::new("/proc").exists());
}
