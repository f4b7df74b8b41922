//! `TestServer`: an application that says which one it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::message::{Head, Unmeasured, read_body, read_head};
use crate::deployment::Endpoint;

/// An application on a port of this machine that answers each request with its
/// identity. It keeps connections alive until it is stopped.
///
/// | path | answer |
/// |---|---|
/// | `/hold` | the identity, once it is [released](Self::release) |
/// | `/chunked` | the identity in chunks, without a length |
/// | `/echo` | the body of the request |
/// | `/head` | the head of the request, as it arrived |
/// | `/status/<number>` | the identity with that status |
/// | `/close` | the identity, and then the connection ends |
/// | `/cut` | none: the connection ends |
/// | everything else | the identity |
#[derive(Debug)]
pub struct TestServer {
    identity: String,
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Counts {
    requests: watch::Sender<u64>,
    held: watch::Sender<u64>,
    connections: watch::Sender<u64>,
    releases: watch::Sender<u64>,
}

/// Counts something for as long as it exists.
struct Counted<'a>(&'a watch::Sender<u64>);

impl<'a> Counted<'a> {
    fn new(count: &'a watch::Sender<u64>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl TestServer {
    /// Starts on a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub async fn start(identity: impl Into<String>) -> io::Result<Self> {
        Self::start_at(identity, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts on this address, such as that of a server that was stopped.
    ///
    /// # Errors
    ///
    /// If somebody else listens there.
    pub async fn start_at(identity: impl Into<String>, address: SocketAddr) -> io::Result<Self> {
        let identity = identity.into();
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let count = || watch::Sender::new(0);
        let counts = Arc::new(Counts { requests: count(), held: count(), connections: count(), releases: count() });
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept(listener, identity.clone(), Arc::clone(&counts), stop.clone()));
        Ok(Self { identity, address, counts, stop, task: AbortOnDropHandle::new(task) })
    }

    /// What it answers.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, for a route.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(self.address.to_string())
    }

    /// The requests that have arrived whole.
    #[must_use]
    pub fn requests(&self) -> u64 {
        *self.counts.requests.borrow()
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        *self.counts.connections.borrow()
    }

    /// Waits until exactly `count` requests are held at `/hold`.
    pub async fn holds(&self, count: u64) {
        // The sender lives in `self`.
        let _ = self.counts.held.subscribe().wait_for(|held| *held == count).await;
    }

    /// Answers all requests that are held now.
    pub fn release(&self) {
        self.counts.releases.send_modify(|releases| *releases += 1);
    }

    /// Ends at once: cuts all connections and frees the port.
    pub async fn stop(self) {
        self.stop.cancel();
        // It ends in order or was aborted; both free the port.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, identity: String, counts: Arc<Counts>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                // Out of file descriptors, most likely; the client sees it.
                let Ok((stream, _)) = accepted else { continue };
                let (identity, counts) = (identity.clone(), Arc::clone(&counts));
                connections.spawn(async move {
                    let _open = Counted::new(&counts.connections);
                    // A connection that breaks is the concern of its client.
                    let _ = converse(stream, &identity, &counts).await;
                });
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn converse(stream: TcpStream, identity: &str, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await? {
        if head.field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = read_body(&mut stream, &head, Unmeasured::Empty).await?;
        counts.requests.send_modify(|requests| *requests += 1);
        let target = head.first.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        if path == "/cut" {
            return Ok(());
        }
        if path == "/hold" {
            let mut releases = counts.releases.subscribe();
            let _held = Counted::new(&counts.held);
            // The sender lives in the server, whose end ends this task too.
            let _ = releases.changed().await;
        }
        let close = path == "/close" || head.closes();
        let answer = answer(path, &head, body, identity, close);
        stream.write_all(&answer).await?;
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn answer(path: &str, head: &Head, body: Vec<u8>, identity: &str, close: bool) -> Vec<u8> {
    let status = path.strip_prefix("/status/").and_then(|status| status.parse().ok()).unwrap_or(200_u16);
    let connection = if close { "Connection: close\r\n" } else { "" };
    let start = format!("HTTP/1.1 {status} Answer\r\nContent-Type: text/plain\r\n{connection}");
    if path == "/chunked" {
        let mut answer = format!("{start}Transfer-Encoding: chunked\r\n\r\n");
        for letter in identity.chars() {
            answer.push_str(&format!("{:x}\r\n{letter}\r\n", letter.len_utf8()));
        }
        answer.push_str("0\r\n\r\n");
        return answer.into_bytes();
    }
    let body = match path {
        "/echo" => body,
        "/head" => {
            let fields: String = head.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            format!("{}\n{fields}", head.first).into_bytes()
        }
        _ => identity.as_bytes().to_vec(),
    };
    let mut answer = format!("{start}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    if !head.first.starts_with("HEAD ") {
        answer.extend(body);
    }
    answer
}
