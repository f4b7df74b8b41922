//! Connections that read.
//!
//! A pool of the driver asks each connection that comes back whether it is still
//! there, which costs as much as the read itself. A file does not go away.

use std::sync::{Mutex, MutexGuard, PoisonError};

use quark_core::{Error, ErrorKind, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::batch::{Batch, Done};
use super::config::BUSY_TIMEOUT;
use super::failure::failed;
use crate::error::closed;

/// Connections that read at the same time.
const READERS: u32 = 4;

/// Connections that read, opened when they are needed.
pub(super) struct Readers {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<SqliteConnection>>,
    places: Semaphore,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        let places = Semaphore::new(usize::try_from(READERS).unwrap_or(1));
        Self { options, idle: Mutex::new(Vec::new()), places }
    }

    /// A connection, for statements of which each is a read of its own.
    pub(super) async fn get(&self) -> Result<Reader<'_>> {
        let place = match tokio::time::timeout(BUSY_TIMEOUT, self.places.acquire()).await {
            Ok(place) => place.map_err(|_| closed())?,
            Err(_) => return Err(all_busy()),
        };
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(failed)?,
        };
        Ok(Reader { connection: Some(connection), readers: self, _place: place })
    }

    /// Runs statements that read one and the same moment.
    pub(super) async fn together(&self, batch: Batch) -> Result<Vec<Done>> {
        let mut reader = self.get().await?;
        let Some(mut connection) = reader.connection.take() else { return Err(closed()) };
        // Broken off in the middle, it would go on reading that moment: then it is closed.
        let mut done = batch.between("BEGIN", "COMMIT").run(&mut connection).await?;
        reader.connection = Some(connection);
        done.pop();
        done.drain(..1);
        Ok(done)
    }

    /// Waits for what is being read and closes the connections. Later reads are
    /// refused; closing a second time does nothing.
    pub(super) async fn close(&self) {
        let Ok(all) = self.places.acquire_many(READERS).await else { return };
        self.places.close();
        drop(all);
        let connections = std::mem::take(&mut *self.idle());
        for connection in connections {
            if let Err(error) = connection.close().await {
                tracing::debug!(error = %failed(error).report(), "a connection that reads did not close");
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn all_busy() -> Error {
    Error::new(ErrorKind::Unavailable, "all connections to the database are busy")
        .with_code("database_busy")
        .with_hint("something holds them for long; is the disk very slow?")
}

/// A connection that reads. It goes back when this is dropped, even in the
/// middle of a read: that one ends by itself, before the next begins.
pub(super) struct Reader<'r> {
    /// `None` while something else has it.
    connection: Option<SqliteConnection>,
    readers: &'r Readers,
    _place: SemaphorePermit<'r>,
}

impl Reader<'_> {
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or_else(closed)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Before the place is given to somebody else.
        if let Some(connection) = self.connection.take() {
            self.readers.idle().push(connection);
        }
    }
}
