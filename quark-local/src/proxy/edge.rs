//! `Edge`: what all clients' connections share, and how one is served.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::ResponseBody;
use super::config::ProxyConfig;
use super::forward::forward;
use super::headers::Peer;
use super::pool::BUFFER;
use super::table::Table;

/// A client that has said nothing for so long is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// How often it is asked while it does not answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(15);
/// How many times, before its connection is cut.
const ASK_TIMES: u32 = 4;

/// What all clients' connections share.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) config: ProxyConfig,
    pub(super) table: Table,
    /// All that must end before the proxy has ended.
    pub(super) tasks: TaskTracker,
    /// No further clients are accepted.
    pub(super) stop: CancellationToken,
    /// Connections without a request are closed.
    pub(super) hush: CancellationToken,
    /// Everything ends at once.
    pub(super) cut: CancellationToken,
    /// As `stop`, but costs nothing to read.
    is_stopping: AtomicBool,
    http: http1::Builder,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) peer: Peer,
    /// Its share of the connections that are allowed.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Edge {
    /// `entry` is the address that clients connect to.
    pub(super) fn new(config: ProxyConfig, entry: SocketAddr) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_header_size(config.max_header_bytes)
            .max_buf_size(config.max_header_bytes.max(BUFFER));
        if config.max_headers != ProxyConfig::USUAL_HEADERS {
            http.max_headers(config.max_headers);
        }
        Self {
            config,
            table: Table::new(entry),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            hush: CancellationToken::new(),
            cut: CancellationToken::new(),
            is_stopping: AtomicBool::new(false),
            http,
        }
    }

    /// Accepts no further clients, and asks those that are there to leave
    /// after their next request.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.stop.cancel();
    }

    /// Serves a client until it or the proxy ends.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a client has gone at once");
            return;
        }
        // Children of their own: asking them takes no lock that others want.
        let (hush, cut) = (self.hush.child_token(), self.cut.child_token());
        let http = self.http.clone();
        let client = Arc::new(Client { peer: Peer::new(address.ip(), &self.config.trusted_peers), _permit: permit });
        let service = service_fn(move |request| {
            let (edge, client) = (Arc::clone(&self), Arc::clone(&client));
            async move { Ok::<_, Infallible>(edge.answer(&client, request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(connection);
        let mut is_hushed = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = cut.cancelled() => return,
                () = hush.cancelled(), if !is_hushed => {
                    is_hushed = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(error) = ended {
            // Clients go away as they like; cut bodies of slots are among these too.
            tracing::debug!(client = %address, %error, "a client's connection was cut");
        }
    }

    async fn answer(&self, client: &Arc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
        let mut response = forward(self, client, request).await;
        if self.is_stopping.load(Ordering::Acquire) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Has answers sent at once, and finds out about clients that are gone without
/// a word: an upgraded connection may be silent for days.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, ASK_AGAIN_AFTER)?;
    sockopt::set_tcp_keepcnt(stream, ASK_TIMES)?;
    Ok(())
}
