//! `ProxyRouter`: the proxy as the engine and its host see it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{AnalysisSource, Call, Drained, EffectiveRoute, Route, Router, Traffic};
use quark_core::{AppName, Endpoint, Error, ErrorKind, Result, Slot};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::accept;
use super::config::ProxyConfig;
use super::edge::Edge;

/// How long clients that send one request after the other get to learn from an
/// answer that the proxy ends. Those that say nothing are closed then.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// A reverse proxy in this process that is a [`Router`]. Clones are the same proxy.
///
/// Routes live as long as the proxy does; the engine applies them again when it
/// starts. When the last clone is dropped, no further clients are accepted, and
/// requests that are on their way go on in the background as long as the
/// runtime does; [`shutdown`](Self::shutdown) waits for them.
///
/// ```no_run
/// # async fn example() -> quark_core::Result<()> {
/// use std::time::Duration;
///
/// use quark_local::{ProxyConfig, ProxyRouter};
///
/// let router = ProxyRouter::bind(ProxyConfig::new(([127, 0, 0, 1], 8080).into())).await?;
/// println!("serving at http://{}", router.local_addr());
/// // Give a clone to the engine, and in the end:
/// router.shutdown(Duration::from_secs(30)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ProxyRouter {
    handle: Arc<Handle>,
}

struct Handle {
    edge: Arc<Edge>,
    address: SocketAddr,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.edge.stop();
        self.edge.hush.cancel();
    }
}

impl ProxyRouter {
    /// Starts to listen. Call it on a runtime with IO and time; the proxy runs there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit that lets nothing through,
    /// [`ErrorKind::Unavailable`] with code `address_in_use`,
    /// [`ErrorKind::PermissionDenied`] for a port that only root may use, and
    /// [`ErrorKind::InvalidConfig`] for an address that this machine does not have.
    pub async fn bind(config: ProxyConfig) -> Result<Self> {
        config.check()?;
        let refused = |error| bind_error(config.listen, error);
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let edge = Arc::new(Edge::new(config, address));
        edge.tasks.spawn(accept::run(listener, Arc::clone(&edge)));
        Ok(Self { handle: Arc::new(Handle { edge, address }) })
    }

    /// The address that clients connect to; with the port that was taken if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.address
    }

    /// Ends the proxy: accepts no further clients, tells those that are there to
    /// leave with their next answer, closes connections without a request, and
    /// waits at most `grace` for requests and upgraded connections that are on
    /// their way. What is left then is cut; the result tells how many that were.
    ///
    /// It is the same proxy that ends for every clone. Dropping the future cuts
    /// nothing: what has begun to end goes on.
    pub async fn shutdown(&self, grace: Duration) -> Drained {
        let edge = &self.handle.edge;
        let deadline = Instant::now().checked_add(grace);
        edge.stop();
        edge.tasks.close();
        let last_answers = LAST_ANSWERS.min(grace / 2);
        if tokio::time::timeout(last_answers, edge.tasks.wait()).await.is_err() {
            edge.hush.cancel();
        }
        let ended = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, edge.tasks.wait()).await.is_ok(),
            // So far away that it never comes.
            None => {
                edge.tasks.wait().await;
                true
            }
        };
        let open = if ended { 0 } else { u64::try_from(edge.tasks.len()).unwrap_or(u64::MAX) };
        edge.cut.cancel();
        edge.tasks.wait().await;
        edge.table.close_idle();
        if open == 0 { Drained::Fully } else { Drained::TimedOut { open } }
    }
}

impl fmt::Debug for ProxyRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRouter")
            .field("address", &self.handle.address)
            .field("routes", &self.handle.edge.table.len())
            .finish_non_exhaustive()
    }
}

fn bind_error(address: SocketAddr, error: io::Error) -> Error {
    let message = format!("the proxy cannot listen on `{address}`");
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(ErrorKind::Unavailable, message)
            .with_code("address_in_use")
            .with_hint("another program listens there; end it or choose another port"),
        io::ErrorKind::PermissionDenied => Error::new(ErrorKind::PermissionDenied, message)
            .with_hint("ports below 1024 are for root or for a program with CAP_NET_BIND_SERVICE"),
        io::ErrorKind::AddrNotAvailable => Error::new(ErrorKind::InvalidConfig, message)
            .with_hint("give an address of this machine, or 0.0.0.0 or [::] for all of them"),
        _ => Error::new(ErrorKind::Unavailable, message),
    }
    .with_operation("proxy.bind")
    .with_source(error)
}

#[async_trait]
impl Router for ProxyRouter {
    fn splits(&self) -> bool {
        true
    }

    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        call.bound("router.apply", async { self.handle.edge.table.apply(route) }).await
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        Ok(self.handle.edge.table.observe(app))
    }

    fn entrance(&self) -> Option<Endpoint> {
        Some(Endpoint::on_this_machine(self.handle.address))
    }

    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        let places = self.handle.edge.table.upstreams(app, slot, endpoint);
        let emptied = async {
            for place in &places {
                place.emptied().await;
            }
        };
        if tokio::time::timeout(longest, emptied).await.is_ok() {
            return Ok(Drained::Fully);
        }
        match places.iter().map(|place| place.open()).sum() {
            0 => Ok(Drained::Fully),
            open => Ok(Drained::TimedOut { open }),
        }
    }

    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        call.bound("router.remove", async { self.handle.edge.table.remove(app, call.fence) }).await
    }
}

/// What every request has come to that passed through this proxy, for 15 min.
/// An answer that is cut after its first byte counts as an answer.
#[async_trait]
impl AnalysisSource for ProxyRouter {
    async fn traffic(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, window: Duration) -> Result<Traffic> {
        // An address that was left and is taken again keeps its own numbers.
        let places = self.handle.edge.table.upstreams(app, slot, endpoint);
        Ok(places.first().map(|place| place.traffic.recent(window)).unwrap_or_default())
    }
}
