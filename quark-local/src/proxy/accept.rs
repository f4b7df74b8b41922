//! Accepting clients, also when the machine runs out of something.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::edge::Edge;

/// How long to wait after an error that would come again at once.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Waiting is doubled up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Where clients come from.
pub(super) trait Accept: Send + 'static {
    /// The next client.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Accepts clients until the edge stops.
pub(super) async fn run(listener: impl Accept, edge: Arc<Edge>) {
    let stop = edge.stop.clone();
    if stop.run_until_cancelled(accept(&listener, &edge)).await.is_none() {
        // Who was connected before the end does not know of it.
        while let Some(Ok((stream, address))) = listener.accept().now_or_never() {
            edge.tasks.spawn(Arc::clone(&edge).serve(stream, address, None));
        }
    }
}

async fn accept(listener: &impl Accept, edge: &Arc<Edge>) {
    let places = Arc::new(Semaphore::new(edge.config.max_connections));
    let mut pause = SHORTEST_PAUSE;
    // Who finds no place waits in the queue of the system. Nobody closes the places.
    while let Ok(permit) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                pause = SHORTEST_PAUSE;
                edge.tasks.spawn(Arc::clone(edge).serve(stream, address, Some(permit)));
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: they come back when clients leave.
                tracing::error!(%error, ?pause, "no clients can be accepted at present");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Whether only the client that was about to be accepted is concerned.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::proxy::ProxyConfig;

    /// Fails as often as it is told, and then accepts.
    struct Failing {
        errors: Mutex<Vec<io::Error>>,
        listener: TcpListener,
    }

    impl Accept for Failing {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            let error = self.errors.lock().unwrap().pop();
            match error {
                Some(error) => Err(error),
                None => self.listener.accept().await,
            }
        }
    }

    #[tokio::test]
    async fn accepting_goes_on_after_errors() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let too_many_files = || io::Error::from_raw_os_error(24);
        let errors = Mutex::new(vec![too_many_files(), io::ErrorKind::ConnectionAborted.into(), too_many_files()]);
        let edge = Arc::new(Edge::new(ProxyConfig::new(address), address));
        let accepting = tokio::spawn(run(Failing { errors, listener }, Arc::clone(&edge)));

        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        edge.stop();
        accepting.await.unwrap();
    }
}
