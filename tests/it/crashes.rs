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

use quark_core::testing::requirement;

use crate::world::nginx_or_skip;
use docker::{Container, Docker, assert_never_restarted, describe};
use host::Host;
use points::Point;
use scene::Scene;
use users::{Users, served};

/// What there is to look at.
struct Machine<'a> {
    scene: &'a Scene,
    docker: Option<Docker>,
    behind_nginx: bool,
}

impl Machine<'_> {
    /// What Docker has; where there is none, nothing can be told apart.
    async fn containers(&self, installation: &str) -> Vec<Container> {
        match &self.docker {
            Some(docker) => docker.containers(installation).await,
            None => Vec::new(),
        }
    }

    /// Exactly these containers are there.
    async fn assert_has(&self, expected: &str, installation: &str) -> Vec<Container> {
        let found = self.containers(installation).await;
        if self.docker.is_some() {
            assert_eq!(describe(&found), expected, "{found:?}");
        } else {
            let all = expected.split(", ").filter(|container| *container != "-");
            let running = all.clone().filter(|container| !container.contains(' ')).count();
            assert_eq!(self.scene.processes(), (all.count(), running), "instead of {expected}");
        }
        found
    }

    /// This version serves, and by one of these containers.
    async fn assert_serves(&self, expected: &str, host: std::net::SocketAddr, containers: &[Container]) {
        let served = served(host).await;
        assert_eq!(served.version, expected, "the wrong version serves");
        if self.docker.is_some() && expected != "-" {
            let one = containers.iter().any(|container| served.instance.starts_with(&container.id[..12]));
            assert!(one, "{served:?} is none of {containers:?}");
        }
    }

    async fn assert_nothing_left(&self) {
        self.scene.assert_no_checkout();
        match &self.docker {
            Some(docker) => docker.no_build_left(self.scene.name()).await,
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
    let docker = if world == "docker" { Some(Docker::new()) } else { None };
    let machine = Machine { scene: &scene, docker, behind_nginx: world != "proxy" };
    if world == "docker" {
        versions::build_images(scene.commits()).await;
    }

    // What is there before.
    let mut host = Host::start(&scene, world).await;
    let (address, installation) = (host.address, host.installation.clone());
    assert_eq!(host.ask(&format!("create {}", scenario.grace())).await, "created");
    for version in scenario.before() {
        assert_eq!(host.ask(&format!("deploy {}", scene.commit(*version))).await, "asked");
        assert_eq!(host.ask("wait").await, "succeeded");
    }
    let before = machine.containers(&installation).await;
    // The proxy dies with its process; only nginx can be asked throughout.
    let mut users = (machine.behind_nginx && !scenario.before().is_empty()).then(|| Users::start(address));

    // The death.
    assert_eq!(host.ask(&format!("die {}", point.at)).await, "mortal");
    if scenario == scenario::Scenario::Remove
        && let Some(users) = users.take()
    {
        users.stop(end.seen, "2").await;
    }
    scenario.ask(&scene, &mut host).await;
    host.died().await;
    let meanwhile = machine.assert_has(point.containers, &installation).await;
    assert_never_restarted(&before, &meanwhile);
    if machine.behind_nginx {
        machine.assert_serves(point.serves, address, &meanwhile).await;
    }

    // The next engine.
    let mut host = Host::start(&scene, world).await;
    if let Some(request) = scenario.again(&scene, point.at) {
        host.ask(&request).await;
    }
    let ended = host.ask("wait").await;
    assert_eq!(ended.split(' ').next(), Some(end.conclusion), "{ended}");
    if scenario == scenario::Scenario::Retire {
        assert_eq!(host.ask("retired").await, "retired");
    }
    let after = machine.assert_has(end.containers, &installation).await;
    assert_never_restarted(&before, &after);
    assert_never_restarted(&meanwhile, &after);
    machine.assert_serves(end.serves, host.address, &after).await;
    machine.assert_nothing_left().await;
    if let Some(users) = users {
        users.stop(end.seen, end.serves).await;
    }

    // Nothing of it survives the app.
    if scenario != scenario::Scenario::Remove {
        assert_eq!(host.ask("remove").await, "asked");
        assert_eq!(host.ask("wait").await, "succeeded");
        machine.assert_has("-", &installation).await;
        machine.assert_serves("-", host.address, &[]).await;
    }
    machine.assert_nothing_left().await;
    host.end().await;
    if machine.behind_nginx {
        assert!(scene.nginx().is_some_and(|nginx| nginx.is_alive()), "nginx did not survive all of it");
    }
}
