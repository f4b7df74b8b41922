//! `ProxyConfig`: where the proxy listens, and its limits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use quark_core::{Error, Result};

/// The smallest buffer that an HTTP head is read into.
const SMALLEST_HEAD: usize = 8 * 1024;

/// Where a [`ProxyRouter`](super::ProxyRouter) listens, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ProxyConfig {
    pub(super) listen: SocketAddr,
    pub(super) connect_timeout: Duration,
    pub(super) header_timeout: Duration,
    pub(super) max_header_bytes: usize,
    pub(super) max_headers: usize,
    pub(super) max_connections: usize,
    pub(super) trusted_peers: Vec<IpAddr>,
}

impl ProxyConfig {
    /// The number of header fields that costs no allocation per request.
    pub(super) const USUAL_HEADERS: usize = 100;

    /// A proxy that listens on `listen`; port 0 takes a free one.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            connect_timeout: Duration::from_secs(2),
            header_timeout: Duration::from_secs(30),
            max_header_bytes: 64 * 1024,
            max_headers: Self::USUAL_HEADERS,
            max_connections: 10_000,
            trusted_peers: Vec::new(),
        }
    }

    /// How long connecting to a slot may take: 2 s. The request is answered
    /// with 504 then, or by the other slot where it stands in.
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long a client may take for the head of a request, counted from the
    /// end of the one before: 30 s. So it also ends connections that are not used.
    pub fn with_header_timeout(mut self, limit: Duration) -> Self {
        self.header_timeout = limit;
        self
    }

    /// How long the head of a request may be: 64 KiB, at least 8 KiB. Longer
    /// ones are answered with 431.
    pub fn with_max_header_bytes(mut self, limit: usize) -> Self {
        self.max_header_bytes = limit;
        self
    }

    /// How many header fields a request may have: 100. More are answered with
    /// 431. Another number than 100 costs an allocation per request.
    pub fn with_max_headers(mut self, limit: usize) -> Self {
        self.max_headers = limit;
        self
    }

    /// How many clients may be connected at once: 10,000. Further ones wait
    /// until one leaves.
    pub fn with_max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit;
        self
    }

    /// The proxies in front of this one, such as the one that speaks TLS: their
    /// `X-Forwarded-*` and `X-Real-IP` are believed, and their own address is
    /// appended to `X-Forwarded-For`. None by default.
    pub fn with_trusted_peers(mut self, peers: impl IntoIterator<Item = IpAddr>) -> Self {
        self.trusted_peers = peers.into_iter().map(|peer| peer.to_canonical()).collect();
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, message: &str| Err(Error::invalid(field, "invalid_limit", message));
        if self.max_header_bytes < SMALLEST_HEAD {
            return refuse("proxy.max_header_bytes", "a head of a request may not be limited to less than 8192 bytes");
        }
        if self.max_headers == 0 {
            return refuse("proxy.max_headers", "each request has at least one header field");
        }
        if self.max_connections == 0 || self.max_connections > tokio::sync::Semaphore::MAX_PERMITS {
            return refuse("proxy.max_connections", "this number of connections cannot be allowed");
        }
        if self.connect_timeout.is_zero() || self.header_timeout.is_zero() {
            return refuse("proxy.timeouts", "nothing can be done in no time");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        let base = || ProxyConfig::new((Ipv4Addr::LOCALHOST, 0).into());
        base().check().unwrap();
        for bad in [
            base().with_max_header_bytes(8191),
            base().with_max_headers(0),
            base().with_max_connections(0),
            base().with_max_connections(usize::MAX),
            base().with_connect_timeout(Duration::ZERO),
            base().with_header_timeout(Duration::ZERO),
        ] {
            assert_eq!(bad.check().unwrap_err().code(), "invalid_limit", "{bad:?}");
        }
    }
}
