//! Connections to a slot: opened, kept for the next request, closed.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::RequestBody;

/// What requests are sent into: one connection to a slot.
pub(super) type Sender = http1::SendRequest<RequestBody>;

/// How long a connection is kept without a request. Less than the 5 s after
/// which common servers (Node, Uvicorn) close it: few requests then meet a
/// connection that is just being closed.
const KEPT: Duration = Duration::from_secs(4);
/// How many connections are kept.
const MOST_KEPT: usize = 256;
/// How much is read ahead for a message, at each side.
pub(super) const BUFFER: usize = 128 * 1024;
/// How long the last bytes of an exchange may take that is over but for them.
const SETTLING: Duration = Duration::from_secs(1);

/// Why there is no connection; nothing was sent then.
#[derive(Debug)]
pub(super) enum ConnectFailure {
    TimedOut,
    Refused(io::Error),
    Broken(hyper::Error),
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("it took too long"),
            Self::Refused(error) => error.fmt(f),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

/// The connections to a slot that wait for a request.
#[derive(Debug, Default)]
pub(super) struct Pool {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Whether the slot may get requests. Nothing is kept of one that may not.
    wanted: bool,
    /// Whether a task looks after those that nobody takes.
    swept: bool,
    /// The one used last is the last one.
    connections: VecDeque<Idle>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// Opens a connection.
    pub(super) async fn connect(address: SocketAddr, limit: Duration) -> Result<Sender, ConnectFailure> {
        let stream = match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ConnectFailure::Refused(error)),
            Err(_) => return Err(ConnectFailure::TimedOut),
        };
        stream.set_nodelay(true).map_err(ConnectFailure::Refused)?;
        if stream.local_addr().map_err(ConnectFailure::Refused)? == address {
            // Nothing listens there, so the system was free to take the very
            // same port for our end: the connection leads back to itself.
            return Err(ConnectFailure::Refused(io::ErrorKind::ConnectionRefused.into()));
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(ConnectFailure::Broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                // Whoever waits for an answer is told it too.
                tracing::debug!(%address, %error, "a connection to a slot has ended");
            }
        });
        Ok(sender)
    }

    /// A connection that was kept and seems to be open still.
    pub(super) fn take(&self) -> Option<Sender> {
        let mut kept = self.lock();
        while let Some(idle) = kept.connections.pop_back() {
            if idle.since.elapsed() >= KEPT {
                // The others have waited even longer.
                kept.connections.clear();
            } else if idle.sender.is_ready() {
                return Some(idle.sender);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is over.
    pub(super) fn keep(self: &Arc<Self>, mut sender: Sender) {
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            self.put(sender);
            return;
        }
        // Its task runs elsewhere at this moment and has yet to find out that
        // it is idle. Rare: on its own thread it has by now.
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            if let Ok(Ok(())) = tokio::time::timeout(SETTLING, sender.ready()).await
                && let Some(pool) = pool.upgrade()
            {
                pool.put(sender);
            }
        });
    }

    fn put(self: &Arc<Self>, sender: Sender) {
        let mut kept = self.lock();
        if !kept.wanted {
            return;
        }
        if kept.connections.len() >= MOST_KEPT {
            kept.connections.pop_front();
        }
        kept.connections.push_back(Idle { sender, since: Instant::now() });
        if !std::mem::replace(&mut kept.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has waited for too long at `now`. Whether more is there.
    fn close_old(&self, now: Instant) -> bool {
        let mut kept = self.lock();
        while kept.connections.front().is_some_and(|idle| now.duration_since(idle.since) >= KEPT) {
            kept.connections.pop_front();
        }
        kept.swept = !kept.connections.is_empty();
        kept.swept
    }

    /// Says whether the slot may get requests. If not, what is kept is closed,
    /// so that the application can end without waiting for it.
    pub(super) fn set_wanted(&self, wanted: bool) {
        let mut kept = self.lock();
        kept.wanted = wanted;
        if !wanted {
            kept.connections.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here can be left half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some applications have a thread for each connection, so none is kept for
/// nothing after a rush. Ends when there is nothing to look after.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(KEPT).await;
        if !pool.upgrade().is_some_and(|pool| pool.close_old(Instant::now())) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;

    async fn connection() -> (Sender, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap();
        (sender, theirs)
    }

    #[tokio::test]
    async fn connections_that_nobody_takes_are_closed() {
        let pool = Arc::new(Pool::default());
        let (sender, mut unwanted) = connection().await;
        pool.keep(sender);
        assert_eq!(unwanted.read(&mut [0]).await.unwrap(), 0, "nothing is kept of a slot that may not get requests");
        pool.set_wanted(true);
        let (sender, mut slot) = connection().await;
        pool.keep(sender);
        assert!(pool.close_old(Instant::now()));
        pool.keep(pool.take().unwrap());
        assert!(!pool.close_old(Instant::now() + KEPT));
        assert_eq!(slot.read(&mut [0]).await.unwrap(), 0);
        assert!(pool.take().is_none());
    }

    #[tokio::test]
    async fn connections_that_were_closed_are_not_taken() {
        let pool = Arc::new(Pool::default());
        pool.set_wanted(true);
        let ((first, slot), (second, _open)) = (connection().await, connection().await);
        pool.keep(second);
        pool.keep(first);
        drop(slot);
        // Its task must have seen the end.
        while pool.lock().connections.back().is_some_and(|idle| idle.sender.is_ready()) {
            tokio::task::yield_now().await;
        }
        assert!(pool.take().is_some_and(|sender| sender.is_ready()));
        assert!(pool.take().is_none());
    }

    #[tokio::test]
    async fn the_oldest_gives_way() {
        let pool = Arc::new(Pool::default());
        pool.set_wanted(true);
        let mut slots = Vec::new();
        for _ in 0..=MOST_KEPT {
            let (sender, slot) = connection().await;
            pool.keep(sender);
            slots.push(slot);
        }
        assert_eq!(pool.lock().connections.len(), MOST_KEPT);
        assert_eq!(slots[0].read(&mut [0]).await.unwrap(), 0);
    }
}
