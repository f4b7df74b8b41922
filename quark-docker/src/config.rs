//! `DockerConfig`: which daemon, and within which bounds.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::{Error, Result};

/// Which daemon to use, and within which bounds.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    socket: PathBuf,
    ports: RangeInclusive<u16>,
    request_timeout: Duration,
    context_limit: u64,
    build_memory: Option<u64>,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/var/run/docker.sock"),
            ports: 30_000..=39_999,
            request_timeout: Duration::from_secs(30),
            context_limit: 2 << 30,
            build_memory: Some(4 << 30),
        }
    }
}

impl DockerConfig {
    /// The daemon at `/var/run/docker.sock`, ports 30000 to 39999, 30 s for a
    /// request, 2 GiB for a build's files and 4 GiB for a build's memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses the daemon that listens at this Unix socket.
    #[must_use]
    pub fn with_socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.socket = socket.into();
        self
    }

    /// Publishes containers on these ports of the loopback address. Those that
    /// the kernel lends to outgoing connections (`ip_local_port_range`) are
    /// given out last, because such a connection may hold one when it is needed.
    #[must_use]
    pub fn with_ports(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ports = ports;
        self
    }

    /// Waits that long for the daemon to answer a request. Pulling, building
    /// and the grace time of a stop are not part of it.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Refuses source trees of which more than that many bytes would be sent
    /// to the daemon.
    #[must_use]
    pub fn with_context_limit(mut self, bytes: u64) -> Self {
        self.context_limit = bytes;
        self
    }

    /// Lets each step of a build use that many bytes of memory, or all there
    /// is with `None`.
    #[must_use]
    pub fn with_build_memory(mut self, bytes: Option<u64>) -> Self {
        self.build_memory = bytes;
        self
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The ports that containers are published on.
    #[must_use]
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    /// How long a request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// How many bytes of a source tree are sent at most.
    #[must_use]
    pub fn context_limit(&self) -> u64 {
        self.context_limit
    }

    /// How much memory a step of a build may use, if it is bounded.
    #[must_use]
    pub fn build_memory(&self) -> Option<u64> {
        self.build_memory
    }

    /// The socket as the text that requests need.
    pub(crate) fn socket_text(&self) -> Result<&str> {
        self.socket.to_str().ok_or_else(|| {
            Error::invalid("docker.socket", "invalid_socket", "the path of the socket is not plain text")
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.socket_text()?;
        if self.ports.is_empty() || *self.ports.start() == 0 {
            return Err(Error::invalid("docker.ports", "invalid_port_range", "the range holds no usable port")
                .with_hint("give a range such as 30000..=39999"));
        }
        if self.request_timeout.is_zero() {
            return Err(Error::invalid("docker.request_timeout", "invalid_timeout", "no request is done in no time"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_work() {
        assert!(DockerConfig::new().check().is_ok());
        #[allow(clippy::reversed_empty_ranges, reason = "an empty range is the point")]
        let empty = DockerConfig::new().with_ports(9..=8);
        for (config, code) in [
            (empty, "invalid_port_range"),
            (DockerConfig::new().with_ports(0..=8), "invalid_port_range"),
            (DockerConfig::new().with_request_timeout(Duration::ZERO), "invalid_timeout"),
        ] {
            assert_eq!(config.check().unwrap_err().code(), code);
        }
    }
}
