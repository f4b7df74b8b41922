//! A rollback to a release of long ago brings back the very same container, as
//! Docker itself describes it.

use std::sync::Arc;
use std::time::Duration;

use quark_core::backend::container_runtime::label;
use quark_core::git::GitFetcher;
use quark_core::{
    App, Argv, Conclusion, DeployRequest, Deployment, DeploymentEngine, EngineConfig, HealthCheck, Resources,
    RollbackRequest, Source, Timing,
};
use quark_docker::{DockerConfig, DockerRuntime};
use quark_nginx::{NginxConfig, NginxRouter};
use quark_store::{SqliteConfig, SqliteStore};
use serde_json::{Value, json};

use super::docker::Docker;
use super::scenario::Scenario;
use super::scene::Scene;
use super::users::served;
use super::versions::{self, Version};
use super::{can_be_tested, nginx_or_skip};

/// What is said about the app for its release of this number: nothing stays.
fn release(scene: &Scene, number: u16) -> App {
    let check = HealthCheck {
        interval: Duration::from_millis(50 + u64::from(number)),
        timeout: Duration::from_secs(30),
        deadline: Duration::from_secs(60 + u64::from(number)),
        ..HealthCheck::http("/healthz".parse().unwrap())
    };
    // It is replaced at once, so that nothing of it is warm any more.
    let timing = Timing { grace: Duration::ZERO, drain: Duration::from_secs(1), ..Timing::default() };
    let lines = number.to_string();
    let mut app = App::new("shop", Source::git(&scene.repository(), "main").unwrap())
        .unwrap()
        .with_port(8000 + number)
        .with_health(check)
        .with_timing(timing)
        .without_bake()
        .with_resources(
            Resources::new(200 + u32::from(number), (64 + u64::from(number)) << 20, 60 + u32::from(number)).unwrap(),
        )
        .with_command(Argv::new(["/server", "--print", lines.as_str()]).unwrap())
        .with_env("SETTING", format!("the setting of release {number}"))
        .unwrap();
    if number == 1 {
        app = app.with_env("ONLY_AT_FIRST", "1").unwrap();
    }
    app
}

/// The commit of the release of this number: that of the first never comes again.
fn commit(scene: &Scene, number: u16) -> DeployRequest {
    let version = match number {
        1 => Version::One,
        even if even % 2 == 0 => Version::Two,
        _ => Version::Three,
    };
    DeployRequest::commit(scene.commit(version).parse().unwrap())
}

/// What the container of a version is, without what each start of it changes:
/// its name, its address, its deployment, and the lease under which it was made.
fn described(docker: &Docker, version: &str) -> Value {
    let all = docker.inspect_version(version);
    let mut config = all["Config"].clone();
    let variables = config["Env"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned());
    let own = ["QUARK_DEPLOYMENT=", "QUARK_SLOT="];
    let mut variables: Vec<_> = variables.filter(|it| !own.iter().any(|own| it.starts_with(own))).collect();
    variables.sort();
    config["Env"] = json!(variables);
    config["Hostname"].take();
    for name in [label::DEPLOYMENT, label::SLOT, label::FENCE, label::SPEC] {
        assert!(config["Labels"].as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    let mut host = all["HostConfig"].clone();
    host["PortBindings"].take();
    json!({ "image": all["Image"], "path": all["Path"], "args": all["Args"], "config": config, "host": host })
}

async fn ends_well(engine: &DeploymentEngine, deployment: Deployment) -> Deployment {
    let ended = engine.wait(deployment.id).await.unwrap();
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    ended
}

/// Until the version before is gone.
async fn alone(engine: &DeploymentEngine, app: &App) {
    let gone = async {
        while engine.app(&app.name).await.unwrap().serving.standby.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the standby is not retired");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_to_a_release_five_deployments_ago_restores_it_exactly() {
    if !can_be_tested("docker") {
        return;
    }
    let scene = Scene::new(Scenario::Replace, "none");
    versions::build_images(scene.commits()).await;
    let docker = Docker::new(&scene.installation().await, scene.name());
    let store = SqliteStore::open(SqliteConfig::new(scene.state().join("quark.db"))).await.unwrap();
    let socket = std::env::var_os("QUARK_TEST_DOCKER").unwrap();
    let runtime = DockerConfig::new().with_socket(socket).with_ports(scene.ports());
    let runtime = DockerRuntime::connect(runtime).await.unwrap();
    let builder = runtime.builder();
    let users = scene.listen("docker");
    let nginx = NginxConfig::own(scene.state().join("nginx"), users).with_binary(nginx_or_skip().unwrap());
    let router = NginxRouter::open(nginx).await.unwrap();
    let config = EngineConfig::new(scene.state().join("work"));
    let engine = DeploymentEngine::builder(store.clone(), store.queue(), runtime, router)
        .with_config(config)
        .with_local_repositories(scene.folder())
        .with_builder_dyn(Arc::new(builder))
        .with_source(GitFetcher::new())
        .start()
        .await
        .unwrap();

    let first = release(&scene, 1);
    engine.create_app(first.clone()).await.unwrap();
    let mut deployments = Vec::new();
    let mut then = Value::Null;
    for number in 1..=6 {
        if number > 1 {
            let record = engine.app(&first.name).await.unwrap();
            engine.update_app(release(&scene, number), record.version).await.unwrap();
        }
        let asked = engine.deploy(&first.name, commit(&scene, number)).await.unwrap();
        deployments.push(ends_well(&engine, asked).await);
        alone(&engine, &first).await;
        if number == 1 {
            then = described(&docker, "1");
        }
    }
    let last = described(&docker, "2");
    assert_ne!((&last["image"], &last["args"]), (&then["image"], &then["args"]), "they are different releases");

    let request = RollbackRequest { to: Some(deployments[0].id), ..RollbackRequest::default() };
    let back = engine.rollback(&first.name, request).await.unwrap();
    let back = ends_well(&engine, back).await;
    alone(&engine, &first).await;
    assert_eq!(described(&docker, "1"), then, "what runs is what ran then");
    assert_eq!(*back.release, first, "and what is said about it: its health check, too");
    let of_first = (&deployments[0].artifact, &deployments[0].revision);
    assert_eq!((&back.artifact, &back.revision), of_first);
    assert_eq!(docker.containers().len(), 1);
    assert_eq!(served(users).await.version, "1");
    engine.shutdown().await;
    store.close().await.unwrap();
}
