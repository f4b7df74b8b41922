//! An engine on real backends whose process dies by SIGKILL at a given point,
//! for the tests of recovery. Lines on standard input are commands, lines on
//! standard output say what has happened.
//!
//! ```text
//! crash-host STATE WORLD LISTEN FIRST-PORT LAST-PORT [POINT]
//!   WORLD  proxy   processes behind the proxy in this process
//!          nginx   processes behind nginx
//!          docker  containers behind nginx
//!   POINT  where to die, if that is to be at its start
//! It says `ready ADDRESS INSTALLATION`, and then obeys:
//!   create GRACE-MS      make the app known
//!   deploy COMMIT        ask for a version, do not wait for it
//!   rollback, remove     likewise
//!   reach POINT          wait until the newest deployment is there: `step:STEP` has
//!                        begun, or `log:TEXT` was said
//!   cancel               stop the newest deployment
//!   wait                 wait until all deployments have ended; says how the newest did
//!   retired              wait until there is no standby
//!   refuse               let the router deny every change to the green slot
//!   die POINT            die when it is reached:
//!     before:STEP     the intent of the step is asked for, nothing is written
//!     intent:STEP     the intent is in the store, the step has not begun
//!     outcome:STEP    the step is done or has failed, which is not in the store
//!     after:STEP      it is in the store, nobody was told
//!     before:STATE    a deployment is about to enter the state
//!     after:STATE     it has, and nobody was told
//!     before:cancel   somebody wants a deployment to stop
//!     after:cancel    the wish is in the store
//!     log:TEXT        the deployment's log says this
//! ```

mod doubtful;
mod mortal;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use quark_core::backend::{ContainerRuntime, ImageBuilder, Router, Store};
use quark_core::git::GitFetcher;
use quark_core::{
    App, AppName, CommitSha, DeployRequest, Deployment, DeploymentEngine, EngineConfig, EventKind, HealthCheck,
    OwnerId, RollbackRequest, Source, Timing,
};
use quark_docker::{DockerConfig, DockerRuntime};
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime, ProxyConfig, ProxyRouter};
use quark_nginx::{NginxConfig, NginxRouter};
use quark_store::{SqliteConfig, SqliteStore};
use tokio::io::{AsyncBufReadExt, BufReader};

use doubtful::Doubtful;
use mortal::Mortal;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("{what} is missing"));
    let state = PathBuf::from(next("STATE")?);
    let (world, listen) = (next("WORLD")?, next("LISTEN")?.parse()?);
    let ports = next("FIRST-PORT")?.parse()?..=next("LAST-PORT")?.parse()?;

    let store = SqliteStore::open(SqliteConfig::new(state.join("quark.db"))).await?;
    let installation = store.installation().await?;
    let (runtime, builder) = containers(&world, &state, ports).await?;
    let (router, address) = front(&world, &state, listen).await?;
    let config = EngineConfig {
        owner: OwnerId::parse("crash-host")?,
        local_repositories: vec![state.clone()],
        ..EngineConfig::new(state.join("work"))
    };
    let mortal = Arc::new(Mortal::new(store.clone()));
    if let Some(point) = arguments.next() {
        mortal.die_at(point.parse()?);
    }
    let doubtful = Arc::new(Doubtful::new(router, state.join("refuse")));
    let queue = Arc::new(store.queue());
    let engine =
        DeploymentEngine::builder_dyn(Arc::<Mortal>::clone(&mortal), queue, runtime, Arc::<Doubtful>::clone(&doubtful))
            .with_config(config)
            .with_builder_dyn(builder)
            .with_source(GitFetcher::new())
            .start()
            .await?;
    say(&format!("ready {address} {installation}"));
    let host = Host { name: "shop".parse()?, engine, state, mortal, doubtful };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        say(&host.obey(&line).await?);
    }
    host.engine.shutdown().await;
    Ok(())
}

async fn containers(
    world: &str,
    state: &Path,
    ports: RangeInclusive<u16>,
) -> Result<(Arc<dyn ContainerRuntime>, Arc<dyn ImageBuilder>)> {
    if world == "docker" {
        let socket = std::env::var_os("QUARK_TEST_DOCKER").context("QUARK_TEST_DOCKER is missing")?;
        let docker = DockerRuntime::connect(DockerConfig::new().with_socket(socket).with_ports(ports)).await?;
        let builder = docker.builder();
        return Ok((Arc::new(docker), Arc::new(builder)));
    }
    let local = LocalConfig::new(state.join("local")).with_ports(ports);
    Ok((Arc::new(LocalRuntime::open(local.clone())?), Arc::new(LocalBuilder::open(local)?)))
}

async fn front(world: &str, state: &Path, listen: SocketAddr) -> Result<(Arc<dyn Router>, SocketAddr)> {
    match world {
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
        other => bail!("unknown world `{other}`"),
    }
}

/// What commands are about.
struct Host {
    engine: DeploymentEngine,
    name: AppName,
    state: PathBuf,
    mortal: Arc<Mortal>,
    doubtful: Arc<Doubtful>,
}

impl Host {
    /// Follows a command; returns what there is to say then.
    async fn obey(&self, line: &str) -> Result<String> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let said = match command {
            "create" => {
                self.engine.create_app(self.app(Duration::from_millis(argument.parse()?))?).await?;
                "created"
            }
            "deploy" => {
                let request = DeployRequest::commit(CommitSha::parse(argument)?);
                self.engine.deploy(&self.name, request).await?;
                "asked"
            }
            "rollback" => {
                self.engine.rollback(&self.name, RollbackRequest::default()).await?;
                "asked"
            }
            "remove" => {
                self.engine.remove_app(&self.name, "test").await?;
                "asked"
            }
            "cancel" => {
                self.engine.cancel(self.newest().await?.id, "test").await?;
                "cancelled"
            }
            "reach" => {
                self.reach(argument).await?;
                "reached"
            }
            "wait" => return self.wait().await,
            "retired" => {
                while self.engine.app(&self.name).await?.serving.standby.is_some() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                "retired"
            }
            "refuse" => {
                self.doubtful.refuse()?;
                "refusing"
            }
            "die" => {
                self.mortal.die_at(argument.parse()?);
                "mortal"
            }
            other => bail!("unknown command `{other}`"),
        };
        Ok(said.to_owned())
    }

    async fn newest(&self) -> Result<Deployment> {
        let deployments = self.engine.deployments(&self.name, None, 1).await?;
        deployments.into_iter().next().context("there is no deployment")
    }

    /// Waits until all deployments have ended; how the newest did.
    async fn wait(&self) -> Result<String> {
        for deployment in self.engine.deployments(&self.name, None, 100).await? {
            self.engine.wait(deployment.id).await?;
        }
        let newest = self.newest().await?;
        let failure = newest.failure.map(|failure| format!(" {failure}")).unwrap_or_default();
        Ok(format!("{}{failure}", newest.conclusion.map_or("stuck", |conclusion| conclusion.as_str())))
    }

    async fn reach(&self, point: &str) -> Result<()> {
        let id = self.newest().await?.id;
        match point.split_once(':') {
            Some(("step", wanted)) => {
                let mut events = self.engine.watch(id, 0);
                while let Some(event) = events.try_next().await? {
                    if matches!(event.kind, EventKind::StepStarted { step, .. } if step.as_str() == wanted) {
                        return Ok(());
                    }
                }
            }
            Some(("log", wanted)) => {
                let mut lines = self.engine.log(id, 0, true);
                while let Some(line) = lines.try_next().await? {
                    if line.text == wanted {
                        return Ok(());
                    }
                }
            }
            _ => bail!("`{point}` is not a point to wait for"),
        }
        bail!("the deployment has ended without `{point}`")
    }

    fn app(&self, grace: Duration) -> Result<App> {
        let source = Source::git(&format!("file://{}", self.state.join("repository").display()), "main")?;
        let health = HealthCheck { interval: Duration::from_millis(50), ..HealthCheck::http("/healthz".parse()?) };
        let timing = Timing { grace, drain: Duration::from_secs(10), ..Timing::default() };
        Ok(App::new("shop", source)?.with_health(health.with_deadline(Duration::from_secs(60))).with_timing(timing))
    }
}

#[allow(clippy::print_stdout, reason = "the test that started this process reads it")]
fn say(text: &str) {
    println!("{text}");
}
