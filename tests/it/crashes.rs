//! `kill -9` of an engine at every point of its work, on real containers
//! behind a real nginx: users are served by one healthy version throughout,
//! the next engine brings the deployment to its right end, and nothing is left
//! over. What is there is read from Docker and from nginx themselves.

mod docker;
mod host;
mod points;
mod scenario;
mod scene;
mod users;
mod versions;

use std::net::SocketAddr;

use quark_core::testing::requirement;

use crate::world::nginx_or_skip;
use docker::{Container, Docker, assert_never_restarted, describe};
use host::Host;
use points::Point;
use scenario::Scenario;
use scene::Scene;
use users::{Users, served};

/// What there is to look at.
struct Machine<'a> {
    scene: &'a Scene,
    world: &'a str,
    docker: Option<Docker>,
}

impl<'a> Machine<'a> {
    fn new(scene: &'a Scene, world: &'a str, host: &Host) -> Self {
        let docker = (world == "docker").then(|| Docker::new(&host.installation, scene.name()));
        Self { scene, world, docker }
    }

    /// Users come in through nginx, which goes on when an engine dies. The
    /// proxy dies with its process.
    fn is_behind_nginx(&self) -> bool {
        self.world != "proxy"
    }

    /// Exactly these containers are there. Where they are processes they can
    /// only be counted.
    fn assert_has(&self, expected: &str) -> Vec<Container> {
        if let Some(docker) = &self.docker {
            let found = docker.containers();
            assert_eq!(describe(&found), expected, "{found:?}");
            return found;
        }
        let all = expected.split(", ").filter(|container| *container != "-");
        let running = all.clone().filter(|container| !container.contains(' ')).count();
        assert_eq!(self.scene.processes(), (all.count(), running), "instead of {expected}");
        Vec::new()
    }

    /// This version serves, and by one of these containers.
    async fn assert_serves(&self, expected: &str, address: SocketAddr, containers: &[Container]) {
        let served = served(address).await;
        assert_eq!(served.version, expected, "the wrong version serves");
        if self.docker.is_some() && expected != "-" {
            let one = containers.iter().any(|container| served.instance.starts_with(&container.id[..12]));
            assert!(one, "{served:?} is none of {containers:?}");
        }
    }

    fn assert_nothing_left(&self) {
        self.scene.assert_no_checkout();
        match &self.docker {
            Some(docker) => docker.assert_no_build_left(),
            None => self.scene.assert_no_build_left(),
        }
    }
}

/// Whether everything is there that a world needs.
fn can_be_tested(world: &str) -> bool {
    let docker = world != "docker" || requirement("docker", "QUARK_TEST_DOCKER").is_some();
    docker && (world == "proxy" || nginx_or_skip().is_some())
}

async fn dies_and_recovers(world: &str, point: Point) {
    if !can_be_tested(world) {
        return;
    }
    let (scenario, end) = (point.scenario, point.scenario.end());
    let scene = Scene::new(scenario, point.at);
    if world == "docker" {
        versions::build_images(scene.commits()).await;
    }

    let mut host = Host::start(&scene, world).await;
    let machine = Machine::new(&scene, world, &host);
    let nginx = scene.nginx();
    assert_eq!(host.ask(&format!("create {}", scenario.grace())).await, "created");
    for version in scenario.before() {
        assert_eq!(host.ask(&format!("deploy {}", scene.commit(*version))).await, "asked");
        assert_eq!(host.ask("wait").await, "succeeded");
    }
    let before = machine.assert_has(&scenario.containers_before());
    let users = if machine.is_behind_nginx() && scenario.serves_throughout() {
        Some(Users::start(host.address, scenario.slowest()).await)
    } else {
        None
    };

    let address = host.address;
    if scenario.begins_with_damage() {
        host.end().await;
        scenario.damage(machine.docker.as_ref().unwrap());
        Host::doomed(&scene, world, point.at).died().await;
    } else {
        scenario.ask(&scene, &mut host, point.at).await;
        host.died().await;
    }
    let meanwhile = machine.assert_has(point.containers);
    assert_never_restarted(&before, &meanwhile);
    if machine.is_behind_nginx() {
        machine.assert_serves(point.serves, address, &meanwhile).await;
    }

    let mut host = Host::start(&scene, world).await;
    if let Some(request) = scenario.again(&scene, point.at) {
        host.ask(&request).await;
    }
    let ended = host.ask("wait").await;
    assert_eq!(ended.split(' ').next(), Some(end.conclusion), "{ended}");
    if scenario == Scenario::Retire {
        assert_eq!(host.ask("retired").await, "retired");
    }
    let after = machine.assert_has(end.containers);
    assert_never_restarted(&meanwhile, &after);
    machine.assert_serves(end.serves, host.address, &after).await;
    machine.assert_nothing_left();
    if let Some(users) = users {
        users.stop(end.seen).await;
    }
    assert_eq!(scene.nginx(), nginx, "nginx did not survive all of it");
    if machine.docker.is_none() {
        // Nothing else ends processes. Docker has points of its own for a removal.
        assert_eq!(host.ask("remove").await, "asked");
        assert_eq!(host.ask("wait").await, "succeeded");
        machine.assert_has("-");
    }
    host.end().await;
}
