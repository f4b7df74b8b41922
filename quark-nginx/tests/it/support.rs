//! A private nginx for each test, and a way to load it.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use quark_core::backend::{Call, Route, Router as _};
use quark_core::deployment::{Endpoint, Fence, Generation};
use quark_core::process::{ProcessRef, Signal};
use quark_core::testing::http::{TestClient, TestServer};
use quark_core::{AppName, Domain, Slot};
use quark_nginx::{NginxConfig, NginxRouter};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The nginx to test with; `None` if there is none and none is required.
pub(crate) fn nginx() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("QUARK_TEST_NGINX").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.map(|place| place.join("nginx")).find(|nginx| nginx.is_file());
    if found.is_none() {
        // Says that it is skipped, or fails if it must not be.
        let _ = quark_core::testing::requirement("nginx", "QUARK_TEST_NGINX");
    }
    found
}

/// A port that nobody listens on at the moment, from a range that the system
/// does not take ports of clients from: another test's client could have it
/// before nginx does.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 181).unwrap() * 97;
    loop {
        let port = 11_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A folder that nginx's workers are let through to: in memory where there is
/// room, so that a disk that stalls for half a minute decides about no test.
pub(crate) fn open_folder() -> TempDir {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// An nginx in a folder of its own, which ends with the test.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) listen: SocketAddr,
    pub(crate) config: NginxConfig,
    pub(crate) router: NginxRouter,
}

impl World {
    /// `None` if there is no nginx.
    pub(crate) async fn start() -> Option<Self> {
        let nginx = nginx()?;
        let folder = open_folder();
        let listen = free_address();
        let config = NginxConfig::own(folder.path().join("q"), listen).with_binary(nginx).with_workers(2);
        let router = NginxRouter::open(config.clone()).await.unwrap();
        Some(Self { folder, listen, config, router })
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("q")
    }

    pub(crate) fn client(&self) -> TestClient {
        TestClient::new(self.listen)
    }

    pub(crate) fn master(&self) -> ProcessRef {
        master(&self.home().join("nginx.pid")).unwrap()
    }

    /// What a fresh connection gets for `host`: the identity, or the status.
    pub(crate) async fn who(&self, host: &str) -> String {
        who(self.listen, host).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end(&self.home());
    }
}

/// The master process of an nginx, once it is ready for signals: it writes its
/// pid file before it says what it is.
pub(crate) fn master(pid_file: &Path) -> Option<ProcessRef> {
    let pid = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    title.starts_with("nginx: master").then(|| ProcessRef::of_pid(pid))?
}

/// Ends the processes that were started in a folder at once, from a `Drop`,
/// which cannot wait. A master that still lives replaces the workers that were
/// killed before it, so it is looked again until none is left.
pub(crate) fn end(folder: &Path) {
    let is_there = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == folder);
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let left: Vec<_> = pids.filter(is_there).filter_map(ProcessRef::of_pid).filter(ProcessRef::is_alive).collect();
        if left.is_empty() {
            return;
        }
        for process in left {
            let _ = process.signal(Signal::Kill);
        }
    }
}

pub(crate) async fn who(address: SocketAddr, host: &str) -> String {
    let answer = TestClient::new(address).get(host, "/close").await.unwrap();
    answer.ok().unwrap_or_else(|_| answer.status.to_string())
}

pub(crate) fn call(fence: u64) -> Call {
    Call::new("test", Fence(fence), Duration::from_secs(60))
}

pub(crate) fn app(name: &str) -> AppName {
    AppName::parse(name).unwrap()
}

/// A blue and a green application, and the route to them.
pub(crate) struct Pair {
    pub(crate) blue: TestServer,
    pub(crate) green: TestServer,
    pub(crate) route: Route,
}

impl Pair {
    /// With the name `<app>.test` and the blue slot active.
    pub(crate) async fn start(name: &str) -> Self {
        let (blue, green) = (TestServer::start("blue").await.unwrap(), TestServer::start("green").await.unwrap());
        let route = route(name, blue.endpoint(), green.endpoint());
        Self { blue, green, route }
    }
}

pub(crate) fn route(name: &str, blue: Endpoint, green: Endpoint) -> Route {
    Route {
        app: app(name),
        generation: Generation(1),
        fence: Fence(1),
        domains: vec![Domain::parse(format!("{name}.test")).unwrap()],
        blue,
        green,
        active: Slot::Blue,
        backup: false,
        canary: None,
    }
}

/// The same route one generation later.
pub(crate) fn next(route: &Route, active: Slot, backup: bool) -> Route {
    Route { generation: route.generation.next(), active, backup, ..route.clone() }
}

/// Applies a route and returns what is in force then.
pub(crate) async fn apply(router: &NginxRouter, route: &Route) -> (Slot, bool, u64) {
    router.apply(&call(route.fence.0), route).await.unwrap();
    observe(router, &route.app).await.unwrap()
}

pub(crate) async fn observe(router: &NginxRouter, app: &AppName) -> Option<(Slot, bool, u64)> {
    let observed = router.observe(app).await.unwrap()?;
    Some((observed.active, observed.backup, observed.generation.0))
}

/// Clients that ask on kept connections until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<Failures>,
}

type Failures = Vec<String>;

impl Load {
    pub(crate) fn start(address: SocketAddr, host: &'static str, clients: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut client = TestClient::new(address);
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match client.get(host, "/").await {
                        Ok(answer) if answer.status == 200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Ok(answer) => failures.push(format!("status {}", answer.status)),
                        Err(cause) => failures.push(cause.to_string()),
                    }
                }
                failures
            });
        }
        Self { stop, answered, clients: tasks }
    }

    /// Waits until `more` further requests were answered.
    pub(crate) async fn answers(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    }

    /// Ends the load: how many were answered, and what became of the others.
    pub(crate) async fn finish(self) -> (u64, Failures) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.join_all().await.concat();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}
