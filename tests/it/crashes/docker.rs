//! What Docker itself says, asked in plain words and not through our runtime.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use quark_core::backend::container_runtime::label;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The label that the images of the tests have, and so their containers: the version.
pub(super) const VERSION: &str = "crash-test.version";
/// The label of what one scene builds, and of what its builds leave behind.
pub(super) const SCENE: &str = "crash-test.scene";

/// Docker ends a build that nobody waits for, at its leisure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon.
#[derive(Clone, Debug)]
pub(super) struct Docker {
    socket: PathBuf,
}

/// A container as Docker describes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    state: String,
    labels: BTreeMap<String, String>,
    /// Not in a list.
    #[serde(default)]
    started_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: Started,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Started {
    started_at: String,
}

impl Docker {
    /// The daemon of the tests.
    pub(super) fn new() -> Self {
        Self { socket: std::env::var_os("QUARK_TEST_DOCKER").unwrap().into() }
    }

    /// The containers of an installation, in whatever state.
    pub(super) async fn containers(&self, installation: &str) -> Vec<Container> {
        let mut found = self.labelled(label::INSTALLATION, installation).await;
        for container in &mut found {
            let (status, body) = self.get(&format!("/containers/{}/json", container.id)).await;
            assert_eq!(status, 200, "{body}");
            container.started_at = serde_json::from_str::<Inspected>(&body).unwrap().state.started_at;
        }
        found.sort_by(|a, b| a.labels.get(VERSION).cmp(&b.labels.get(VERSION)));
        found
    }

    /// Waits until the containers in which steps of a scene's builds ran are gone.
    pub(super) async fn no_build_left(&self, scene: &str) {
        for container in self.labelled(SCENE, scene).await {
            if container.labels.contains_key(label::DEPLOYMENT) {
                continue;
            }
            let path = format!("/containers/{}/wait?condition=removed", container.id);
            let gone = tokio::time::timeout(PATIENCE, self.call("POST", &path)).await;
            assert!(gone.is_ok(), "a build has left {container:?}");
        }
    }

    async fn labelled(&self, name: &str, value: &str) -> Vec<Container> {
        let filter = serde_json::json!({ "label": [format!("{name}={value}")] }).to_string();
        let mut encoded = String::new();
        for byte in filter.bytes() {
            write!(encoded, "%{byte:02X}").unwrap();
        }
        let (status, body) = self.get(&format!("/containers/json?all=1&filters={encoded}")).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.call("GET", path).await
    }

    /// The status and the body of an answer.
    async fn call(&self, method: &str, path: &str) -> (u16, String) {
        let mut connection = UnixStream::connect(&self.socket).await.unwrap();
        // An answer to HTTP/1.0 comes in one piece and ends with the connection.
        let request = format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// The versions, with the state of those that do not run; `-` for none.
pub(super) fn describe(containers: &[Container]) -> String {
    let describe = |container: &Container| {
        let version = container.labels.get(VERSION).map_or("?", String::as_str);
        if container.state == "running" { version.to_owned() } else { format!("{version} {}", container.state) }
    };
    let described: Vec<_> = containers.iter().map(describe).collect();
    if described.is_empty() { "-".to_owned() } else { described.join(", ") }
}

/// What ran before and is still there was never stopped in between.
pub(super) fn assert_never_restarted(before: &[Container], now: &[Container]) {
    for container in now {
        let earlier = before.iter().find(|earlier| earlier.id == container.id && earlier.state == "running");
        if let Some(earlier) = earlier {
            assert_eq!(earlier.started_at, container.started_at, "it was restarted: {container:?}");
        }
    }
}
