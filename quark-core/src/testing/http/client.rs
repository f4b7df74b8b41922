//! `TestClient`: one kept connection, and no second try.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::message::{Unmeasured, cut, read_body, read_head};

/// An answer takes no longer, or counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, with names in lower case, in their order.
    pub fields: Vec<(String, String)>,
    /// Its body, without chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a field, by its name in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text if the status is 200.
    ///
    /// # Errors
    ///
    /// Status and body otherwise.
    pub fn ok(&self) -> Result<String, String> {
        match self.status {
            200 => Ok(self.text()),
            status => Err(format!("status {status}: {}", self.text())),
        }
    }
}

/// A client with one connection, which it keeps for as long as the server
/// does not announce its end.
///
/// A kept connection that turns out to be cut is an error: the request is
/// lost, and nothing is tried again. After an error it may be used further; it
/// opens another connection then.
#[derive(Debug)]
pub struct TestClient {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    opened: u64,
}

impl TestClient {
    /// A client of the server at `address`; it connects with its first request.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None, opened: 0 }
    }

    /// How many connections it has opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Asks for a path of a host.
    ///
    /// # Errors
    ///
    /// If nothing accepts the connection, if it is cut, if the answer is not
    /// HTTP/1.1, or if there is none within 60 s.
    pub async fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.request("GET", host, path, b"").await
    }

    /// Sends a request with a body.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn request(&mut self, method: &str, host: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut upload = self.upload(method, host, path, body.len()).await?;
        upload.send(body).await?;
        upload.finish().await
    }

    /// Begins a request whose body of `length` bytes follows in parts.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn upload(&mut self, method: &str, host: &str, path: &str, length: usize) -> io::Result<Upload<'_>> {
        // It comes back when the answer has been read whole.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = in_time(TcpStream::connect(self.address)).await?;
                stream.set_nodelay(true)?;
                self.opened += 1;
                BufReader::new(stream)
            }
        };
        let measure =
            if length > 0 || method != "GET" { format!("Content-Length: {length}\r\n") } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{measure}\r\n");
        in_time(connection.write_all(head.as_bytes())).await?;
        Ok(Upload { client: self, connection })
    }
}

/// A request that is being sent.
#[derive(Debug)]
#[must_use]
pub struct Upload<'a> {
    client: &'a mut TestClient,
    connection: BufReader<TcpStream>,
}

impl Upload<'_> {
    /// Sends the next part of the body.
    ///
    /// # Errors
    ///
    /// As [`TestClient::get`].
    pub async fn send(&mut self, part: &[u8]) -> io::Result<()> {
        in_time(self.connection.write_all(part)).await
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// As [`TestClient::get`].
    pub async fn finish(mut self) -> io::Result<Answer> {
        let (answer, close) = in_time(read_answer(&mut self.connection)).await?;
        if !close {
            self.client.connection = Some(self.connection);
        }
        Ok(answer)
    }
}

async fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<(Answer, bool)> {
    loop {
        let head = read_head(connection).await?.ok_or_else(|| cut("before the answer"))?;
        let status = head.first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        let status = status.and_then(|digits| digits.parse().ok());
        let status: u16 = status.ok_or_else(|| super::message::broken("the answer has no status"))?;
        if (100..200).contains(&status) {
            continue;
        }
        let has_body = !matches!(status, 204 | 304);
        let measured = head.field("content-length").is_some() || head.field("transfer-encoding").is_some();
        let body = if has_body { read_body(connection, &head, Unmeasured::ToTheEnd).await? } else { Vec::new() };
        let close = head.closes() || (has_body && !measured);
        return Ok((Answer { status, fields: head.fields, body }, close));
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs())))
    })
}

#[cfg(test)]
mod tests {
    use super::super::TestServer;
    use super::*;

    #[tokio::test]
    async fn a_connection_is_kept_and_its_end_is_respected() {
        let server = TestServer::start("blue").await.unwrap();
        let mut client = TestClient::new(server.address());
        for path in ["/", "/chunked", "/x?y=z", "/close"] {
            assert_eq!(client.get("a.test", path).await.unwrap().ok().unwrap(), "blue");
        }
        assert_eq!(client.opened(), 1);
        assert_eq!(client.get("a.test", "/status/503").await.unwrap().status, 503);
        assert_eq!(client.request("POST", "a.test", "/echo", b"body").await.unwrap().text(), "body");
        assert!(client.get("a.test", "/head").await.unwrap().text().contains("host: a.test"));
        assert_eq!((client.opened(), server.requests()), (2, 7));
    }

    #[tokio::test]
    async fn a_cut_connection_is_a_lost_request() {
        let server = TestServer::start("blue").await.unwrap();
        let address = server.address();
        let mut client = TestClient::new(address);
        assert!(client.get("a.test", "/cut").await.is_err());
        client.get("a.test", "/").await.unwrap();
        server.stop().await;
        let again = TestServer::start_at("green", address).await.unwrap();
        assert!(client.get("a.test", "/").await.is_err(), "it must not be tried again in secret");
        assert_eq!(client.get("a.test", "/").await.unwrap().text(), "green");
        assert_eq!(again.requests(), 1);
    }

    #[tokio::test]
    async fn held_requests_wait_for_their_release() {
        let server = TestServer::start("blue").await.unwrap();
        let address = server.address();
        let held = tokio::spawn(async move { TestClient::new(address).get("a.test", "/hold").await });
        server.holds(1).await;
        assert!(!held.is_finished());
        server.release();
        assert_eq!(held.await.unwrap().unwrap().text(), "blue");
        server.holds(0).await;
    }

    #[tokio::test]
    async fn a_body_may_come_in_parts() {
        let server = TestServer::start("blue").await.unwrap();
        let mut client = TestClient::new(server.address());
        let mut upload = client.upload("POST", "a.test", "/echo", 4).await.unwrap();
        upload.send(b"ab").await.unwrap();
        upload.send(b"cd").await.unwrap();
        assert_eq!(upload.finish().await.unwrap().text(), "abcd");
    }
}
