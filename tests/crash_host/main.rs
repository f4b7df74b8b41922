//! An engine on real backends whose process dies by SIGKILL at a given point,
//! for the tests of recovery. Lines on standard input are commands, lines on
//! standard output say what has happened.
//!
//! ```text
//! crash-host STATE ROUTER LISTEN [DIE]
//!   ROUTER  proxy | nginx | docker (containers behind nginx)
//!   DIE     intent:STEP   when the intent of the step is in the store
//!           outcome:STEP  when the step is done and its outcome is not in the store
//!           log:TEXT      when the deployment's log says TEXT
//! ```

mod mortal;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use quark_core::backend::{ContainerRuntime, ImageBuilder, Router};
use quark_core::git::GitFetcher;
use quark_core::{
    App, AppName, CommitSha, DeployRequest, DeploymentEngine, EngineConfig, HealthCheck, OwnerId, Source, Timing,
};
use quark_docker::{DockerConfig, DockerRuntime};
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime, ProxyConfig, ProxyRouter};
use quark_nginx::{NginxConfig, NginxRouter};
use quark_store::{SqliteConfig, SqliteStore};
use tokio::io::{AsyncBufReadExt, BufReader};

use mortal::{Mortal, Point};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("{what} is missing"));
    let state = PathBuf::from(next("STATE")?);
    let (router, listen) = (next("ROUTER")?, next("LISTEN")?.parse()?);
    let point = arguments.next().map(|text| text.parse::<Point>()).transpose()?;

    let store = SqliteStore::open(SqliteConfig::new(state.join("quark.db"))).await?;
    let (runtime, builder) = containers(&router, &state).await?;
    let (router, address) = front(&router, &state, listen).await?;
    let config = EngineConfig {
        owner: OwnerId::parse("crash-host")?,
        local_repositories: vec![state.clone()],
        ..EngineConfig::new(state.join("work"))
    };
    let engine = DeploymentEngine::builder_dyn(
        Arc::new(Mortal::new(store.clone(), point)),
        Arc::new(store.queue()),
        runtime,
        router,
    )
    .with_config(config)
    .with_builder_dyn(builder)
    .with_source(GitFetcher::new())
    .start()
    .await?;
    say(&format!("ready {address}"));
    obey(&engine, &state).await?;
    engine.shutdown().await;
    Ok(())
}

async fn containers(router: &str, state: &Path) -> Result<(Arc<dyn ContainerRuntime>, Arc<dyn ImageBuilder>)> {
    if router == "docker" {
        let socket = std::env::var_os("QUARK_TEST_DOCKER").context("QUARK_TEST_DOCKER is missing")?;
        let docker = DockerRuntime::connect(DockerConfig::new().with_socket(socket)).await?;
        let builder = docker.builder();
        return Ok((Arc::new(docker), Arc::new(builder)));
    }
    let local = LocalConfig::new(state.join("local"));
    Ok((Arc::new(LocalRuntime::open(local.clone())?), Arc::new(LocalBuilder::open(local)?)))
}

async fn front(router: &str, state: &Path, listen: SocketAddr) -> Result<(Arc<dyn Router>, SocketAddr)> {
    match router {
        "proxy" => {
            let proxy = ProxyRouter::bind(ProxyConfig::new(listen)).await?;
            let address = proxy.local_addr();
            Ok((Arc::new(proxy), address))
        }
        "nginx" | "docker" => {
            let mut config = NginxConfig::own(state.join("nginx"), listen);
            if let Some(binary) = std::env::var_os("QUARK_TEST_NGINX") {
                config = config.with_binary(binary);
            }
            Ok((Arc::new(NginxRouter::open(config).await?), listen))
        }
        other => bail!("unknown router `{other}`"),
    }
}

/// Follows commands until there are no more.
async fn obey(engine: &DeploymentEngine, state: &Path) -> Result<()> {
    let name: AppName = "shop".parse()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match command {
            "create" => {
                let grace = Duration::from_millis(argument.parse()?);
                engine.create_app(app(state, grace)?).await?;
                say("created");
            }
            "deploy" => {
                let request = DeployRequest::commit(CommitSha::parse(argument)?);
                let id = engine.deploy(&name, request).await?.id;
                say(&format!("asked {id}"));
                let ended = engine.wait(id).await?;
                let failure = ended.failure.map(|failure| failure.to_string()).unwrap_or_default();
                say(&format!("ended {} {failure}", ended.conclusion.map_or("stuck", |c| c.as_str())));
            }
            "rest" => {
                rest(engine, &name, argument == "retired").await?;
                say("resting");
            }
            "remove" => {
                let id = engine.remove_app(&name, "test").await?.id;
                engine.wait(id).await?;
                say("removed");
            }
            other => bail!("unknown command `{other}`"),
        }
    }
    Ok(())
}

/// Waits until every deployment has ended and, if wanted, the standby is gone.
async fn rest(engine: &DeploymentEngine, name: &AppName, retired: bool) -> Result<()> {
    for deployment in engine.deployments(name, None, 100).await? {
        engine.wait(deployment.id).await?;
    }
    while retired && engine.app(name).await?.serving.standby.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn app(state: &Path, grace: Duration) -> Result<App> {
    let source = Source::git(&format!("file://{}", state.join("repository").display()), "main")?;
    let health = HealthCheck { interval: Duration::from_millis(50), ..HealthCheck::http("/healthz".parse()?) };
    let timing = Timing { grace, drain: Duration::from_secs(10), ..Timing::default() };
    Ok(App::new("shop", source)?.with_health(health.with_deadline(Duration::from_secs(20))).with_timing(timing))
}

#[allow(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say(text: &str) {
    println!("{text}");
}
