//! `HttpProber`: asks an instance for its health over HTTP.

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::backend::{ProbeFailure, ProbeTarget, Prober};

/// A status line is short; whoever sends more without one speaks another protocol.
const LONGEST_STATUS_LINE: usize = 1024;

/// A [`Prober`] that sends one `GET` over a connection of its own and takes
/// every status from 200 to 399 for well.
///
/// The status line is all that is read of the answer. The check's timeout
/// bounds connecting, sending and reading together.
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
        tokio::time::timeout(target.check.timeout, ask(&target)).await.unwrap_or(Err(ProbeFailure::TimedOut))
    }
}

async fn ask(target: &ProbeTarget<'_>) -> Result<(), ProbeFailure> {
    let mut connection = TcpStream::connect(target.endpoint.as_str()).await.map_err(|error| unconnected(&error))?;
    // Where nobody listens, the system may choose the very port that is asked
    // for as the near end, and the connection then leads to itself.
    if connection.local_addr().ok() == connection.peer_addr().ok() {
        return Err(ProbeFailure::Refused);
    }
    let host = target.host.map_or_else(|| target.endpoint.as_str(), |domain| domain.as_str());
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: quark-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        target.check.path
    );
    connection.write_all(request.as_bytes()).await.map_err(|error| broken(&error))?;
    match read_status(&mut connection).await? {
        200..=399 => Ok(()),
        status => Err(ProbeFailure::Status(status)),
    }
}

/// Reads answers until one is final: `100 Continue` and `103 Early Hints` are not.
async fn read_status(connection: &mut TcpStream) -> Result<u16, ProbeFailure> {
    let mut answer = Vec::new();
    loop {
        let line = loop {
            if let Some(end) = answer.iter().position(|byte| *byte == b'\n') {
                break answer.get(..end).unwrap_or_default();
            }
            if answer.len() > LONGEST_STATUS_LINE {
                return Err(ProbeFailure::Protocol("it has no status line".to_owned()));
            }
            read_more(connection, &mut answer).await?;
        };
        let status = parse_status(line)?;
        if !(100..200).contains(&status) {
            return Ok(status);
        }
        let rest = loop {
            if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                break answer.split_off(end + 4);
            }
            if answer.len() > 8 * LONGEST_STATUS_LINE {
                return Err(ProbeFailure::Protocol("it announces an answer and does not give it".to_owned()));
            }
            read_more(connection, &mut answer).await?;
        };
        answer = rest;
    }
}

async fn read_more(connection: &mut TcpStream, into: &mut Vec<u8>) -> Result<(), ProbeFailure> {
    let mut piece = [0; 512];
    match connection.read(&mut piece).await.map_err(|error| broken(&error))? {
        0 => Err(ProbeFailure::Protocol("the connection was closed without an answer".to_owned())),
        length => {
            into.extend_from_slice(piece.get(..length).unwrap_or_default());
            Ok(())
        }
    }
}

/// `HTTP/1.1 200 OK`: the version, one space, three digits, and a space or nothing.
fn parse_status(line: &[u8]) -> Result<u16, ProbeFailure> {
    let status = || {
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
        let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
        let (digits, reason) = rest.split_at_checked(3)?;
        let whole = reason.is_empty() || reason.starts_with(' ');
        let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
        digits.parse().ok().filter(|status| whole && (100..600).contains(status))
    };
    status().ok_or_else(|| ProbeFailure::Protocol("its first line is not a status line".to_owned()))
}

fn unconnected(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        io::ErrorKind::TimedOut => ProbeFailure::TimedOut,
        _ => ProbeFailure::Refused,
    }
}

fn broken(error: &io::Error) -> ProbeFailure {
    ProbeFailure::Protocol(format!("the connection broke: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;
    use crate::app::{Domain, HealthCheck, HealthPath};
    use crate::deployment::Endpoint;

    const PATIENT: Duration = Duration::from_secs(30);
    const IMPATIENT: Duration = Duration::from_millis(200);

    async fn probe(endpoint: &Endpoint, host: Option<&Domain>, timeout: Duration) -> Result<(), ProbeFailure> {
        let check = HealthCheck { timeout, ..HealthCheck::http(HealthPath::parse("/up?full=1").unwrap()) };
        HttpProber::new().probe(ProbeTarget { endpoint, host, check: &check }).await
    }

    /// Listens, and answers one request with `pieces`, one write each; then
    /// closes, or holds the connection until the probe has ended.
    async fn answered(pieces: &[&'static [u8]], hold: bool, timeout: Duration) -> Result<(), ProbeFailure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(listener.local_addr().unwrap().to_string());
        let pieces = pieces.to_vec();
        let (ended, has_ended) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            client.set_nodelay(true).unwrap();
            let mut request = [0; 1024];
            let _ = client.read(&mut request).await.unwrap();
            for piece in pieces {
                // A prober that has seen enough may be gone.
                if client.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            if hold {
                let _ = has_ended.await;
            }
        });
        let outcome = probe(&endpoint, None, timeout).await;
        drop(ended);
        server.await.unwrap();
        outcome
    }

    fn is_protocol(outcome: &Result<(), ProbeFailure>) -> bool {
        matches!(outcome, Err(ProbeFailure::Protocol(_)))
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Ok(())),
            (b"HTTP/1.1 204\r\n\r\n", Ok(())),
            (b"HTTP/1.0 302 Found\r\nLocation: /login\r\n\r\n", Ok(())),
            (b"HTTP/1.1 399 ?\n\n", Ok(())),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", Err(ProbeFailure::Status(404))),
            (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", Err(ProbeFailure::Status(500))),
            (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n\r\n", Err(ProbeFailure::Status(503))),
        ] {
            assert_eq!(answered(&[answer], false, PATIENT).await, expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[tokio::test]
    async fn the_status_is_enough_even_if_the_answer_never_ends() {
        assert_eq!(answered(&[b"HTTP/1.", b"1 20", b"0 OK\r\n"], true, PATIENT).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_not_http_is_said_to_be_so() {
        for garbage in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"HTTP/1.1 20 OK\r\n",
            b"HTTP/1.1 2000 OK\r\n",
            b"HTTP/1.1 +20 OK\r\n",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 999 ?\r\n",
            b"\xff\xfe\x00\n",
            b"\n",
        ] {
            assert!(is_protocol(&answered(&[garbage], false, PATIENT).await), "{garbage:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_not_read_to_its_end() {
        assert!(is_protocol(&answered(&[&[b'x'; 64 * 1024]], true, PATIENT).await));
        let hints = b"HTTP/1.1 100 Continue\r\nX: ";
        assert!(is_protocol(&answered(&[hints, &[b'x'; 64 * 1024]], true, PATIENT).await));
    }

    #[tokio::test]
    async fn silence_and_slowness_end_with_the_timeout() {
        for pieces in [&[][..], &[&b"HTTP/1.1 "[..]], &[&b"HTTP/1.1 200 OK"[..]]] {
            assert_eq!(answered(pieces, true, IMPATIENT).await, Err(ProbeFailure::TimedOut));
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_no_answer() {
        assert!(is_protocol(&answered(&[], false, PATIENT).await));
        assert!(is_protocol(&answered(&[b"HTTP/1.1 200"], false, PATIENT).await));
    }

    #[tokio::test]
    async fn nobody_there_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(listener.local_addr().unwrap().to_string());
        drop(listener);
        assert_eq!(probe(&endpoint, None, PATIENT).await, Err(ProbeFailure::Refused));
        let nowhere = Endpoint::new("container://shop");
        assert_eq!(probe(&nowhere, None, PATIENT).await, Err(ProbeFailure::Refused));
    }

    #[tokio::test]
    async fn asks_for_the_apps_own_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let endpoint = Endpoint::new(&address);
        let domain = Domain::parse("shop.test").unwrap();
        for (host, expected) in [(Some(&domain), "shop.test"), (None, address.as_str())] {
            let heard = async {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    client.read_buf(&mut request).await.unwrap();
                }
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                String::from_utf8(request).unwrap()
            };
            let (outcome, request) = tokio::join!(probe(&endpoint, host, PATIENT), heard);
            assert_eq!(outcome, Ok(()));
            assert_eq!(
                request,
                format!(
                    "GET /up?full=1 HTTP/1.1\r\nHost: {expected}\r\nUser-Agent: quark-probe\r\nAccept: */*\r\n\
                     Connection: close\r\n\r\n"
                )
            );
        }
    }
}
