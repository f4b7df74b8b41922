//! Where one engine lives and dies: a folder, a repository, ports.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use quark_core::backend::Store;
use quark_core::process;
use quark_store::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::scenario::Scenario;
pub(super) use super::versions::Version;
use super::versions::repository;

/// The folder and the ports of one engine after the other.
pub(super) struct Scene {
    folder: TempDir,
    /// What opens the API: the first engine says it, all obey it.
    token: OnceCell<String>,
    ports: RangeInclusive<u16>,
    commits: BTreeMap<Version, String>,
}

impl Scene {
    /// With every version in the repository.
    pub(super) fn new(scenario: Scenario, point: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // nginx's workers run as another user, and must get through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        fs::create_dir(folder.path().join("orders")).unwrap();
        let hang = folder.path().join("hang");
        if scenario.hangs(point) {
            fs::write(&hang, "").unwrap();
        }
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let commits = repository(&folder.path().join("repository"), &name, &hang);
        Self { folder, token: OnceCell::new(), ports: free_ports(), commits }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the engines keep everything.
    pub(super) fn state(&self) -> PathBuf {
        self.folder().join("state")
    }

    pub(super) fn repository(&self) -> String {
        format!("file://{}", self.folder().join("repository").display())
    }

    /// The token that is known, or the one that is printed now.
    pub(super) async fn token_or(&self, printed: impl Future<Output = String>) -> String {
        self.token.get_or_init(|| printed).await.clone()
    }

    /// Where engines read what they are told besides: `server/crash_points.rs`
    /// of the examples says what.
    pub(super) fn orders(&self) -> PathBuf {
        self.folder().join("orders")
    }

    /// Lets the engine die there, now or when it starts.
    pub(super) fn die_at(&self, point: &str) {
        // At once, not half of it first.
        let aside = self.orders().join("next");
        fs::write(&aside, point).unwrap();
        fs::rename(aside, self.orders().join("point")).unwrap();
    }

    /// Lets engines live.
    pub(super) fn live(&self) {
        fs::remove_file(self.orders().join("point")).unwrap();
    }

    /// Lets the router deny every change to the green slot, from now on.
    pub(super) fn refuse(&self) {
        fs::write(self.orders().join("refuse"), "").unwrap();
    }

    /// The label of the containers.
    pub(super) async fn installation(&self) -> String {
        fs::create_dir_all(self.state()).unwrap();
        let store = SqliteStore::open(SqliteConfig::new(self.state().join("quark.db"))).await.unwrap();
        let installation = store.installation().await.unwrap();
        store.close().await.unwrap();
        installation
    }

    /// What nothing else is called.
    pub(super) fn name(&self) -> &str {
        self.folder.path().file_name().unwrap().to_str().unwrap()
    }

    /// Where users come in; the proxy chooses by itself.
    pub(super) fn listen(&self, world: &str) -> SocketAddr {
        let port = if world == "proxy" { 0 } else { *self.ports.start() };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The ports of its apps.
    pub(super) fn ports(&self) -> RangeInclusive<u16> {
        *self.ports.start() + 1..=*self.ports.end()
    }

    pub(super) fn commits(&self) -> &BTreeMap<Version, String> {
        &self.commits
    }

    pub(super) fn commit(&self, version: Version) -> &str {
        &self.commits[&version]
    }

    /// The work folder has nothing but the engine's note of how far its store is.
    pub(super) fn assert_no_checkout(&self) {
        let mut left: Vec<_> = self.entries("work").iter().flat_map(|folder| fs::read_dir(folder).unwrap()).collect();
        left.retain(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().contains("store-position"));
        assert!(left.is_empty(), "checkouts are left: {left:?}");
    }

    /// How many containers there are and how many of them run, where they are processes.
    pub(super) fn processes(&self) -> (usize, usize) {
        let containers = self.entries("local/containers");
        let runs = |container: &&PathBuf| {
            let name = container.file_name().unwrap().to_str().unwrap();
            let alive = process::find("QUARK_CONTAINER", name).unwrap().iter().filter(|p| p.is_alive()).count();
            assert!(alive <= 1, "{name} has {alive} processes");
            alive == 1
        };
        (containers.len(), containers.iter().filter(runs).count())
    }

    /// Nothing of a build is left but its image.
    pub(super) fn assert_no_build_left(&self) {
        for image in self.entries("local/images") {
            let key = image.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(!key.starts_with('.'), "an unfinished build is left: {key}");
            let building = process::find("QUARK_BUILD", &key).unwrap();
            assert!(building.iter().all(|process| !process.is_alive()), "a build goes on: {building:?}");
        }
    }

    fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state().join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The process of nginx, which outlives all engines.
    pub(super) fn nginx(&self) -> Option<process::ProcessRef> {
        let pid = fs::read_to_string(self.state().join("nginx/nginx.pid")).ok()?;
        process::ProcessRef::of_pid(pid.trim().parse().ok()?)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(nginx) = self.nginx() {
            // It may have ended meanwhile.
            let _ = nginx.signal(process::Signal::Terminate);
        }
    }
}

/// Ports that no other test of this run has at the same time, and that no
/// outgoing connection gets: an engine that is dead cannot hold its own.
fn free_ports() -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const EACH: u16 = 16;
    const SHARES: u16 = 2_752 / EACH;
    let first = u16::try_from(std::process::id() % u32::from(SHARES)).unwrap();
    let share = || (first + NEXT.fetch_add(1, Ordering::Relaxed)) % SHARES;
    let mut ranges = (0..SHARES).map(|_| 30_000 + share() * EACH).map(|start| start..=start + EACH - 1);
    let is_free = |ports: &RangeInclusive<u16>| TcpListener::bind((Ipv4Addr::LOCALHOST, *ports.start())).is_ok();
    ranges.find(is_free).expect("no port is free")
}
