//! The users of an app: what they ask, and what they are told.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quark_core::testing::http::{Answer, TestClient};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinHandle;

/// The app's name.
const HOST: &str = "shop.localhost";

/// So often asks each user: all the time, but not so much that nothing else
/// gets done.
const EVERY: Duration = Duration::from_millis(10);

/// Longer than anything takes that was started.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many new connections are made to see who answers.
const LOOKS: usize = 8;

/// Users who ask until they are told to stop.
pub(super) struct Users {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Seen>>,
}

/// What a user has seen.
#[derive(Default)]
struct Seen {
    asked: u64,
    failures: Vec<String>,
    /// The versions that answered, each once in a row.
    versions: Vec<String>,
}

impl Users {
    /// One keeps a connection, one opens another each time, one always waits
    /// for an answer that takes so many milliseconds. All are busy when this
    /// returns.
    pub(super) async fn start(address: SocketAddr, slow: u64) -> Self {
        let stop = watch::Sender::new(false);
        let paths = ["/version".to_owned(), "/version".to_owned(), format!("/slow?ms={slow}")];
        let begun = Arc::new(Barrier::new(paths.len() + 1));
        let mut tasks = Vec::new();
        for (number, path) in paths.into_iter().enumerate() {
            let user = User { client: TestClient::new(address), address, keeps: number == 0, seen: Seen::default() };
            tasks.push(tokio::spawn(user.ask(path, Arc::clone(&begun), stop.subscribe())));
        }
        begun.wait().await;
        Self { stop, tasks }
    }

    /// Lets each ask once more and go. None may have missed an answer,
    /// and none may have seen other versions than expected, if that is said, or
    /// in another order.
    pub(super) async fn stop(self, expected: &[&str]) {
        self.stop.send_replace(true);
        for task in self.tasks {
            let Seen { asked, failures, versions } = task.await.unwrap();
            assert!(failures.is_empty(), "{} of {asked} requests failed: {:?}", failures.len(), failures.first());
            if expected.is_empty() {
                continue;
            }
            let mut rest = expected.iter();
            // What lasted no longer than a moment may not have been seen.
            let in_order = versions.iter().all(|version| rest.any(|other| other == version));
            assert!(in_order, "users saw {versions:?}, not {expected:?}");
            assert_eq!(versions.first().map(String::as_str), expected.first().copied());
            assert_eq!(versions.last().map(String::as_str), expected.last().copied());
        }
    }
}

/// One who asks.
struct User {
    client: TestClient,
    address: SocketAddr,
    /// Whether the connection is kept.
    keeps: bool,
    seen: Seen,
}

impl User {
    /// Asks which version answers, and then for `path` until it is over.
    async fn ask(mut self, path: String, begun: Arc<Barrier>, mut stop: watch::Receiver<bool>) -> Seen {
        self.get("/version").await;
        begun.wait().await;
        let mut pace = tokio::time::interval(EVERY);
        let mut is_last = false;
        while !is_last {
            is_last = *stop.borrow_and_update();
            pace.tick().await;
            self.get(&path).await;
        }
        self.seen
    }

    async fn get(&mut self, path: &str) {
        if !self.keeps {
            self.client = TestClient::new(self.address);
        }
        let seen = &mut self.seen;
        seen.asked += 1;
        match self.client.get(HOST, path).await.map_err(|error| error.to_string()).and_then(|answer| answer.ok()) {
            Ok(text) => {
                let version = text.strip_prefix("version ").map_or(text.as_str(), |rest| &rest[..1]).to_owned();
                if seen.versions.last() != Some(&version) {
                    seen.versions.push(version);
                }
            }
            Err(failure) => seen.failures.push(failure),
        }
    }
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The version; `-` if the app is not known there.
    pub(super) version: String,
    /// The name of the machine that it thinks it runs on.
    pub(super) instance: String,
    /// Whether it says that it is well.
    pub(super) healthy: bool,
}

/// Asks who answers, on several new connections: it must be one and the same.
pub(super) async fn served(address: SocketAddr) -> Served {
    let mut found: Option<Served> = None;
    for _ in 0..LOOKS {
        let answer = get(address, "/").await;
        let served = if answer.status == 404 {
            Served { version: "-".to_owned(), instance: String::new(), healthy: true }
        } else {
            let text = answer.ok().unwrap();
            let (version, instance) =
                text.trim().strip_prefix("version ").unwrap().split_once(" on instance ").unwrap();
            let healthy = get(address, "/healthz").await.status == 200;
            Served { version: version.to_owned(), instance: instance.to_owned(), healthy }
        };
        assert!(found.as_ref().is_none_or(|before| *before == served), "{found:?} and {served:?} serve at once");
        found = Some(served);
    }
    found.unwrap()
}

/// Waits until a version answers that was just started: it may not listen yet.
pub(super) async fn until_answers(address: SocketAddr, version: &str) {
    let expected = format!("version {version}");
    let answers = async {
        loop {
            let answer = get(address, "/").await;
            if answer.status == 200 && answer.ok().unwrap().starts_with(&expected) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, answers).await.unwrap_or_else(|_| panic!("version {version} does not answer"));
}

/// How many are asked to see that each of two versions has a share. If it is
/// half of the requests, one of them is missed once in 10^12 times.
const MANY_LOOKS: usize = 40;

/// Asks often, on new connections: exactly these versions answer.
pub(super) async fn assert_shared(address: SocketAddr, expected: &[&str]) {
    let mut found = BTreeSet::new();
    for _ in 0..MANY_LOOKS {
        let text = get(address, "/version").await.ok().unwrap();
        found.insert(text.trim().strip_prefix("version ").unwrap_or(text.trim())[..1].to_owned());
    }
    assert!(found.iter().map(String::as_str).eq(expected.iter().copied()), "{found:?} serve instead of {expected:?}");
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    TestClient::new(address).get(HOST, path).await.unwrap()
}
