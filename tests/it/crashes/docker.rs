//! What Docker itself says, asked in plain words and not through our runtime.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use quark_core::ContainerName;
use quark_core::backend::container_runtime::label;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The label that the images of the tests have, and so their containers: the version.
pub(super) const VERSION: &str = "crash-test.version";
/// The label of what one scene builds, and of what its builds leave behind.
pub(super) const SCENE: &str = "crash-test.scene";

/// No answer takes longer, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an installation has in a daemon. It is taken away at the end, also when
/// a test fails.
#[derive(Debug)]
pub(super) struct Docker {
    socket: PathBuf,
    installation: String,
    scene: String,
}

/// A container as Docker describes it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    #[serde(rename = "ImageID")]
    image: String,
    state: String,
    labels: BTreeMap<String, String>,
    /// Not in a list.
    #[serde(default)]
    started_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Id {
    id: String,
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
    pub(super) fn new(installation: &str, scene: &str) -> Self {
        let socket = std::env::var_os("QUARK_TEST_DOCKER").unwrap().into();
        Self { socket, installation: installation.to_owned(), scene: scene.to_owned() }
    }

    /// The containers, in whatever state.
    pub(super) fn containers(&self) -> Vec<Container> {
        let mut found = self.labelled(label::INSTALLATION, &self.installation);
        for container in &mut found {
            let inspected: Inspected = self.read(&format!("/containers/{}/json", container.id));
            container.started_at = inspected.state.started_at;
        }
        // A hook is of the version of an instance; what has exited comes first.
        found.sort_by(|a, b| (a.labels.get(VERSION), &a.state).cmp(&(b.labels.get(VERSION), &b.state)));
        found
    }

    /// No container is there in which a step of a build runs, ran or was to run.
    pub(super) fn assert_no_build_left(&self) {
        let mut left = self.labelled(SCENE, &self.scene);
        left.retain(|container| !container.labels.contains_key(label::DEPLOYMENT));
        assert!(left.is_empty(), "builds have left {left:?}");
    }

    /// Removes the container of a version behind the engine's back.
    pub(super) fn remove_version(&self, version: &str) {
        let (status, body) = self.call("DELETE", &format!("/containers/{}?force=1", self.of(version).id)).unwrap();
        assert_eq!(status, 204, "{body}");
    }

    /// All that Docker knows of the container of a version.
    pub(super) fn inspect_version(&self, version: &str) -> serde_json::Value {
        self.read(&format!("/containers/{}/json", self.of(version).id))
    }

    /// Kills the container of a version.
    pub(super) fn kill_version(&self, version: &str) {
        let (status, body) = self.call("POST", &format!("/containers/{}/kill", self.of(version).id)).unwrap();
        assert_eq!(status, 204, "{body}");
    }

    /// Starts a container beside that of a version, with the same labels and
    /// the name of an instance that was never asked for.
    pub(super) fn copy_version(&self, version: &str) {
        let Container { image, labels, .. } = self.of(version);
        let (app, deployment) = (&labels[label::APP], &labels[label::DEPLOYMENT]);
        let name = ContainerName::of(&app.parse().unwrap(), deployment.parse().unwrap(), 1);
        let body = serde_json::json!({ "Image": image, "Labels": labels }).to_string();
        let (status, body) = self.send("POST", &format!("/containers/create?name={name}"), &body).unwrap();
        assert_eq!(status, 201, "{body}");
        let (status, body) = self.call("POST", &format!("/containers/{name}/start")).unwrap();
        assert_eq!(status, 204, "{body}");
    }

    fn of(&self, version: &str) -> Container {
        let mut found = self.containers().into_iter();
        found.find(|container| container.labels.get(VERSION).is_some_and(|other| other == version)).unwrap()
    }

    fn labelled(&self, name: &str, value: &str) -> Vec<Container> {
        self.read(&format!("/containers/json?all=1&filters={}", filter(name, value)))
    }

    fn read<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.call("GET", path).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The status and the body of the answer to a request without a body.
    fn call(&self, method: &str, path: &str) -> io::Result<(u16, String)> {
        self.send(method, path, "")
    }

    /// The status and the body of an answer.
    fn send(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let mut connection = UnixStream::connect(&self.socket)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        // An answer to HTTP/1.0 comes in one piece and ends with the connection.
        let fields = format!("Host: docker\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
        write!(connection, "{method} {path} HTTP/1.0\r\n{fields}\r\n\r\n{body}")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The images that all scenes share stay: the next run finds them.
        for (name, value) in [(label::INSTALLATION, &self.installation), (SCENE, &self.scene)] {
            for (kind, one) in [("containers", "all=1&"), ("images", "")] {
                let list = format!("/{kind}/json?{one}filters={}", filter(name, value));
                // What cannot be asked for now shows up in nobody's way.
                let Ok((200, body)) = self.call("GET", &list) else { continue };
                for id in serde_json::from_str::<Vec<Id>>(&body).unwrap_or_default() {
                    let _ = self.call("DELETE", &format!("/{kind}/{}?force=1", id.id));
                }
            }
        }
    }
}

fn filter(name: &str, value: &str) -> String {
    let text = serde_json::json!({ "label": [format!("{name}={value}")] }).to_string();
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
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
