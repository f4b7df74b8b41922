//! Both ends of the wire, byte by byte, for what no library would send.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A connection that says and hears what it is told.
pub(super) struct Wire(BufStream<TcpStream>);

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self(BufStream::new(stream))
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub(super) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// A head up to its empty line; what there was if the connection ends before.
    pub(super) async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && self.0.read_line(&mut head).await.unwrap_or(0) > 0 {}
        head.to_ascii_lowercase()
    }

    pub(super) async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// Whatever comes next, at most `most` bytes; nothing at the end.
    pub(super) async fn some(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let length = self.0.read(&mut bytes).await.unwrap_or(0);
        bytes.truncate(length);
        bytes
    }

    /// All that comes until the connection ends, in order or not.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.0.into_inner()
    }
}

/// An application that treats each of its connections as it is told.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    accepted: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Backend {
    pub(super) async fn start<F>(converse: impl Fn(Wire) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(converse(Wire::new(stream)));
            }
        });
        Self { address, accepted, _task: AbortOnDropHandle::new(task) }
    }

    /// How many connections it has got.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}
