//! Nothing is lost under load; and a way that does lose requests, so that
//! these tests are known to see it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quark_core::Slot;
use quark_core::backend::{Drained, Router as _};
use quark_core::deployment::Endpoint;
use quark_core::process::Signal;
use quark_core::testing::http::{TestClient, TestServer};
use quark_core::testing::sample_app;

use crate::support::{Load, Pair, World, apply, end, free_address, master, next, nginx, open_folder, route};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_switches_lose_nothing() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    let mut now = pair.route.clone();
    apply(&world.router, &now).await;
    let load = Load::start(world.listen, "shop.test", 8);
    for _ in 0..100 {
        load.answers(20).await;
        now = next(&now, now.active.other(), false);
        apply(&world.router, &now).await;
    }
    load.answers(20).await;
    let (answered, failures) = load.finish().await;
    assert!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), failures.first());
    assert!(pair.blue.requests() > 0 && pair.green.requests() > 0);
    eprintln!("100 switches: {answered} answered, 0 failed");
}

/// New apps under the load of another one: each takes a reload.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_of_a_recent_nginx_lose_nothing() {
    let Some(world) = World::start().await else { return };
    let shop = Pair::start("shop").await;
    apply(&world.router, &shop.route).await;
    let load = Load::start(world.listen, "shop.test", 8);
    for number in 0..15 {
        load.answers(50).await;
        apply(&world.router, &Pair::start(&format!("app{number}")).await.route).await;
    }
    load.answers(50).await;
    let (answered, failures) = load.finish().await;
    eprintln!("15 reloads: {answered} answered, {} failed", failures.len());
    let text = String::from_utf8(Command::new(nginx().unwrap()).arg("-v").output().unwrap().stderr).unwrap();
    let number = text.split('/').nth(1).unwrap().split_whitespace().next().unwrap();
    let version: Vec<u32> = number.split('.').map(|part| part.parse().unwrap()).collect();
    // An older one closes kept connections on which a request is on its way.
    let is_lossless = version >= vec![1, 27, 4];
    assert!(failures.is_empty() || !is_lossless, "{:?}", failures.first());
    assert!(failures.iter().all(|failure| !failure.starts_with("status")), "{failures:?}");
}

/// The whole life of a promotion: switch, drain, and a rude end of the slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_be_killed_once_it_is_drained() {
    let Some(world) = World::start().await else { return };
    let Pair { blue, green, route } = Pair::start("shop").await;
    let mut now = route;
    apply(&world.router, &now).await;
    let load = Load::start(world.listen, "shop.test", 8);
    let (mut serving, mut idle) = (blue, green);
    for _ in 0..4 {
        load.answers(50).await;
        now = next(&now, now.active.other(), false);
        apply(&world.router, &now).await;
        std::mem::swap(&mut serving, &mut idle);
        let endpoint = idle.endpoint();
        let drained = world.router.drained(&now.app, now.active.other(), &endpoint, Duration::from_secs(60)).await;
        assert_eq!(drained.unwrap(), Drained::Fully);
        let (identity, address) = (idle.identity().to_owned(), idle.address());
        idle.stop().await;
        idle = TestServer::start_at(identity, address).await.unwrap();
    }
    let (answered, failures) = load.finish().await;
    assert!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), failures.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_answers_when_the_active_slot_is_killed() {
    let Some(world) = World::start().await else { return };
    let (blue, green) = (free_address(), free_address());
    let _blue = Sample::start(blue, "blue").await;
    let mut killed = Sample::start(green, "green").await;
    let endpoint = |address: SocketAddr| Endpoint::new(address.to_string());
    let now = route("shop", endpoint(blue), endpoint(green));
    apply(&world.router, &now).await;
    apply(&world.router, &next(&now, Slot::Green, true)).await;
    let load = Load::start(world.listen, "shop.test", 8);
    load.answers(500).await;
    killed.kill();
    load.answers(500).await;
    let (answered, failures) = load.finish().await;
    assert!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), failures.first());
    let version = world.client().get("shop.test", "/version").await.unwrap().text();
    assert!(version.contains("blue"), "{version}");
}

/// The sample app in a process of its own, as it can be killed by `SIGKILL`.
pub(crate) struct Sample(Child);

impl Sample {
    pub(crate) async fn start(address: SocketAddr, version: &str) -> Self {
        let program = tokio::task::spawn_blocking(sample_app::build).await.unwrap().unwrap();
        let mut command = Command::new(program);
        command.env("HOST", "127.0.0.1").env("PORT", address.port().to_string()).env("SAMPLE_VERSION", version);
        let sample = Self(command.stdout(Stdio::null()).spawn().unwrap());
        while TestClient::new(address).get("shop.test", "/healthz").await.is_err() {
            tokio::task::yield_now().await;
        }
        sample
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What everybody does: write the new address, reload, stop the old version.
#[tokio::test(flavor = "multi_thread")]
async fn control_a_reload_and_an_immediate_stop_lose_requests() {
    let Some(nginx) = nginx() else { return };
    let folder = open_folder();
    let (listen, pid_file) = (free_address(), folder.path().join("nginx.pid"));
    let mut serving = TestServer::start("0").await.unwrap();
    write_naive(folder.path(), listen, serving.address());
    let mut start = Command::new(nginx);
    start.current_dir(folder.path()).arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
    assert!(start.status().unwrap().success());
    let _end = Ended(folder.path());
    while master(&pid_file).is_none() {
        tokio::task::yield_now().await;
    }
    let load = Load::start(listen, "shop.test", 8);
    let mut cycles = 0;
    while cycles < 20 {
        cycles += 1;
        load.answers(100).await;
        let new = TestServer::start(cycles.to_string()).await.unwrap();
        write_naive(folder.path(), listen, new.address());
        assert!(master(&pid_file).unwrap().signal(Signal::Hangup));
        // It has answered, so it is time to stop the old one. Or is it?
        while TestClient::new(listen).get("shop.test", "/close").await.ok().map(|answer| answer.text())
            != Some(new.identity().to_owned())
        {
            tokio::task::yield_now().await;
        }
        std::mem::replace(&mut serving, new).stop().await;
    }
    let (answered, failures) = load.finish().await;
    eprintln!("control: {cycles} reloads: {answered} answered, {} failed", failures.len());
    assert!(!failures.is_empty(), "the naive way lost nothing of {answered}: this test cannot see a loss");
}

struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        end(self.0);
    }
}

fn write_naive(folder: &Path, listen: SocketAddr, upstream: SocketAddr) {
    let at = folder.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temp: String = temp.iter().map(|name| format!("{name}_temp_path {at}/{name};\n")).collect();
    let text = format!(
        "worker_processes 2;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{temp}\
         upstream app {{ server {upstream}; keepalive 32; }}\n\
         server {{ listen {listen}; location / {{ proxy_pass http://app; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; }} }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf.tmp"), text).unwrap();
    std::fs::rename(folder.join("nginx.conf.tmp"), folder.join("nginx.conf")).unwrap();
}
