//! A client of the server's API: each request on a connection of its own,
//! which the server ends with its answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

/// Nothing that is waited for takes longer, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the API is, and what opens it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) address: SocketAddr,
    pub(super) token: String,
}

/// Server-sent events.
pub(super) struct Events {
    lines: Lines<BufReader<TcpStream>>,
}

impl Api {
    /// Asks for something that must be granted.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.send(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    /// The status and the body of the answer.
    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let work = async {
            let (status, mut answer) = self.open(method, path, body).await?;
            let mut text = String::new();
            answer.read_to_string(&mut text).await?;
            Ok((status, text))
        };
        tokio::time::timeout(PATIENCE, work).await?
    }

    /// The events of a stream that must be there.
    pub(super) async fn events(&self, path: &str) -> Events {
        let (status, answer) = self.open("GET", path, "").await.unwrap();
        assert_eq!(status, 200, "{path}");
        Events { lines: answer.lines() }
    }

    /// Sends a request and reads the head of the answer.
    async fn open(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, BufReader<TcpStream>)> {
        let mut connection = BufReader::new(TcpStream::connect(self.address).await?);
        // An answer to HTTP/1.0 is not cut in chunks, and ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            self.token,
            body.len()
        );
        connection.write_all(format!("{head}{body}").as_bytes()).await?;
        let mut status = None;
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match status {
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
                Some(status) if line.trim().is_empty() => return Ok((status, connection)),
                Some(_) => {}
            }
        }
    }
}

impl Events {
    /// What the next one says; `None` after the last one.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let mut name = String::new();
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("nothing happens").unwrap();
            let line = line.expect("the events were cut off");
            if let Some(value) = line.strip_prefix("event:") {
                value.trim().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data:") {
                match name.as_str() {
                    "end" => return None,
                    "error" => panic!("{data}"),
                    _ => return Some(serde_json::from_str(data.trim()).unwrap()),
                }
            }
        }
    }
}
