//! What the reference server can be told.

use std::fs::{self, DirBuilder, File, Permissions};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::BoolishValueParser;
use clap::{Parser, ValueEnum};
use quark_core::HostPolicy;

/// QUARK's reference server.
#[derive(Clone, Debug, Parser)]
#[command(name = "quark-server", version, about)]
pub(crate) struct Config {
    /// Where everything is kept
    #[arg(long, env = "QUARK_STATE", default_value = "./quark-state")]
    pub(crate) state: PathBuf,
    /// Where the API listens
    #[arg(long, env = "QUARK_LISTEN", default_value = "127.0.0.1:8181")]
    pub(crate) listen: SocketAddr,
    /// Where users reach the apps
    #[arg(long, env = "QUARK_APPS_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) apps_listen: SocketAddr,
    /// What runs the apps
    #[arg(long, env = "QUARK_RUNTIME", value_enum, default_value_t = Runtime::Local)]
    pub(crate) runtime: Runtime,
    /// What sends requests to them
    #[arg(long, env = "QUARK_ROUTER", value_enum, default_value_t = Router::Proxy)]
    pub(crate) router: Router,
    /// Docker's socket, instead of the usual one
    #[arg(long, env = "QUARK_DOCKER_SOCKET")]
    pub(crate) docker_socket: Option<PathBuf>,
    /// The ports of this machine that apps get, as FIRST-LAST
    #[arg(long, env = "QUARK_PORTS", value_parser = ports)]
    pub(crate) ports: Option<RangeInclusive<u16>>,
    /// Every app answers to NAME.DOMAIN
    #[arg(long, env = "QUARK_BASE_DOMAIN", default_value = "localhost")]
    pub(crate) base_domain: String,
    /// Allow `file://` repositories below this folder (may be repeated)
    #[arg(long)]
    pub(crate) allow_local_repositories: Vec<PathBuf>,
    /// Refuse nothing for lack of room on this machine
    #[arg(long, env = "QUARK_NO_HOST_LIMITS", value_parser = BoolishValueParser::new())]
    pub(crate) no_host_limits: bool,
    /// Build nothing while the load is over so many thousandths of the CPUs
    #[arg(long, env = "QUARK_HOST_CPU_LOAD", default_value_t = HostPolicy::default().cpu_load_permille)]
    pub(crate) host_cpu_load: u32,
    /// Let apps have so many thousandths of the memory
    #[arg(long, env = "QUARK_HOST_MEMORY", default_value_t = HostPolicy::default().memory_permille)]
    pub(crate) host_memory: u32,
    /// Build nothing while less than so many thousandths of the disk are free
    #[arg(long, env = "QUARK_HOST_DISK_FREE", default_value_t = HostPolicy::default().disk_free_permille)]
    pub(crate) host_disk_free: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Runtime {
    /// Processes of this user
    Local,
    /// Docker containers
    Docker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Router {
    /// A proxy in this process; apps cannot be reached while the server is down
    Proxy,
    /// An nginx of its own, which goes on while the server is down
    Nginx,
}

/// A range such as `30000-39999`.
fn ports(text: &str) -> Result<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').context("write it as FIRST-LAST")?;
    let ports = first.trim().parse()?..=last.trim().parse()?;
    if ports.is_empty() {
        bail!("the first port comes after the last");
    }
    Ok(ports)
}

impl Config {
    /// How much of this machine apps may have.
    pub(crate) fn host_policy(&self) -> HostPolicy {
        let mut policy = HostPolicy::default();
        policy.cpu_load_permille = self.host_cpu_load;
        policy.memory_permille = self.host_memory;
        policy.disk_free_permille = self.host_disk_free;
        policy
    }

    /// Makes the state folder and claims it for this process.
    pub(crate) fn lock_state(&self) -> Result<File> {
        // nginx's workers must find their way to the markers in it. What is
        // secret in it has closed modes of its own.
        let mode = if self.router == Router::Nginx { 0o711 } else { 0o700 };
        DirBuilder::new().recursive(true).mode(mode).create(&self.state).context("the state folder cannot be made")?;
        fs::set_permissions(&self.state, Permissions::from_mode(mode)).context("the state folder is not ours")?;
        let lock = File::create(self.state.join("lock")).context("the state folder cannot be written")?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) => {
                bail!("another server uses {}; give this one another --state", self.state.display())
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error).context("the state folder cannot be locked"),
        }
    }
}
