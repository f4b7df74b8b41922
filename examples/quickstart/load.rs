//! Users: keep-alive clients, new connections, five-second requests and a
//! WebSocket. Nothing is retried: a request that fails once has failed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const KEEP_ALIVE: usize = 6;
const NEW_CONNECTIONS: usize = 2;
/// A person's pace for each client, so that two cores are left for the rest.
const PAUSE: Duration = Duration::from_millis(5);
/// A request that takes this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a WebSocket stays before it comes again.
const VISIT: Duration = Duration::from_secs(4);

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    slow: AtomicU64,
    messages: AtomicU64,
    failed: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) first_failures: Vec<String>,
    pub(crate) slow_requests: u64,
    pub(crate) web_socket_messages: u64,
}

/// Load that goes on until it is stopped.
pub(crate) struct Load {
    clients: JoinSet<()>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    address: SocketAddr,
    host: &'static str,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, host: &'static str) -> Self {
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for _ in 0..KEEP_ALIVE {
            clients.spawn(keep_alive(address, host, Arc::clone(&counts), stopped.clone()));
        }
        for _ in 0..NEW_CONNECTIONS {
            clients.spawn(new_connections(address, host, Arc::clone(&counts), stopped.clone()));
        }
        clients.spawn(slow(address, host, Arc::clone(&counts), stopped.clone()));
        clients.spawn(web_socket(address, host, Arc::clone(&counts), stopped));
        Self { clients, counts, stop, address, host }
    }

    /// Waits until requests are flowing.
    pub(crate) async fn warmed_up(&self) -> Result<()> {
        let flowing = async {
            while self.counts.requests.load(Ordering::Relaxed) < 100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, flowing).await.context("no requests are answered")
    }

    /// Checks that new requests are answered by this version, and only by it.
    pub(crate) async fn sees(&self, version: &str) -> Result<()> {
        for _ in 0..20 {
            let mut connection = connect(self.address).await?;
            let answer = get(&mut connection, self.host, "/version").await?;
            ensure!(answer == version, "version {answer} answers instead of {version}");
        }
        Ok(())
    }

    /// Lets the clients finish what they are doing and counts.
    pub(crate) async fn stop(mut self) -> Counted {
        self.stop.send_replace(true);
        while self.clients.join_next().await.is_some() {}
        let counts = &self.counts;
        let slow_requests = counts.slow.load(Ordering::Relaxed);
        let web_socket_messages = counts.messages.load(Ordering::Relaxed);
        Counted {
            requests: counts.requests.load(Ordering::Relaxed) + slow_requests + web_socket_messages,
            failed: counts.failed.load(Ordering::Relaxed),
            first_failures: counts.failures.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            slow_requests,
            web_socket_messages,
        }
    }
}

impl Counts {
    fn fail(&self, who: &str, error: &anyhow::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < 5 {
            failures.push(format!("{who}: {error:#}"));
        }
    }
}

type Connection = SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the connection; its errors reach the sender too.
    tokio::spawn(connection);
    Ok(sender)
}

async fn get(connection: &mut Connection, host: &str, path: &str) -> Result<String> {
    Ok(ask(connection, host, path).await?.0)
}

/// The answer, and whether the connection stays open after it.
async fn ask(connection: &mut Connection, host: &str, path: &str) -> Result<(String, bool)> {
    let request = Request::get(path).header("host", host).body(Empty::new())?;
    let asked = async {
        let answer = connection.send_request(request).await.context("request")?;
        let status = answer.status();
        let stays =
            answer.headers().get("connection").is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"close"));
        let body = answer.into_body().collect().await.context("body")?.to_bytes();
        if status != StatusCode::OK {
            bail!("{path} answered {status}");
        }
        Ok((String::from_utf8_lossy(&body).trim().to_owned(), stays))
    };
    tokio::time::timeout(PATIENCE, asked).await.context("no answer in time")?
}

async fn keep_alive(address: SocketAddr, host: &'static str, counts: Arc<Counts>, stopped: watch::Receiver<bool>) {
    let mut open = None;
    while !*stopped.borrow() {
        let asked = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => connect(address).await?,
            };
            let (_, stays) = ask(&mut connection, host, "/version").await?;
            // nginx says goodbye after 1000 requests; what is not announced is a failure.
            Ok(Some(connection).filter(|_| stays))
        };
        match asked.await {
            Ok(connection) => {
                counts.requests.fetch_add(1, Ordering::Relaxed);
                open = connection;
            }
            Err(error) => counts.fail("keep-alive", &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn new_connections(address: SocketAddr, host: &'static str, counts: Arc<Counts>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let asked = async { get(&mut connect(address).await?, host, "/").await };
        match asked.await {
            Ok(_) => _ = counts.requests.fetch_add(1, Ordering::Relaxed),
            Err(error) => counts.fail("new connection", &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn slow(address: SocketAddr, host: &'static str, counts: Arc<Counts>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let asked = async { get(&mut connect(address).await?, host, "/slow?ms=5000").await };
        match asked.await {
            Ok(_) => _ = counts.slow.fetch_add(1, Ordering::Relaxed),
            Err(error) => counts.fail("five-second request", &error),
        }
    }
}

async fn web_socket(address: SocketAddr, host: &'static str, counts: Arc<Counts>, stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        if let Err(error) = visit(address, host, &counts, &stopped).await {
            counts.fail("WebSocket", &error);
        }
    }
}

async fn visit(address: SocketAddr, host: &str, counts: &Counts, stopped: &watch::Receiver<bool>) -> Result<()> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    let (mut socket, _) =
        tokio_tungstenite::client_async(format!("ws://{host}/ws"), stream).await.context("upgrade")?;
    let until = tokio::time::Instant::now() + VISIT;
    let mut number = 0_u64;
    while tokio::time::Instant::now() < until && !*stopped.borrow() {
        let sent = format!("message {number}");
        number += 1;
        socket.send(Message::text(sent.as_str())).await.context("send")?;
        let answer = tokio::time::timeout(PATIENCE, socket.next()).await.context("no echo in time")?;
        let answer = answer.context("closed instead of an echo")?.context("receive")?;
        ensure!(answer.to_text()? == sent, "the echo differs");
        counts.messages.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    socket.close(None).await.context("close")?;
    Ok(())
}
