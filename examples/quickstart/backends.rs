//! What the quickstart runs on: processes and the in-process proxy, or Docker
//! and nginx. The engine is the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "docker", feature = "nginx"))]
use anyhow::Context;
use anyhow::{Result, bail};
use quark_core::DeploymentEngine;
use quark_core::backend::{ContainerRuntime, ImageBuilder, Router};
use quark_core::git::GitFetcher;
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime, ProxyConfig, ProxyRouter};
use quark_store::{SqliteConfig, SqliteStore};

/// What was asked for on the command line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) docker: bool,
    pub(crate) nginx: bool,
}

impl Choice {
    pub(crate) fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut choice = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--docker" => choice.docker = true,
                "--nginx" => choice.nginx = true,
                other => bail!("unknown argument `{other}`; there are --docker and --nginx"),
            }
        }
        Ok(choice)
    }

    pub(crate) fn describe(self) -> String {
        let runtime = if self.docker { "Docker containers" } else { "processes" };
        let router = if self.nginx { "nginx" } else { "the in-process proxy" };
        format!("{runtime} behind {router}, SQLite")
    }
}

/// An engine with everything around it.
pub(crate) struct World {
    pub(crate) engine: DeploymentEngine,
    /// Where users' requests go to.
    pub(crate) address: SocketAddr,
    store: SqliteStore,
    front: Front,
}

enum Front {
    Proxy(ProxyRouter),
    #[cfg(feature = "nginx")]
    Nginx(quark_nginx::NginxRouter),
}

impl World {
    pub(crate) async fn start(choice: &Choice, folder: &Path) -> Result<Self> {
        let store = SqliteStore::open(SqliteConfig::new(folder.join("quark.db"))).await?;
        let (front, router, address) = front(choice, folder).await?;
        let (runtime, builder) = containers(choice, folder).await?;
        let engine = DeploymentEngine::builder_dyn(Arc::new(store.clone()), Arc::new(store.queue()), runtime, router);
        let engine = match &front {
            // It sees each request, and so knows what users get.
            Front::Proxy(proxy) => engine.with_analysis(proxy.clone()),
            #[cfg(feature = "nginx")]
            Front::Nginx(_) => engine,
        };
        let engine = engine
            .with_builder_dyn(builder)
            .with_source(GitFetcher::new())
            .with_work_dir(folder.join("work"))
            .with_local_repositories(folder)
            .start()
            .await?;
        Ok(Self { engine, address, store, front })
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.engine.shutdown().await;
        match self.front {
            Front::Proxy(proxy) => {
                proxy.shutdown(Duration::from_secs(1)).await;
            }
            #[cfg(feature = "nginx")]
            Front::Nginx(nginx) => nginx.stop_nginx().await?,
        }
        self.store.close().await?;
        Ok(())
    }
}

#[cfg_attr(not(feature = "nginx"), allow(unused_variables, reason = "only nginx needs a folder"))]
async fn front(choice: &Choice, folder: &Path) -> Result<(Front, Arc<dyn Router>, SocketAddr)> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if choice.nginx {
        #[cfg(feature = "nginx")]
        {
            // nginx must be told a port; a free one is found by asking for any.
            let listen = std::net::TcpListener::bind(any)?.local_addr()?;
            let config = quark_nginx::NginxConfig::own(folder.join("nginx"), listen);
            let nginx = quark_nginx::NginxRouter::open(config).await.context("nginx")?;
            return Ok((Front::Nginx(nginx.clone()), Arc::new(nginx), listen));
        }
        #[cfg(not(feature = "nginx"))]
        bail!("--nginx needs `--features nginx`");
    }
    let proxy = ProxyRouter::bind(ProxyConfig::new(any)).await?;
    let address = proxy.local_addr();
    Ok((Front::Proxy(proxy.clone()), Arc::new(proxy), address))
}

async fn containers(choice: &Choice, folder: &Path) -> Result<(Arc<dyn ContainerRuntime>, Arc<dyn ImageBuilder>)> {
    if choice.docker {
        #[cfg(feature = "docker")]
        {
            let mut config = quark_docker::DockerConfig::new();
            // What Docker's own client obeys.
            let host = std::env::var("DOCKER_HOST").unwrap_or_default();
            if let Some(socket) = host.strip_prefix("unix://") {
                config = config.with_socket(socket);
            }
            let docker = quark_docker::DockerRuntime::connect(config).await.context("Docker")?;
            let builder = quark_docker::DockerBuilder::new(&docker);
            return Ok((Arc::new(docker), Arc::new(builder)));
        }
        #[cfg(not(feature = "docker"))]
        bail!("--docker needs `--features docker`");
    }
    let config = LocalConfig::new(folder.join("local"));
    let runtime = LocalRuntime::open(config.clone())?;
    Ok((Arc::new(runtime), Arc::new(LocalBuilder::open(config)?)))
}
