//! The requests whose bodies hold the values of variables.
//!
//! The client library writes every body that it sends and every answer that it
//! reads to the log at level `debug`. A container's variables are secrets, and
//! both the order to create one and the answer about one hold them. So these
//! two requests are sent from here, over a connection of their own.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use quark_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use crate::error;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 20;

/// What the daemon answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Bytes,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer of a successful request.
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        // The error of the parser names a place and a type, never a value.
        serde_json::from_slice(&self.body).map_err(|error| {
            let place = format!("{:?} at line {}, column {}", error.classify(), error.line(), error.column());
            error::nonsense(place)
        })
    }

    /// What the daemon says about a request that it refused.
    pub(crate) fn said(&self) -> String {
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        match serde_json::from_slice::<Said>(&self.body) {
            Ok(said) => said.message,
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        }
    }

    pub(crate) fn refusal(&self) -> Error {
        error::refusal(self.status, &self.said())
    }
}

/// Asks for `path`, which holds only what needs no escaping.
pub(crate) async fn get(socket: &Path, path: &str) -> Result<Answer> {
    send(socket, Method::GET, path, Bytes::new()).await
}

/// Sends `body` to `path`, which holds only what needs no escaping.
pub(crate) async fn post(socket: &Path, path: &str, body: &impl Serialize) -> Result<Answer> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Error::new(ErrorKind::Internal, "the request cannot be written").with_source(error))?;
    send(socket, Method::POST, path, body.into()).await
}

async fn send(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Answer> {
    let stream = UnixStream::connect(socket).await.map_err(|error| error::lost(socket, error, false))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error::lost(socket, error, false))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "docker")
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| Error::new(ErrorKind::Internal, "the request cannot be written").with_source(error))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| error::lost(socket, error, true))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| error::lost(socket, error, true))?.to_bytes();
        Ok(Answer { status, body })
    };
    // The connection only moves while it is polled, and ends with the exchange.
    // If it fails, so does the exchange, which says more.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}
