//! An nginx that is not ours.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use quark_core::backend::{Route, Router};
use quark_core::conformance::router::RouterFixture;
use quark_core::{ErrorKind, Slot};
use quark_nginx::{NginxConfig, NginxRouter, ReloadBy};
use tempfile::TempDir;

use crate::support::{Pair, app, apply, call, end, free_address, master, next, nginx, open_folder, who};

/// An nginx that is not ours, as a distribution would run it.
pub(crate) struct Foreign {
    pub(crate) folder: TempDir,
    pub(crate) listen: SocketAddr,
    pub(crate) config: NginxConfig,
}

impl Foreign {
    pub(crate) fn start(nginx: &Path) -> Self {
        let folder = open_folder();
        let at = folder.path().display();
        let (listen, status) = (free_address(), free_address());
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temp: String = temp.iter().map(|name| format!("{name}_temp_path {at}/{name};\n")).collect();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        let text = format!(
            "pid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{}}\n\
             http {{\naccess_log off;\n{temp}include {at}/conf.d/*.conf;\n}}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let mut command = Command::new(nginx);
        command.current_dir(folder.path()).arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        assert!(command.status().unwrap().success());
        let reload = ReloadBy::PidFile(folder.path().join("nginx.pid"));
        let config = NginxConfig::attach(folder.path().join("q"), folder.path().join("conf.d"), listen, status, reload)
            .with_error_log(folder.path().join("error.log"))
            .with_binary(nginx);
        while master(&folder.path().join("nginx.pid")).is_none() {
            std::thread::yield_now();
        }
        Self { folder, listen, config }
    }

    pub(crate) fn site(&self, name: &str) -> PathBuf {
        self.folder.path().join("conf.d").join(name)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        end(self.folder.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_that_is_there_already_can_be_used() {
    let Some(nginx) = nginx() else { return };
    let foreign = Foreign::start(&nginx);
    let router = NginxRouter::open(foreign.config.clone()).await.unwrap();
    let pair = Pair::start("shop").await;
    apply(&router, &pair.route).await;
    assert_eq!(apply(&router, &next(&pair.route, Slot::Green, true)).await, (Slot::Green, true, 2));
    assert_eq!(who(foreign.listen, "shop.test").await, "green");
    assert_eq!(router.stop_nginx().await.unwrap_err().kind(), ErrorKind::Unsupported);
    router.remove(&call(1), &app("shop")).await.unwrap();
    assert_eq!(who(foreign.listen, "shop.test").await, "404");

    // And by a command, where its processes cannot be seen.
    let command = [&nginx.display().to_string(), "-p", ".", "-c", "nginx.conf", "-s", "reload"].map(str::to_owned);
    let at = foreign.folder.path().display().to_string();
    let command = command.map(|part| if part == "." { at.clone() } else { part }).to_vec();
    let status = free_address();
    let config = NginxConfig::attach(
        foreign.folder.path().join("other"),
        foreign.folder.path().join("conf.d"),
        foreign.listen,
        status,
        ReloadBy::Command(command),
    );
    let router = NginxRouter::open(config.with_binary(nginx)).await.unwrap();
    assert_eq!(apply(&router, &pair.route).await, (Slot::Blue, false, 1));
    assert_eq!(who(foreign.listen, "shop.test").await, "blue");
}

/// The whole suite, too: an attached nginx is told by the id in its pid file.
struct Attached {
    foreign: Foreign,
    router: NginxRouter,
}

impl Attached {
    async fn start() -> Option<Self> {
        let foreign = Foreign::start(&nginx()?);
        let router = NginxRouter::open(foreign.config.clone()).await.unwrap();
        Some(Self { foreign, router })
    }
}

#[async_trait]
impl RouterFixture for Attached {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.router.clone())
    }

    async fn another(&self) -> Arc<dyn Router> {
        Arc::new(NginxRouter::open(self.foreign.config.clone()).await.unwrap())
    }

    fn entry(&self) -> Option<SocketAddr> {
        Some(self.foreign.listen)
    }

    fn refused_route(&self, base: Route) -> Option<Route> {
        // This nginx has no room for long names.
        let long = quark_core::Domain::parse("a.".repeat(120) + "test").unwrap();
        Some(Route { domains: vec![long], ..base })
    }
}

mod conformance {
    use super::Attached;

    quark_core::router_conformance!(optional Attached::start());
}
