//! The process that is killed: the reference server, told what to do through
//! its API.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::process::{ProcessRef, Signal};
use quark_core::testing::http::TestClient;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::watch;

use super::api::Api;
use super::scenario::{Request, Scenario};
use super::scene::{Scene, Version};
use crate::world::nginx_or_skip;

/// Longer than anything that works takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
pub(super) struct Host {
    child: Child,
    api: Api,
    said: Said,
    /// Where users come in.
    pub(super) address: SocketAddr,
}

impl Host {
    /// Starts one on what the one before has left.
    pub(super) async fn start(scene: &Scene, world: &str) -> Self {
        Self::start_with(scene, world, &["--no-host-limits"]).await
    }

    /// Starts one that refuses what this machine has no room for, however busy
    /// and full that is by other means.
    pub(super) async fn start_with_limits(scene: &Scene, world: &str) -> Self {
        Self::start_with(scene, world, &["--host-cpu-load", "100000", "--host-disk-free", "0"]).await
    }

    async fn start_with(scene: &Scene, world: &str, options: &[&str]) -> Self {
        let (mut child, said) = launch(scene, world, options);
        let ready = said.line(" ready ").await;
        let address = |name: &str| {
            let value = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("`{ready}` has no `{name}`"))
        };
        let token = scene.token_or(first_token(child.stdout.take().unwrap())).await;
        let api = Api { address: address("api="), token };
        Self { child, api, said, address: address("apps=") }
    }

    /// Starts one that dies before it is ready; waits for that.
    pub(super) async fn doomed(scene: &Scene, world: &str) {
        let (mut child, said) = launch(scene, world, &["--no-host-limits"]);
        assert_killed(&mut child, &said).await;
    }

    /// Makes the app known.
    pub(super) async fn create(&self, scene: &Scene, scenario: Scenario) {
        let mut app = json!({
            "name": "shop",
            "source": { "type": "git", "repository": scene.repository(), "branch": "main" },
            // One probe may take as long as a busy machine needs.
            "health": { "path": "/healthz", "interval_ms": 50, "timeout_ms": 30_000, "deadline_ms": scenario.deadline() },
            "timing": { "grace_ms": scenario.grace(), "drain_ms": 10_000 },
        });
        app["bake"] = scenario.bake().unwrap_or_else(|| json!({ "duration_ms": 0 }));
        if let Some(liveness) = scenario.liveness() {
            app["liveness"] = liveness;
        }
        app["hooks"] = scenario.hooks();
        if let Some(canary) = scenario.canary() {
            app["canary"] = canary;
        }
        self.api.ask("POST", "/api/v1/apps", &app.to_string()).await;
    }

    /// Asks for something, which must be granted.
    pub(super) async fn ask(&self, scene: &Scene, request: Request) {
        let (method, path, body) = match request {
            Request::Reach(event, field, value) => return self.reach(event, field, value).await,
            other => self.order(scene, other).await,
        };
        self.api.ask(method, &path, &body).await;
    }

    /// Asks for what it dies of: there may be an answer or none.
    pub(super) async fn ask_to_death(mut self, scene: &Scene, point: &str, request: Request) {
        if let Request::Sicken = request {
            scene.die_at(point);
            self.sicken().await;
            return assert_killed(&mut self.child, &self.said).await;
        }
        let (method, path, body) = self.order(scene, request).await;
        scene.die_at(point);
        let api = self.api.clone();
        let asked = tokio::spawn(async move { api.send(method, &path, &body).await });
        assert_killed(&mut self.child, &self.said).await;
        if let Ok((status, body)) = asked.await.unwrap() {
            assert!(status == 202, "it was refused: {status} {body}");
        }
    }

    async fn order(&self, scene: &Scene, request: Request) -> (&'static str, String, String) {
        match request {
            Request::Deploy(version) => {
                let body = json!({ "commit": scene.commit(version) }).to_string();
                ("POST", "/api/v1/apps/shop/deployments".to_owned(), body)
            }
            Request::Cancel => {
                let id = self.newest().await["id"].as_str().unwrap().to_owned();
                ("POST", format!("/api/v1/deployments/{id}/cancel"), String::new())
            }
            Request::RollBack => ("POST", "/api/v1/apps/shop/rollback".to_owned(), "{}".to_owned()),
            Request::Remove => ("DELETE", "/api/v1/apps/shop".to_owned(), String::new()),
            Request::Reach(..) | Request::Sicken => panic!("nothing is asked for"),
        }
    }

    /// Makes an app known that may use so much memory, and asks for a version of it.
    pub(super) async fn deploy_hog(&self, scene: &Scene, name: &str, memory_bytes: u64) -> (u16, Value) {
        let app = json!({
            "name": name,
            "source": { "type": "git", "repository": scene.repository(), "branch": "main" },
            "resources": { "cpu_millis": 100, "memory_bytes": memory_bytes, "pids": 64 },
        });
        self.api.ask("POST", "/api/v1/apps", &app.to_string()).await;
        let body = json!({ "commit": scene.commit(Version::One) }).to_string();
        let (status, answer) = self.api.send("POST", &format!("/api/v1/apps/{name}/deployments"), &body).await.unwrap();
        (status, serde_json::from_str(&answer).unwrap())
    }

    /// Waits for the end of a deployment.
    pub(super) async fn end_of(&self, id: &str) -> Value {
        let mut events = self.api.events(&format!("/api/v1/deployments/{id}/events")).await;
        while events.next().await.is_some() {}
        self.api.ask("GET", &format!("/api/v1/deployments/{id}"), "").await
    }

    /// Lets what serves be well no longer.
    async fn sicken(&self) {
        let mut client = TestClient::new(self.address);
        // What passes it on may be dead before the answer: it acts on this.
        let _ = client.request("POST", "shop.localhost", "/sicken", &[]).await;
    }

    /// Waits until the newest deployment is there.
    async fn reach(&self, stream: &str, field: &str, value: &str) {
        let id = self.newest().await["id"].as_str().unwrap().to_owned();
        let mut events = self.api.events(&format!("/api/v1/deployments/{id}/{stream}")).await;
        while let Some(event) = events.next().await {
            if event[field] == value {
                return;
            }
        }
        panic!("the deployment has ended without `{value}`");
    }

    /// Waits until all deployments have ended; the newest.
    pub(super) async fn wait(&self) -> Value {
        for deployment in self.deployments().await {
            let id = deployment["id"].as_str().unwrap();
            let mut events = self.api.events(&format!("/api/v1/deployments/{id}/events")).await;
            while events.next().await.is_some() {}
        }
        self.newest().await
    }

    /// Waits until there is no standby.
    pub(super) async fn retired(&self) {
        while !self.api.ask("GET", "/api/v1/apps/shop", "").await["standby"].is_null() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until what is live was restarted, and was found well since.
    pub(super) async fn restarted(&self) {
        let recovers = async {
            loop {
                let liveness = self.newest().await["liveness"].take();
                let restarted = liveness["restarts"].as_array().is_some_and(|restarts| !restarts.is_empty());
                if restarted && liveness["unwell_since"].is_null() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let recovered = tokio::time::timeout(PATIENCE, recovers).await;
        assert!(recovered.is_ok(), "it does not become well: {}", self.said.last());
    }

    async fn newest(&self) -> Value {
        self.deployments().await.into_iter().next().expect("there is no deployment")
    }

    async fn deployments(&self) -> Vec<Value> {
        let mut page = self.api.ask("GET", "/api/v1/apps/shop/deployments", "").await;
        serde_json::from_value(page["items"].take()).unwrap()
    }

    /// Ends it in order.
    pub(super) async fn end(mut self) {
        let server = self.child.id().and_then(ProcessRef::of_pid).expect("it has ended by itself");
        assert!(server.signal(Signal::Terminate));
        let status = ended(&mut self.child, &self.said).await;
        assert!(status.success(), "{status}: {}", self.said.last());
    }
}

fn launch(scene: &Scene, world: &str, options: &[&str]) -> (Child, Said) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quark-server"));
    command.arg("--state").arg(scene.state()).arg("--allow-local-repositories").arg(scene.folder());
    command.args(["--listen", "127.0.0.1:0", "--apps-listen", &scene.listen(world).to_string()]);
    command.arg("--ports").arg(format!("{}-{}", scene.ports().start(), scene.ports().end()));
    let (runtime, router) = match world {
        "docker" => ("docker", "nginx"),
        "nginx" => ("local", "nginx"),
        _ => ("local", "proxy"),
    };
    command.args(["--runtime", runtime, "--router", router]).args(options);
    if let Some(socket) = std::env::var_os("QUARK_TEST_DOCKER") {
        command.arg("--docker-socket").arg(socket);
    }
    if let Some(folder) = nginx_or_skip().as_deref().and_then(|nginx| nginx.parent()) {
        // The first nginx that it finds is the one of the tests.
        let usual = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&usual));
        command.env("PATH", std::env::join_paths(folders).unwrap());
    }
    command.env("QUARK_CRASH_POINTS", scene.orders()).env("QUARK_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let said = Said::by(child.stderr.take().unwrap());
    (child, said)
}

/// The token, which the first server of a folder prints.
async fn first_token(printed: ChildStdout) -> String {
    let mut lines = BufReader::new(printed).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.starts_with("quark_") {
            return line;
        }
    }
    panic!("it ended without a token");
}

async fn ended(child: &mut Child, said: &Said) -> ExitStatus {
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
    ended.unwrap_or_else(|_| panic!("it does not end: {}", said.last())).unwrap()
}

/// Waits for its death by SIGKILL.
async fn assert_killed(child: &mut Child, said: &Said) {
    let status = ended(child, said).await;
    assert_eq!(status.signal(), Some(9), "it ended otherwise: {status}: {}", said.last());
}

/// What a server has logged.
struct Said {
    lines: Arc<Mutex<Vec<String>>>,
    /// Counts them; the sender goes with the server.
    count: watch::Receiver<usize>,
}

impl Said {
    fn by(log: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (counter, count) = watch::channel(0);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            let mut log = BufReader::new(log).lines();
            while let Ok(Some(line)) = log.next_line().await {
                kept.lock().unwrap().push(line);
                counter.send_modify(|count| *count += 1);
            }
        });
        Self { lines, count }
    }

    /// Waits for the first line with this in it.
    async fn line(&self, part: &str) -> String {
        let find = || self.lines.lock().unwrap().iter().find(|line| line.contains(part)).cloned();
        let mut count = self.count.clone();
        let came = tokio::time::timeout(PATIENCE, count.wait_for(|_| find().is_some())).await;
        assert!(matches!(came, Ok(Ok(_))), "it did not say `{part}`: {}", self.last());
        find().unwrap()
    }

    /// The last lines, for whoever looks for the reason of a failure.
    fn last(&self) -> String {
        let lines = self.lines.lock().unwrap();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}
