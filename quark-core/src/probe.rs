//! `HttpProber`: asks for health over HTTP/1.1.

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{ProbeFailure, ProbeTarget, Prober};

/// The longest status line that is read, in bytes. The rest of the answer is
/// of no interest.
const LONGEST: usize = 4096;

/// Asks by one `GET` on a connection of its own; 200 to 399 is well.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpProber;

impl HttpProber {
    /// A prober.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Prober for HttpProber {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        let asked = tokio::time::timeout(target.check.timeout, ask(&target)).await;
        match asked.unwrap_or(Err(ProbeFailure::TimedOut))? {
            200..=399 => Ok(()),
            status => Err(ProbeFailure::Status(status)),
        }
    }
}

async fn ask(target: &ProbeTarget<'_>) -> Result<u16, ProbeFailure> {
    let endpoint = target.endpoint.as_str();
    let mut stream = TcpStream::connect(endpoint).await.map_err(|_| ProbeFailure::Refused)?;
    let host = target.host.map_or(endpoint, |host| host.as_str());
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: quark-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        target.check.path
    );
    let broken = |error: std::io::Error| ProbeFailure::Protocol(format!("the connection broke: {}", error.kind()));
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    let mut piece = [0_u8; 512];
    while !answer.contains(&b'\n') && answer.len() < LONGEST {
        let read = stream.read(&mut piece).await.map_err(broken)?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    status(&answer)
}

/// Reads `HTTP/1.x NNN …` (RFC 9112, section 4).
fn status(answer: &[u8]) -> Result<u16, ProbeFailure> {
    if answer.is_empty() {
        return Err(ProbeFailure::Protocol("the connection was closed without an answer".to_owned()));
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let version_ok = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let code = words.next().filter(|code| code.len() == 3).and_then(|code| code.parse().ok());
    match code {
        Some(code) if version_ok && answer.contains(&b'\n') => Ok(code),
        _ => Err(ProbeFailure::Protocol("it does not begin with a status line".to_owned())),
    }
}
