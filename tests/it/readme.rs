//! Every command of the README, run as it stands there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use quark_core::testing::requirement;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::world::{nginx_or_skip, workspace};

const QUICKSTART: &str = "cargo run --example quickstart";
const QUICKSTART_REAL: &str = "cargo run --example quickstart --features docker,nginx -- --docker --nginx";
const SERVER: &str = "cargo run --example server --features server -- --state ./quark-state";
const SIMULATE: &str = "cargo run --release --example simulate -- --seeds 1000";
/// Runs these very tests.
const TESTS: &str = "./tests/run";
const PATIENCE: Duration = Duration::from_secs(900);

/// The lines of all `sh` blocks.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// A command of the README as a process.
fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let program = match words.next().unwrap() {
        "cargo" => std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()),
        other => other.to_owned(),
    };
    let mut command = Command::new(program);
    command.args(words).current_dir(workspace()).stdin(Stdio::null()).kill_on_drop(true);
    // What cargo sets for the tests is not what a user's shell has.
    for (key, _) in std::env::vars() {
        if key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_") {
            command.env_remove(key);
        }
    }
    command
}

async fn output(command: &mut Command) -> String {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it does not end").unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn these_tests_know_every_command() {
    let known = |line: &String| {
        [QUICKSTART, QUICKSTART_REAL, SERVER, SIMULATE, TESTS].contains(&line.as_str()) || line.starts_with("curl -sS")
    };
    let unknown: Vec<_> = commands().into_iter().filter(|line| !known(line)).collect();
    assert!(unknown.is_empty(), "nobody runs {unknown:?}");
    for line in [QUICKSTART, QUICKSTART_REAL, SERVER, SIMULATE, TESTS] {
        assert!(commands().iter().any(|command| command == line), "`{line}` is not in the README any more");
    }
}

fn assert_lossless(out: &str) {
    let line = out.lines().find(|line| line.trim_start().starts_with("→ requests")).expect("no summary");
    assert!(line.contains(", 0 failed"), "{line}");
    let requests: u64 = line.split_whitespace().find_map(|word| word.trim_end_matches(',').parse().ok()).unwrap();
    assert!(requests > 500, "there was hardly any load: {line}");
    assert!(!out.contains('\u{1b}'), "colours in a pipe");
    assert!(out.contains("deployment rolled_back"), "what fails its users was not taken back: {out}");
}

#[tokio::test]
async fn the_quickstart_loses_nothing() {
    assert_lossless(&output(&mut command(QUICKSTART)).await);
}

#[tokio::test]
async fn the_simulation_finds_nothing() {
    let out = output(&mut command(SIMULATE)).await;
    assert!(out.lines().any(|line| line == "0 violations"), "{out}");
}

#[tokio::test]
async fn the_quickstart_on_docker_and_nginx_loses_nothing() {
    let Some(socket) = requirement("docker", "QUARK_TEST_DOCKER") else { return };
    if nginx_or_skip().is_none() {
        return;
    }
    let mut command = command(QUICKSTART_REAL);
    command.env("DOCKER_HOST", format!("unix://{socket}"));
    assert_lossless(&output(&mut command).await);
}

/// The server of the README, on ports of its own.
struct Server {
    child: Child,
    token: String,
    api: SocketAddr,
    apps: SocketAddr,
}

impl Server {
    async fn start(folder: &Path, api: SocketAddr, apps: SocketAddr, token: Option<String>) -> Self {
        let line = SERVER.replace("./quark-state", folder.join("state").to_str().unwrap());
        let mut command = command(&line);
        command.arg("--allow-local-repositories").arg(folder);
        command.env("QUARK_LISTEN", api.to_string()).env("QUARK_APPS_LISTEN", apps.to_string());
        // How busy and full the machine is by other tests says nothing about the server.
        command.env("QUARK_NO_HOST_LIMITS", "true");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let token = match token {
            Some(token) => token,
            None => loop {
                let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("no token").unwrap();
                let line = line.expect("the server ended");
                if line.starts_with("quark_") {
                    break line;
                }
            },
        };
        let server = Self { child, token, api, apps };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        let ready = async {
            while !self.curl(&format!("curl -sS http://{}/health/ready", self.api)).await.contains("ok") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("the server is not ready");
    }

    /// Runs a `curl` of the README, its addresses and variables filled in.
    async fn curl(&self, line: &str) -> String {
        let line = line
            .replace("127.0.0.1:8181", &self.api.to_string())
            .replace("hello.localhost:8080", &format!("hello.localhost:{}", self.apps.port()));
        let mut curl = Command::new("bash");
        // The README is written for a shell, so a shell reads it.
        curl.arg("-c").arg(line).env("TOKEN", &self.token).stdin(Stdio::null()).stderr(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, curl.output()).await.unwrap().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// SIGTERM, as an init system sends it; waits for the end.
    async fn terminate(mut self) -> String {
        let server = quark_core::process::find("QUARK_LISTEN", &self.api.to_string()).unwrap();
        assert!(server.iter().any(|process| process.signal(quark_core::process::Signal::Terminate)));
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not end").unwrap();
        assert!(status.success(), "{status}");
        self.token
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_driven_by_curl_and_survives_a_restart() {
    let folder = quark_tests::sample_repository().unwrap();
    let (api, apps) = (free_address(), free_address());
    let curls: Vec<_> = commands().into_iter().filter(|line| line.starts_with("curl")).collect();
    let [create, deploy, log, visit, rollback, explain] = curls.as_slice() else { panic!("{curls:?}") };

    let server = Server::start(folder.path(), api, apps, None).await;
    let create = create.replace("https://github.com/acme/hello", &quark_tests::url_of(&folder));
    // A minute's watch shows nothing here that a second's does not.
    let create = create.replace(r#""health""#, r#""bake":{"duration_ms":1000,"interval_ms":200},"health""#);
    let app: Value = serde_json::from_str(&server.curl(&create).await).unwrap();
    assert_eq!(app["name"], "hello");
    let follow = async |server: &Server, line: &str| {
        let deployment: Value = serde_json::from_str(&server.curl(line).await).unwrap();
        let id = deployment["id"].as_str().unwrap_or_else(|| panic!("{deployment}")).to_owned();
        let said = server.curl(&log.replace("$ID", &id)).await;
        assert!(said.contains("event: end"), "{said}");
        said
    };
    let said = follow(&server, deploy).await;
    assert!(said.contains("healthy after"), "{said}");
    let first = server.curl(visit).await;
    assert!(first.starts_with("version 1"), "{first}");
    follow(&server, deploy).await;
    let second = server.curl(visit).await;
    assert_ne!(first, second, "another instance serves");
    follow(&server, rollback).await;
    assert_eq!(server.curl(visit).await, first, "the first instance serves again");
    let explained = server.curl(explain).await;
    assert!(
        explained.starts_with("`hello` serves commit ") && explained.contains("a rollback takes a moment"),
        "{explained}"
    );

    // A request that is in flight when the server is told to end is finished.
    let slow = visit.replace("8080/", "8080/slow?ms=3000");
    let slow = slow.replace("hello.localhost:8080", &format!("hello.localhost:{}", apps.port()));
    let request = tokio::spawn(async move { Command::new("bash").arg("-c").arg(slow).output().await.unwrap() });
    let started = async {
        let mut open = TcpCount::of(apps);
        while open.established() == 0 {
            tokio::task::yield_now().await;
            open = TcpCount::of(apps);
        }
    };
    tokio::time::timeout(PATIENCE, started).await.unwrap();
    let token = server.terminate().await;
    let answer = request.await.unwrap();
    assert!(answer.status.success(), "the request was cut: {answer:?}");

    // The applications kept running: the very same instance serves again.
    let server = Server::start(folder.path(), api, apps, Some(token)).await;
    assert_eq!(server.curl(visit).await, first);
    let delete = format!("curl -sS -H \"Authorization: Bearer $TOKEN\" -X DELETE http://{api}/api/v1/apps/hello");
    follow(&server, &delete).await;
    server.terminate().await;
    let instance: u32 = first.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(quark_core::process::ProcessRef::of_pid(instance).is_none_or(|process| !process.is_alive()));
    let left: Vec<PathBuf> =
        std::fs::read_dir(folder.path().join("state/local/containers")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Connections to an address, as the kernel counts them.
struct TcpCount(usize);

impl TcpCount {
    fn of(address: SocketAddr) -> Self {
        let wanted = format!("0100007F:{:04X}", address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let open = table.lines().skip(1).filter(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(wanted.as_str()) && fields.nth(1) == Some("01")
        });
        Self(open.count())
    }

    fn established(&self) -> usize {
        self.0
    }
}
