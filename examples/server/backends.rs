//! The backends that were asked for.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use quark_core::backend::{self, ContainerRuntime, ImageBuilder};
use quark_core::process::LinuxHost;
use quark_docker::{DockerBuilder, DockerConfig, DockerRuntime};
use quark_local::{LocalBuilder, LocalConfig, LocalRuntime, ProxyConfig, ProxyRouter};
use quark_nginx::{NginxConfig, NginxRouter};

use crate::config::{Config, Router, Runtime};

/// What users' requests come in through.
pub(crate) enum Front {
    Proxy(ProxyRouter),
    Nginx(NginxRouter, SocketAddr),
}

impl Front {
    pub(crate) async fn open(config: &Config) -> Result<Self> {
        match config.router {
            Router::Proxy => {
                let proxy = ProxyRouter::bind(ProxyConfig::new(config.apps_listen)).await.map_err(explained)?;
                Ok(Self::Proxy(proxy))
            }
            Router::Nginx => {
                let prefix = std::path::absolute(config.state.join("nginx"))?;
                let nginx = NginxRouter::open(NginxConfig::own(prefix, config.apps_listen)).await.map_err(explained)?;
                Ok(Self::Nginx(nginx, config.apps_listen))
            }
        }
    }

    /// The proxy in this process, if it is one.
    pub(crate) fn proxy(&self) -> Option<&ProxyRouter> {
        match self {
            Self::Proxy(proxy) => Some(proxy),
            Self::Nginx(..) => None,
        }
    }

    pub(crate) fn router(&self) -> Arc<dyn backend::Router> {
        match self {
            Self::Proxy(proxy) => Arc::new(proxy.clone()),
            Self::Nginx(nginx, _) => Arc::new(nginx.clone()),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Proxy(proxy) => proxy.local_addr(),
            Self::Nginx(_, address) => *address,
        }
    }

    /// Finishes what is in flight. nginx goes on without us.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        if let Self::Proxy(proxy) = self {
            let drained = proxy.shutdown(grace).await;
            tracing::info!(?drained, "the proxy has ended");
        }
    }
}

/// An error with its causes and its hint: whoever starts a server reads it.
fn explained(error: quark_core::Error) -> anyhow::Error {
    anyhow::Error::msg(error.report())
}

/// Where Docker keeps images and containers, unless it was told otherwise.
const DOCKER: &str = "/var/lib/docker";

/// What tells how much room this machine has.
pub(crate) fn host(config: &Config) -> LinuxHost {
    let host = LinuxHost::new().with_disk(&config.state);
    match config.runtime {
        // Apps are children of this process, and so share its limits.
        Runtime::Local => host.within_own_limits(),
        Runtime::Docker if Path::new(DOCKER).exists() => host.with_disk(DOCKER),
        Runtime::Docker => host,
    }
}

/// What builds and runs the apps.
pub(crate) async fn containers(config: &Config) -> Result<(Arc<dyn ContainerRuntime>, Arc<dyn ImageBuilder>)> {
    match config.runtime {
        Runtime::Local => {
            let mut local = LocalConfig::new(std::path::absolute(config.state.join("local"))?);
            if let Some(ports) = &config.ports {
                local = local.with_ports(ports.clone());
            }
            Ok((Arc::new(LocalRuntime::open(local.clone())?), Arc::new(LocalBuilder::open(local)?)))
        }
        Runtime::Docker => {
            let mut docker = DockerConfig::new();
            if let Some(socket) = &config.docker_socket {
                docker = docker.with_socket(socket);
            }
            if let Some(ports) = &config.ports {
                docker = docker.with_ports(ports.clone());
            }
            let runtime = DockerRuntime::connect(docker).await.map_err(explained)?;
            let builder = DockerBuilder::new(&runtime);
            Ok((Arc::new(runtime), Arc::new(builder)))
        }
    }
}
