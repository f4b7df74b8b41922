//! Asking nginx itself what is in force, each time on a fresh connection: a
//! kept one would be answered by an old worker.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quark_core::{AppName, Error, ErrorKind, Result, Share, Slot};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// A worker answers at once, unless its disk makes it wait for its error log.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any answer of ours.
const LONGEST: u64 = 64 * 1024;

/// Where nginx tells its status.
#[derive(Clone, Debug)]
pub(crate) enum StatusServer {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What is in force for an app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct InForce {
    pub(crate) shape: String,
    pub(crate) blue: SocketAddr,
    pub(crate) green: SocketAddr,
    pub(crate) active: Slot,
    pub(crate) mode: Mode,
    /// The share of the other slot: what the markers say that nginx looks at.
    #[serde(skip)]
    pub(crate) canary: Option<Share>,
}

/// Whether the other slot stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Alone,
    Backed,
    /// A request of the other slot's share.
    Canary,
}

impl InForce {
    pub(crate) fn address(&self, slot: Slot) -> SocketAddr {
        match slot {
            Slot::Blue => self.blue,
            Slot::Green => self.green,
        }
    }

    pub(crate) fn backup(&self) -> bool {
        self.mode == Mode::Backed
    }
}

#[derive(Deserialize)]
struct Reload {
    reload: u64,
}

impl StatusServer {
    /// The route of an app; `None` if nginx does not know the app.
    pub(crate) async fn route(&self, app: &AppName) -> Result<Option<InForce>> {
        self.ask(app.as_str(), "/route").await
    }

    /// Whether a request of this hundredth goes to the slot that is not active.
    pub(crate) async fn is_shared(&self, app: &AppName, bucket: u8) -> Result<bool> {
        let route: Option<InForce> = self.ask(app.as_str(), &format!("/route?bucket={bucket}")).await?;
        Ok(route.is_some_and(|route| route.mode == Mode::Canary))
    }

    /// The number of the reload that the worker which answers was born of;
    /// `None` if something else than a configuration of ours answers.
    pub(crate) async fn reload(&self) -> Result<Option<u64>> {
        // A name that no app can have.
        Ok(self.ask::<Reload>("_", "/reload").await?.map(|answer| answer.reload))
    }

    async fn ask<T: for<'a> Deserialize<'a>>(&self, host: &str, path: &str) -> Result<Option<T>> {
        let answer = tokio::time::timeout(PATIENCE, self.get(host, path)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(away)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            return Err(away(io::ErrorKind::UnexpectedEof.into()));
        };
        if head.split(' ').nth(1) != Some("200") {
            return Ok(None);
        }
        serde_json::from_str(body).map(Some).map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "the status server of nginx gives answers that are not ours")
                .with_code("nginx_unreachable")
                .with_source(cause)
        })
    }

    async fn get(&self, host: &str, path: &str) -> io::Result<String> {
        match self {
            Self::Unix(socket) => converse(UnixStream::connect(socket).await?, host, path).await,
            Self::Tcp(address) => converse(TcpStream::connect(address).await?, host, path).await,
        }
    }
}

/// HTTP/1.0: the answer ends with the connection.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str, path: &str) -> io::Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer).await?;
    Ok(answer)
}

fn away(cause: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "nginx does not answer")
        .with_code("nginx_unreachable")
        .with_hint("is it running, and does it read the files that QUARK writes?")
        .with_source(cause)
}
