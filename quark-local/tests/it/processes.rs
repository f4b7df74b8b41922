//! How containers start, listen and end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures_util::StreamExt;
use quark_core::backend::{ContainerId, ContainerRuntime, ContainerState, Listening, StopOutcome};
use quark_core::{AppName, Endpoint, ErrorKind, ImageRef, Slot};
use quark_local::{LocalConfig, LocalRuntime};
use tokio::net::{TcpListener, TcpStream};

use crate::stage::{PATIENCE, Stage, call, id, processes_of, set, until};

fn exited(code: i32) -> ContainerState {
    ContainerState::Exited { code: Some(code), out_of_memory: false }
}

#[tokio::test]
async fn the_port_is_in_the_command_and_in_the_environment() {
    let stage = Stage::new();
    let artifact = stage.script("echo \"$1 $PORT $HOST $MODE $PATH\"").await;
    let mut spec = stage.spec(artifact, &[]).await;
    set(&mut spec, "MODE", "test");
    set(&mut spec, "PORT", "1");
    set(&mut spec, "HOST", "0.0.0.0");
    set(&mut spec, "PATH", "/bin");
    stage.start(&spec).await.unwrap();
    let port = spec.endpoint().unwrap().socket_addr().unwrap().port();
    let printed = stage.output(&spec).await;
    // The app may choose where to listen and where to look for programs, but
    // its port belongs to its slot.
    assert_eq!(printed[0].text, format!("{port} {port} 0.0.0.0 test /bin"));
    until("the end", async || stage.state_of(&spec).await == exited(0)).await;
}

#[tokio::test]
async fn a_stranger_at_the_endpoint_is_named() {
    let stage = Stage::new();
    let spec = stage.begin(&["--never-listen"]).await;
    let listening = async || stage.runtime.listening(&id(&spec), spec.endpoint().unwrap()).await.unwrap();
    assert_eq!(listening().await, Listening::Nothing { elsewhere: vec![] });
    let port = spec.endpoint().unwrap().socket_addr().unwrap().port();
    let stranger = listen((Ipv4Addr::LOCALHOST, port)).await;
    let Listening::Foreign { who } = listening().await else { panic!("the stranger was not seen") };
    assert!(who.contains(&format!("process {}", std::process::id())), "{who}");
    drop(stranger);
    let stranger = listen((Ipv4Addr::UNSPECIFIED, port)).await;
    assert!(matches!(listening().await, Listening::Foreign { .. }), "a listener at all addresses is one at this");
    drop(stranger);
    until("the stranger to be gone", async || listening().await == Listening::Nothing { elsewhere: vec![] }).await;
}

/// Listens at an address as soon as it is free: a process that another test
/// forks has the sockets of this one for a moment.
async fn listen(address: (Ipv4Addr, u16)) -> TcpListener {
    let wait = async {
        loop {
            match TcpListener::bind(address).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
                bound => return bound.unwrap(),
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap()
}

#[tokio::test]
async fn a_wrong_port_is_named() {
    let stage = Stage::new();
    let mut spec = stage.spec(stage.sample().await, &[]).await;
    let taken = [spec.endpoint().unwrap().clone()];
    let other = stage.runtime.allocate_endpoint(&spec.app, Slot::Green, &taken).await.unwrap();
    let port = other.socket_addr().unwrap().port();
    spec.command = Some(quark_core::Argv::new(["./sample-app", "--listen", &port.to_string()]).unwrap());
    stage.start(&spec).await.unwrap();
    stage.prints(&spec, "listening on ").await;
    let seen = stage.runtime.listening(&id(&spec), spec.endpoint().unwrap()).await.unwrap();
    assert_eq!(seen, Listening::Nothing { elsewhere: vec![port] });
    assert_eq!(stage.runtime.listening(&id(&spec), &other).await.unwrap(), Listening::Ours);
}

#[tokio::test]
async fn a_listener_that_left_the_group_is_ours() {
    let stage = Stage::new();
    let artifact = stage.sample().await;
    let mut spec = stage.spec(artifact, &[]).await;
    let words = ["sh", "-c", "setsid ./sample-app & wait"];
    spec.command = Some(quark_core::Argv::new(words).unwrap());
    stage.start(&spec).await.unwrap();
    stage.prints(&spec, "listening on ").await;
    assert_eq!(stage.runtime.listening(&id(&spec), spec.endpoint().unwrap()).await.unwrap(), Listening::Ours);
    let outcome = stage.runtime.stop(&call(), &id(&spec), Duration::from_secs(20)).await.unwrap();
    assert_eq!(outcome, StopOutcome::Exited);
    assert_eq!(processes_of(&spec), []);
    assert!(TcpStream::connect(spec.endpoint().unwrap().socket_addr().unwrap()).await.is_err());
}

#[tokio::test]
async fn who_has_the_port_is_named() {
    let stage = Stage::new();
    let spec = stage.spec(stage.sample().await, &[]).await;
    let _stranger = TcpListener::bind(spec.endpoint().unwrap().socket_addr().unwrap()).await.unwrap();
    let error = stage.start(&spec).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "port_taken"));
    assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(stage.state_of(&spec).await, ContainerState::Created);
    assert_eq!(processes_of(&spec), []);
}

#[tokio::test]
async fn stop_ends_all_that_the_program_has_started() {
    let stage = Stage::new();
    let spec =
        stage.begin_script("sleep 300 &\nsetsid sleep 300 &\ntrap '' TERM\necho up\nwhile :; do wait; done").await;
    stage.prints(&spec, "up").await;
    assert!(processes_of(&spec).len() >= 3);
    let outcome = stage.runtime.stop(&call(), &id(&spec), Duration::from_millis(300)).await.unwrap();
    assert_eq!(outcome, StopOutcome::Killed);
    assert_eq!(processes_of(&spec), []);
    assert_eq!(stage.state_of(&spec).await, exited(128 + 9));
    stage.runtime.remove(&call(), &id(&spec), &spec.labels()).await.unwrap();
    assert!(!stage.container_file(&spec, "").exists());
}

#[tokio::test]
async fn what_an_ended_program_left_behind_is_ended() {
    let stage = Stage::new();
    let spec = stage.begin_script("sleep 300 &\nsetsid sleep 300 &\nexit 3").await;
    until("the end", async || stage.state_of(&spec).await == exited(3)).await;
    until("the end of what is left", async || processes_of(&spec).is_empty()).await;
    let outcome = stage.runtime.stop(&call(), &id(&spec), Duration::from_secs(1)).await.unwrap();
    assert_eq!(outcome, StopOutcome::AlreadyStopped);
}

#[tokio::test]
async fn a_container_can_be_started_again() {
    let stage = Stage::new();
    let spec = stage.begin(&["--print", "1"]).await;
    stage.prints(&spec, "listening on ").await;
    let first = stage.runtime.inspect(&spec.name).await.unwrap().unwrap();
    stage.runtime.stop(&call(), &id(&spec), Duration::from_secs(20)).await.unwrap();
    stage.runtime.start(&call(), &id(&spec)).await.unwrap();
    let second = stage.runtime.inspect(&spec.name).await.unwrap().unwrap();
    assert_eq!(second.state, ContainerState::Running);
    assert_ne!(first.started_at, second.started_at);
    until("the second start", async || {
        matches!(stage.runtime.listening(&id(&spec), spec.endpoint().unwrap()).await, Ok(Listening::Ours))
    })
    .await;
}

#[tokio::test]
async fn many_starts_at_once_start_once() {
    let stage = Stage::new();
    // One that was started and ended again by another start would be seen too.
    let spec = stage.spec(stage.script("trap '' TERM\necho up\nexec sleep 300").await, &[]).await;
    stage.runtime.create(&call(), &spec).await.unwrap();
    let runtimes: Vec<LocalRuntime> = (0..8).map(|_| stage.another()).collect();
    let (call, id) = (call(), id(&spec));
    let starts = runtimes.iter().map(|runtime| runtime.start(&call, &id));
    for started in futures_util::future::join_all(starts).await {
        started.unwrap();
    }
    stage.prints(&spec, "up").await;
    assert_eq!(processes_of(&spec).len(), 1);
    let lines = stage.runtime.logs(&id, Default::default()).await.unwrap();
    assert_eq!(lines.count().await, 1);
}

#[tokio::test]
async fn programs_that_cannot_be_started_are_named() {
    let stage = Stage::new();
    let artifact = stage.sample().await;
    let key = artifact.id.strip_prefix("local:").unwrap();
    let text = stage.state().join("images").join(key).join("tree/text");
    std::fs::write(&text, "neither a program nor a script\n").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (command, kind, code) in [
        ("./missing", ErrorKind::NotFound, "command_not_found"),
        ("no-such-program", ErrorKind::NotFound, "command_not_found"),
        ("/no/such/program", ErrorKind::NotFound, "command_not_found"),
        ("./quark.toml", ErrorKind::PermissionDenied, "command_not_executable"),
        ("./text", ErrorKind::PermissionDenied, "command_not_executable"),
        ("./", ErrorKind::PermissionDenied, "command_not_executable"),
    ] {
        let mut spec = stage.spec(artifact.clone(), &[]).await;
        spec.command = Some(quark_core::Argv::new([command]).unwrap());
        let error = stage.start(&spec).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{command}: {}", error.report());
        assert_eq!(stage.state_of(&spec).await, ContainerState::Created);
    }
}

#[tokio::test]
async fn names_that_are_none_of_ours_are_no_paths() {
    let stage = Stage::new();
    let spec = stage.begin_script("exec sleep 300").await;
    for name in ["..", "../containers", "/etc", "", "qk-../x", "qk-a\0"] {
        let id = ContainerId(name.to_owned());
        assert_eq!(stage.runtime.start(&call(), &id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(stage.runtime.stop(&call(), &id, Duration::ZERO).await.unwrap(), StopOutcome::AlreadyStopped);
        stage.runtime.remove(&call(), &id, &spec.labels()).await.unwrap();
        assert_eq!(
            stage.runtime.listening(&id, spec.endpoint().unwrap()).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert_eq!(
            stage.runtime.logs(&id, Default::default()).await.map(drop).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
    let mut other = stage.spec(spec.artifact.clone(), &[]).await;
    for artifact in ["local:", "local:../../x", &format!("local:{}", "G".repeat(64)), "sha256:1"] {
        other.artifact.id = artifact.to_owned();
        assert_eq!(stage.runtime.create(&call(), &other).await.unwrap_err().code(), "image_not_found");
        assert!(!stage.container_file(&other, "").exists());
    }
    other.artifact = spec.artifact.clone();
    let other = other.at(Endpoint::new("some-host"));
    assert_eq!(stage.runtime.create(&call(), &other).await.unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(stage.state_of(&spec).await, ContainerState::Running);
}

#[tokio::test]
async fn what_it_cannot_do_is_said() {
    let stage = Stage::new();
    let capabilities = stage.runtime.capabilities();
    assert_eq!(capabilities.name, "local");
    assert!(!capabilities.enforces_limits && !capabilities.pulls_images);
    let image = ImageRef::parse("alpine:3").unwrap();
    let error = stage.runtime.ensure_image(&call(), &image).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("Docker"));
}

#[tokio::test]
async fn ports_can_run_out() {
    let folder = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = held.local_addr().unwrap().port();
    let config = LocalConfig::new(folder.path().join("state")).with_ports(port..=port);
    let runtime = LocalRuntime::open(config).unwrap();
    let error = runtime.allocate_endpoint(&AppName::parse("shop").unwrap(), Slot::Blue, &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "no_free_port"));
}

#[tokio::test]
async fn no_secret_is_shown() {
    let stage = Stage::new();
    let mut spec = stage.spec(stage.sample().await, &["--never-listen"]).await;
    set(&mut spec, "TOKEN", "hunter2");
    stage.start(&spec).await.unwrap();
    assert!(!format!("{:?}", stage.runtime).contains("hunter2"));
    // Readable for this user only; see the test of the file modes.
    let file = stage.container_file(&spec, "container.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("hunter2"));
    std::fs::write(&file, text.replace("\"hunter2\"", "\"hunter2\" hunter2")).unwrap();
    let error = stage.runtime.inspect(&spec.name).await.unwrap_err();
    assert_eq!(error.code(), "state_damaged");
    assert!(!error.report().contains("hunter2") && !format!("{error:?}").contains("hunter2"));
    std::fs::write(&file, text).unwrap();
}

/// A program that somebody still writes to cannot be started, for the moment
/// that another thread of the engine takes from fork to exec.
#[tokio::test]
async fn a_program_that_is_busy_for_a_moment_is_started() {
    let stage = Stage::new();
    let spec = stage.spec(stage.sample().await, &["--print", "1"]).await;
    stage.runtime.create(&call(), &spec).await.unwrap();
    let key = spec.artifact.id.strip_prefix("local:").unwrap();
    let program = stage.state().join("images").join(key).join("tree/sample-app");
    let writer = std::fs::OpenOptions::new().append(true).open(program).unwrap();
    let (call, id) = (call(), id(&spec));
    let (started, ()) = tokio::join!(stage.runtime.start(&call, &id), async {
        until("the first attempt", async || stage.container_file(&spec, "stdout.log").exists()).await;
        drop(writer);
    });
    started.unwrap();
    stage.prints(&spec, "line 1").await;
}
