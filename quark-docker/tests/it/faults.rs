//! What happens when the daemon is not there, too old, mute or rude. The
//! daemons here are false ones, so that these tests run everywhere.

use std::time::Duration;

use futures_util::StreamExt;
use quark_core::backend::{BuildKey, BuildRequest, ContainerId, LogSelection, NoLog};
use quark_core::{
    AppName, CommitSha, ContainerName, ContainerRuntime, ErrorClass, ErrorKind, ImageBuilder, RelativePath,
};
use quark_docker::{DockerConfig, DockerRuntime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::world::call;

/// What a false daemon does with a request.
#[derive(Clone)]
enum Answer {
    /// Says this with status 200.
    Json(&'static str),
    /// Says this with another status.
    Status(&'static str, &'static str),
    /// Says nothing and keeps the connection.
    Nothing,
    /// Closes the connection.
    Close,
}

struct FalseDaemon {
    folder: TempDir,
    task: JoinHandle<()>,
}

impl Drop for FalseDaemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const VERSION: Answer = Answer::Json(r#"{"ApiVersion":"1.41"}"#);
const INFO: Answer = Answer::Json(r#"{"NCPU":2}"#);

impl FalseDaemon {
    /// Answers by the first path that a request contains.
    fn start(answers: Vec<(&'static str, Answer)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(connection, answers.clone()));
            }
        });
        Self { folder, task }
    }

    fn config(&self) -> DockerConfig {
        DockerConfig::new().with_socket(self.folder.path().join("sock"))
    }

    async fn connect(&self) -> quark_core::Result<DockerRuntime> {
        DockerRuntime::connect(self.config()).await
    }
}

async fn answer(mut connection: UnixStream, answers: Vec<(&'static str, Answer)>) {
    let mut request = Vec::new();
    let has = |request: &[u8], text: &[u8]| request.windows(text.len()).any(|part| part == text);
    while !has(&request, b"\r\n\r\n") || has(&request, b"chunked") && !request.ends_with(b"\r\n0\r\n\r\n") {
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let found = answers.iter().find(|(path, _)| request.contains(path));
    let (status, body) = match found.map(|(_, answer)| answer) {
        Some(Answer::Json(body)) => ("200 OK", *body),
        Some(Answer::Status(status, body)) => (*status, *body),
        Some(Answer::Nothing) => return std::future::pending().await,
        Some(Answer::Close) | None => return,
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // The client may have gone.
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
}

fn name() -> ContainerName {
    ContainerName::parse("qk-shop-1-0").unwrap()
}

fn id() -> ContainerId {
    ContainerId("0123456789ab".to_owned())
}

#[tokio::test]
async fn no_daemon_is_unavailable_and_surely_did_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("sock");
    let error = DockerRuntime::connect(DockerConfig::new().with_socket(&socket)).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, ErrorClass::Retryable));
    assert!(error.message().contains("cannot be reached") && error.hint().is_some(), "{}", error.report());
    // A socket whose daemon has died.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = DockerRuntime::connect(DockerConfig::new().with_socket(&socket)).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, ErrorClass::Retryable), "{}", error.report());
}

#[tokio::test]
async fn a_daemon_that_dies_later_is_unavailable_everywhere() {
    let daemon = FalseDaemon::start(vec![("/version", VERSION), ("/info", INFO)]);
    let runtime = daemon.connect().await.unwrap();
    drop(daemon);
    let errors = [
        runtime.inspect(&name()).await.map(|_| ()),
        runtime.list(&Default::default()).await.map(|_| ()),
        runtime.start(&call(), &id()).await,
        runtime.stop(&call(), &id(), Duration::ZERO).await.map(|_| ()),
        runtime.remove(&call(), &id(), &Default::default()).await,
        runtime.logs(&id(), LogSelection::default()).await.map(|_| ()),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{number}: {}", error.report());
        assert_eq!(error.class(), ErrorClass::Retryable, "{number}: {}", error.report());
        assert!(error.operation().is_some_and(|operation| operation.starts_with("runtime.")), "{number}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_too_old_is_refused() {
    for version in [r#"{"ApiVersion":"1.40"}"#, r#"{"ApiVersion":"0.99"}"#, "{}"] {
        let daemon = FalseDaemon::start(vec![("/version", Answer::Json(version)), ("/info", INFO)]);
        let error = daemon.connect().await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, "docker_too_old"), "{version}");
    }
}

#[tokio::test]
async fn a_daemon_that_says_nothing_is_not_waited_for() {
    let daemon = FalseDaemon::start(vec![("/version", VERSION), ("/info", INFO), ("", Answer::Nothing)]);
    let patient = daemon.config().with_request_timeout(Duration::from_secs(3600));
    let runtime = DockerRuntime::connect(patient).await.unwrap();
    // An effect is bounded by its call, whatever the daemon may take in general.
    let mut hurried = call();
    hurried.timeout = Duration::from_millis(50);
    for done in [
        runtime.start(&hurried, &id()).await,
        runtime.stop(&hurried, &id(), Duration::ZERO).await.map(|_| ()),
        runtime.remove(&hurried, &id(), &Default::default()).await,
    ] {
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::Timeout, ErrorClass::Unknown), "{}", error.report());
    }
    let hasty = daemon.config().with_request_timeout(Duration::from_millis(50));
    let runtime = DockerRuntime::connect(hasty).await.unwrap();
    for done in [runtime.inspect(&name()).await.map(|_| ()), runtime.list(&Default::default()).await.map(|_| ())] {
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_outcome_open() {
    let daemon = FalseDaemon::start(vec![("/version", VERSION), ("/info", INFO), ("", Answer::Close)]);
    let runtime = daemon.connect().await.unwrap();
    for done in [runtime.start(&call(), &id()).await, runtime.inspect(&name()).await.map(|_| ())] {
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, ErrorClass::Unknown), "{}", error.report());
    }
}

#[tokio::test]
async fn answers_without_sense_are_errors_that_repeat_no_value() {
    const SECRET: &str = r#"{"Id":7,"Config":{"Env":["TOKEN=hunter2"]}}"#;
    let daemon = FalseDaemon::start(vec![("/version", VERSION), ("/info", INFO), ("", Answer::Json(SECRET))]);
    let error = daemon.connect().await.unwrap().inspect(&name()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(!format!("{error:?}{}", error.report()).contains("hunter2"));
}

#[tokio::test]
async fn a_log_or_a_build_that_breaks_off_is_no_end() {
    const RUNNING: &str = r#"{"Id":"0123456789ab","Name":"/qk-shop-1-0","State":{"Running":true},"Config":{}}"#;
    const STEP: &str = "{\"stream\":\"Step 1/1 : FROM scratch\\n\"}\n";
    let daemon = FalseDaemon::start(vec![
        ("/version", VERSION),
        ("/info", INFO),
        ("/logs", Answer::Json("")),
        ("/containers/json", Answer::Json("[]")),
        ("/build", Answer::Json(STEP)),
        ("", Answer::Json(RUNNING)),
    ]);
    let runtime = daemon.connect().await.unwrap();
    let read = async |follow| {
        let output = runtime.logs(&id(), LogSelection { tail: None, follow }).await.unwrap();
        output.collect::<Vec<_>>().await
    };
    assert!(read(false).await.is_empty());
    let followed = read(true).await;
    assert_eq!(followed.len(), 1);
    assert_eq!(followed[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);

    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("Dockerfile"), "FROM scratch").unwrap();
    let (app, commit) = (AppName::parse("shop").unwrap(), CommitSha::parse("0".repeat(40)).unwrap());
    let dockerfile = RelativePath::dockerfile();
    let key = BuildKey::of(&app, &commit, &dockerfile);
    let request = BuildRequest { app: &app, key: &key, commit: &commit, source: tree.path(), dockerfile: &dockerfile };
    let error = runtime.builder().build(&call(), request, &NoLog).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, ErrorClass::Retryable), "{}", error.report());
}

#[tokio::test]
async fn refusals_keep_the_words_of_the_daemon() {
    let refusal = Answer::Status("503 Service Unavailable", r#"{"message":"the daemon is starting."}"#);
    let daemon = FalseDaemon::start(vec![("/version", VERSION), ("/info", INFO), ("", refusal)]);
    let runtime = daemon.connect().await.unwrap();
    for done in [runtime.start(&call(), &id()).await, runtime.inspect(&name()).await.map(|_| ())] {
        let error = done.unwrap_err();
        assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, ErrorClass::Retryable));
        assert_eq!(error.message(), "the Docker daemon answered 503: the daemon is starting");
    }
}
