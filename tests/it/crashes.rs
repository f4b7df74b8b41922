//! `kill -9` of an engine at the points that matter, on real processes: the
//! next engine brings the deployment to its end, nothing is left over, and
//! behind nginx the old version serves throughout.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use quark_core::backend::container_runtime::label;
use quark_core::backend::{ContainerRuntime, ContainerState, Labels, Store};
use quark_core::process;
use quark_core::testing::http::TestClient;
use quark_docker::{DockerConfig, DockerRuntime};
use quark_store::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::world::nginx_or_skip;

const HOST: &str = "shop.localhost";
const PATIENCE: Duration = Duration::from_secs(60);

/// A crash-host that runs.
struct Host {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Host {
    async fn start(state: &Path, router: &str, listen: SocketAddr, die: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crash-host"));
        command.arg(state).arg(router).arg(listen.to_string()).args(die);
        if let Some(nginx) = nginx_or_skip() {
            command.env("QUARK_TEST_NGINX", nginx);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut host = Self { child, commands, answers, address: listen };
        let ready = host.answer().await.expect("the host died before it was ready");
        host.address = ready.strip_prefix("ready ").unwrap().parse().unwrap();
        host
    }

    async fn tell(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// The next line that it says; `None` when it has died.
    async fn answer(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.answers.next_line()).await.expect("no answer").unwrap()
    }

    async fn ask(&mut self, command: &str) -> String {
        self.tell(command).await;
        self.answer().await.expect("it died")
    }

    async fn deploy(&mut self, commit: &str) {
        let asked = self.ask(&format!("deploy {commit}")).await;
        assert!(asked.starts_with("asked"), "{asked}");
        let ended = self.answer().await;
        assert_eq!(ended.as_deref().map(str::trim), Some("ended succeeded"));
    }

    async fn end(mut self) {
        drop(self.commands);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    /// Waits for its death by SIGKILL.
    async fn died(mut self) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it did not die").unwrap();
        assert_eq!(status.signal(), Some(9), "it ended otherwise: {status}");
    }
}

/// A folder with a repository of three versions, the second slow to build.
struct Scene {
    folder: TempDir,
    first: String,
    second: String,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        fs::create_dir(&repository).unwrap();
        quark_tests::git(&repository, &["init", "--quiet", "--initial-branch=main"]).unwrap();
        let start = "[start]\ncommand = [\"./server\"]\n";
        let dockerfile = "FROM scratch\nCOPY server /server\nCMD [\"/server\"]\n";
        let first = quark_tests::commit(&repository, &[("quark.toml", start), ("Dockerfile", dockerfile)]).unwrap();
        // Stays away for good the first time, and leaves a child behind.
        let flag = folder.path().join("built-once");
        let flag = flag.display();
        let script = format!("if [ ! -e {flag} ]; then touch {flag}; sleep 600 & echo compiling; sleep 600; fi\n");
        let slow = format!("[build]\ncommand = [\"sh\", \"build.sh\"]\n{start}");
        let other = dockerfile.replace("CMD", "ENV SAMPLE_VERSION=2\nCMD");
        let files = [("quark.toml", slow.as_str()), ("build.sh", &script), ("Dockerfile", &other)];
        let second = quark_tests::commit(&repository, &files).unwrap();
        Self { folder, first, second }
    }

    fn state(&self) -> &Path {
        self.folder.path()
    }

    /// Builds are fast from now on.
    fn build_at_once(&self) {
        fs::write(self.state().join("built-once"), "").unwrap();
    }

    fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Nothing is there but what serves and, if there is one, the standby.
    async fn assert_nothing_left(&self, router: &str, instances: usize) {
        self.assert_no_checkout();
        if router == "docker" {
            let socket = std::env::var_os("QUARK_TEST_DOCKER").unwrap();
            let docker = DockerRuntime::connect(DockerConfig::new().with_socket(socket)).await.unwrap();
            let store = SqliteStore::open(SqliteConfig::new(self.state().join("quark.db"))).await.unwrap();
            let ours = (label::INSTALLATION.to_owned(), store.installation().await.unwrap());
            store.close().await.unwrap();
            let containers = docker.list(&Labels::from([ours])).await.unwrap();
            assert_eq!(containers.len(), instances, "{containers:?}");
            assert!(containers.iter().all(|container| container.state == ContainerState::Running), "{containers:?}");
        } else {
            self.assert_no_process_left(instances);
        }
    }

    fn assert_no_checkout(&self) {
        for installation in self.entries("work") {
            let left: Vec<_> = fs::read_dir(installation).unwrap().flatten().collect();
            assert!(left.is_empty(), "checkouts are left: {left:?}");
        }
    }

    fn assert_no_process_left(&self, instances: usize) {
        let containers = self.entries("local/containers");
        assert_eq!(containers.len(), instances, "{containers:?}");
        for container in &containers {
            let name = container.file_name().unwrap().to_str().unwrap();
            let alive = process::find("QUARK_CONTAINER", name).unwrap().iter().filter(|p| p.is_alive()).count();
            assert_eq!(alive, 1, "processes of {name}");
        }
        let images = self.entries("local/images");
        let unfinished: Vec<_> =
            images.iter().filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect();
        assert!(unfinished.is_empty(), "unfinished builds are left: {unfinished:?}");
        for image in images {
            let key = image.file_name().unwrap().to_str().unwrap().to_owned();
            let building = process::find("QUARK_BUILD", &key).unwrap();
            assert!(building.iter().all(|process| !process.is_alive()), "a build goes on: {building:?}");
        }
    }
}

/// Asks again and again until told to stop; returns how often, and what failed.
async fn load(address: SocketAddr, mut stop: watch::Receiver<bool>) -> (u64, Vec<String>) {
    let mut client = TestClient::new(address);
    let (mut asked, mut failures) = (0, Vec::new());
    while !*stop.borrow_and_update() {
        asked += 1;
        match client.get(HOST, "/version").await {
            Ok(answer) if answer.ok().is_ok() => {}
            Ok(answer) => failures.push(format!("{answer:?}")),
            Err(error) => failures.push(error.to_string()),
        }
    }
    (asked, failures)
}

async fn version(address: SocketAddr) -> String {
    TestClient::new(address).get(HOST, "/").await.unwrap().ok().unwrap()
}

fn free_address() -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    TcpListener::bind(any).unwrap().local_addr().unwrap()
}

async fn dies_and_recovers(router: &str, point: &str) {
    let scene = Scene::new();
    let retires = point.contains("drain") || point.contains("retire");
    if !point.starts_with("log:") {
        scene.build_at_once();
    }
    let behind_nginx = router != "proxy";
    let listen = if behind_nginx { free_address() } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) };
    let mut host = Host::start(scene.state(), router, listen, None).await;
    let grace = if retires { 0 } else { 600_000 };
    assert_eq!(host.ask(&format!("create {grace}")).await, "created");
    host.deploy(&scene.first).await;
    let before = version(host.address).await;
    host.end().await;

    let mut host = Host::start(scene.state(), router, listen, Some(point)).await;
    let (stop, stopped) = watch::channel(false);
    // The in-process proxy dies with its process; only nginx can be asked throughout.
    let users = behind_nginx.then(|| tokio::spawn(load(host.address, stopped)));
    host.tell(&format!("deploy {}", scene.second)).await;
    host.died().await;
    if behind_nginx && !retires && point != "outcome:promote" {
        assert_eq!(version(listen).await, before, "the old version does not serve");
    }

    let mut host = Host::start(scene.state(), router, listen, None).await;
    let rest = if retires { "rest retired" } else { "rest all" };
    assert_eq!(host.ask(rest).await, "resting");
    assert_ne!(version(host.address).await, before, "the new version does not serve");
    scene.assert_nothing_left(router, if retires { 1 } else { 2 }).await;
    stop.send_replace(true);
    if let Some(users) = users {
        let (asked, failures) = users.await.unwrap();
        assert!(asked > 20, "there was no load");
        assert!(failures.is_empty(), "{} of {asked} requests failed: {:?}", failures.len(), failures.first());
    }
    assert_eq!(host.ask("remove").await, "removed");
    scene.assert_nothing_left(router, 0).await;
    host.end().await;
    if behind_nginx {
        stop_nginx(&scene);
    }
}

fn stop_nginx(scene: &Scene) {
    let pid = fs::read_to_string(scene.state().join("nginx/nginx.pid")).expect("nginx is still there");
    let master = process::ProcessRef::of_pid(pid.trim().parse().unwrap()).expect("nginx survived all of it");
    assert!(master.signal(process::Signal::Terminate));
}

macro_rules! crashes {
    ($($name:ident: $point:literal,)*) => {
        mod behind_nginx {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if super::nginx_or_skip().is_some() {
                    super::dies_and_recovers("nginx", $point).await;
                }
            })*
        }
        mod on_docker {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let docker = quark_core::testing::requirement("docker", "QUARK_TEST_DOCKER").is_some();
                // How a build says that it goes on differs; the builder's own tests kill builds.
                if docker && super::nginx_or_skip().is_some() && !$point.starts_with("log:") {
                    super::dies_and_recovers("docker", $point).await;
                }
            })*
        }
        mod behind_the_proxy {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::dies_and_recovers("proxy", $point).await;
            })*
        }
    };
}

crashes! {
    while_building: "log:compiling",
    before_the_start: "intent:start",
    after_the_start: "outcome:start",
    while_probing: "intent:probe",
    between_the_intent_and_the_promotion: "intent:promote",
    between_the_promotion_and_its_outcome: "outcome:promote",
    before_draining: "intent:drain",
    while_retiring: "intent:retire",
    after_retiring: "outcome:retire",
}
