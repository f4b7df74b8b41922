//! Connections that read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quark_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::config::BUSY_TIMEOUT;
use super::connect::Connector;
use super::failure::{failed, is_busy};
use super::writer::Writer;
use crate::error::{all_busy, closed};

/// Connections that read at the same time.
const READERS: u32 = 4;

/// Connections that read, opened when they are needed.
///
/// What finds its rows by a key takes 2 to 20 µs and is done on the thread of
/// the caller; to hand it to another one would cost more. What may yield many
/// rows is done on a thread that may block.
pub(super) struct Readers {
    writer: Writer,
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(connector: Connector, writer: Writer) -> Self {
        let places = Arc::new(Semaphore::new(usize::try_from(READERS).unwrap_or(1)));
        Self { writer, shared: Arc::new(Shared { connector, idle: Mutex::new(Vec::new()), places }) }
    }

    /// Reads something small.
    pub(super) async fn small<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Clone + Send + 'static,
    {
        // What is in the way is another process that closes the file, or mends it after a crash.
        let in_place = |result: &Result<T>| !result.as_ref().is_err_and(is_busy);
        if let Some(result) = self.writer.read(read.clone()).await.filter(in_place) {
            return result;
        }
        let reader = self.reader().await?;
        match reader.read(Duration::ZERO, &read).filter(in_place) {
            Some(result) => result,
            None => elsewhere(reader, read).await,
        }
    }

    /// Reads something that may be large.
    pub(super) async fn large<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        elsewhere(self.reader().await?, read).await
    }

    async fn reader(&self) -> Result<Reader> {
        let places = Arc::clone(&self.shared.places);
        let place = match tokio::time::timeout(BUSY_TIMEOUT, places.acquire_owned()).await {
            Ok(place) => place.map_err(|_| closed())?,
            Err(_) => return Err(all_busy()),
        };
        let connection = self.shared.idle().pop();
        Ok(Reader { connection, shared: Arc::clone(&self.shared), _place: place })
    }

    /// Waits for what is being read and closes the connections. Later reads are
    /// refused; closing a second time does nothing.
    pub(super) async fn close(&self) {
        let Ok(all) = self.shared.places.acquire_many(READERS).await else { return };
        self.shared.places.close();
        drop(all);
        // They have written nothing, so this is quick.
        self.shared.idle().clear();
    }
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads on a thread that may block, to the end even if nobody waits for it.
async fn elsewhere<T, F>(mut reader: Reader, read: F) -> Result<T>
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T> + Send + 'static,
{
    let reading = tokio::task::spawn_blocking(move || {
        reader.connect()?;
        reader.read(BUSY_TIMEOUT, &read).unwrap_or_else(|| Err(closed()))
    });
    match reading.await {
        Ok(result) => result,
        Err(error) => Err(Error::new(ErrorKind::Unavailable, "reading was interrupted").with_source(error)),
    }
}

/// A place, and the connection of it once there is one. It goes back when this
/// is dropped.
struct Reader {
    connection: Option<Connection>,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    fn connect(&mut self) -> Result<()> {
        if self.connection.is_none() {
            self.connection = Some(self.shared.connector.reader()?);
        }
        Ok(())
    }

    /// Reads if there is a connection.
    fn read<T>(&self, patience: Duration, read: impl Fn(&Connection) -> Result<T>) -> Option<Result<T>> {
        let connection = self.connection.as_ref()?;
        Some(connection.busy_timeout(patience).map_err(failed).and_then(|()| read(connection)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Before the place is given to somebody else. After a panic in the middle
        // it might go on reading that moment: then it is closed.
        if let Some(connection) = self.connection.take().filter(Connection::is_autocommit) {
            self.shared.idle().push(connection);
        }
    }
}
