//! `kill -9` of the reference server at every point of its engine's work, on
//! real containers behind a real nginx: users are served by one healthy version throughout,
//! the next engine brings the deployment to its right end, and nothing is left
//! over. What is there is read from Docker and from nginx themselves.

mod api;
mod docker;
mod exactly;
mod host;
mod points;
mod scenario;
mod scene;
mod users;
mod versions;

use std::net::SocketAddr;

use quark_core::backend::HostGauge;
use quark_core::process::LinuxHost;
use quark_core::testing::requirement;
use serde_json::Value;

use crate::world::nginx_or_skip;
use docker::{Container, Docker, assert_never_restarted, describe};
use host::Host;
use points::Point;
use scenario::{Request, Scenario};
use scene::Scene;
use users::{Users, assert_shared, served, until_answers};
use versions::Version;

/// What there is to look at.
struct Machine<'a> {
    scene: &'a Scene,
    world: &'a str,
    docker: Option<Docker>,
}

impl<'a> Machine<'a> {
    async fn new(scene: &'a Scene, world: &'a str) -> Self {
        let installation = scene.installation().await;
        let docker = (world == "docker").then(|| Docker::new(&installation, scene.name()));
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

    /// This version serves, by one of these containers, and is well if it shall be.
    async fn assert_serves(
        &self,
        scenario: Scenario,
        expected: &str,
        well: bool,
        address: SocketAddr,
        containers: &[Container],
    ) {
        if scenario.starts_again() {
            until_answers(address, expected).await;
        }
        let served = served(address).await;
        assert_eq!(served.version, expected, "the wrong version serves");
        assert_eq!(served.healthy, well, "{served:?}");
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

fn assert_succeeded(deployment: &Value) {
    assert_eq!(deployment["conclusion"], "succeeded", "{deployment}");
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

    let machine = Machine::new(&scene, world).await;
    let host = Host::start(&scene, world).await;
    let nginx = scene.nginx();
    host.create(&scene, scenario).await;
    for version in scenario.before() {
        host.ask(&scene, Request::Deploy(*version)).await;
        assert_succeeded(&host.wait().await);
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
        scene.die_at(point.at);
        Host::doomed(&scene, world).await;
    } else {
        scenario.ask(&scene, host, point.at).await;
    }
    scene.live();
    let meanwhile = machine.assert_has(point.containers);
    let restarts = scenario == Scenario::Restart;
    if !restarts {
        assert_never_restarted(&before, &meanwhile);
    }
    if machine.is_behind_nginx() {
        let versions: Vec<&str> = point.serves.split(" or ").collect();
        let well = scenario.serves_well(point.at, point.serves);
        match versions.as_slice() {
            [one] => machine.assert_serves(scenario, one, well, address, &meanwhile).await,
            several => assert_shared(address, several).await,
        }
    }

    let host = Host::start(&scene, world).await;
    if let Some(request) = scenario.again(point.at) {
        host.ask(&scene, request).await;
    }
    let ended = host.wait().await;
    assert_eq!(ended["conclusion"], end.conclusion, "{ended}");
    if scenario.retires() {
        host.retired().await;
    }
    if restarts {
        host.restarted().await;
    }
    let after = machine.assert_has(end.containers);
    if !restarts {
        assert_never_restarted(&meanwhile, &after);
    }
    machine.assert_serves(scenario, end.serves, true, host.address, &after).await;
    machine.assert_nothing_left();
    if let Some(users) = users {
        users.stop(end.seen).await;
    }
    assert_eq!(scene.nginx(), nginx, "nginx did not survive all of it");
    if machine.docker.is_none() {
        // Nothing else ends processes. Docker has points of its own for a removal.
        host.ask(&scene, Request::Remove).await;
        assert_succeeded(&host.wait().await);
        machine.assert_has("-");
    }
    host.end().await;
}

/// What stands by answers until the route leads there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_dies_once_it_serves_costs_no_request() {
    if !can_be_tested("docker") {
        return;
    }
    let scenario = Scenario::TakeBack;
    let scene = Scene::new(scenario, "none");
    versions::build_images(scene.commits()).await;
    let machine = Machine::new(&scene, "docker").await;
    let host = Host::start(&scene, "docker").await;
    host.create(&scene, scenario).await;
    host.ask(&scene, Request::Deploy(Version::One)).await;
    assert_succeeded(&host.wait().await);
    let users = Users::start(host.address, scenario.slowest()).await;
    host.ask(&scene, Request::Deploy(Version::Two)).await;
    host.ask(&scene, Request::Reach("events", "event", "bake_started")).await;
    machine.docker.as_ref().unwrap().kill_version("2");
    let ended = host.wait().await;
    assert_eq!(ended["conclusion"], "rolled_back", "{ended}");
    // Docker may tell a moment late that it has ended; that nothing listens is seen before.
    let code = ended["failure"]["code"].as_str().unwrap_or_default();
    assert!(["exited", "unhealthy"].contains(&code), "{ended}");
    host.retired().await;
    let after = machine.assert_has("1");
    machine.assert_serves(scenario, "1", true, host.address, &after).await;
    users.stop(&["1", "2", "1"]).await;
    host.end().await;
}

/// The reason is told with its figures, before anything is built or started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_hog_is_refused_and_costs_no_request() {
    if !can_be_tested("docker") {
        return;
    }
    let scenario = Scenario::Replace;
    let scene = Scene::new(scenario, "none");
    versions::build_images(scene.commits()).await;
    let machine = Machine::new(&scene, "docker").await;
    let host = Host::start_with_limits(&scene, "docker").await;
    host.create(&scene, scenario).await;
    host.ask(&scene, Request::Deploy(Version::One)).await;
    assert_succeeded(&host.wait().await);
    let before = machine.assert_has("1");
    let users = Users::start(host.address, scenario.slowest()).await;

    let memory = LinuxHost::new().capacity().await.unwrap().memory_bytes.unwrap();
    // More than there will ever be.
    let (status, refused) = host.deploy_hog(&scene, "glutton", memory).await;
    assert_eq!((status, &refused["code"]), (503, &"no_room_for_memory".into()), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("all versions of all apps together may use"), "{refused}");
    // Room for nobody else.
    let (status, asked) = host.deploy_hog(&scene, "hog", memory / 1000 * 874).await;
    assert_eq!(status, 202, "{asked}");
    let ended = host.end_of(asked["id"].as_str().unwrap()).await;
    assert_eq!((&ended["conclusion"], &ended["failure"]["kind"]), (&"failed".into(), &"resource_exhausted".into()));
    assert_eq!(ended["failure"]["code"], "no_room_for_memory", "{ended}");
    assert!(ended["failure"]["message"].as_str().unwrap().ends_with("are left: shop 1 x 512 MiB"), "{ended}");

    let after = machine.assert_has("1");
    assert_never_restarted(&before, &after);
    machine.assert_serves(scenario, "1", true, host.address, &after).await;
    users.stop(&["1"]).await;
    host.end().await;
}
