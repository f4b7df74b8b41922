//! Copying the log into the file, so that the log stays short and no write waits for it.
//!
//! SQLite would do it in the middle of some commit, with two flushes of the
//! disk. Here a thread that may block does it on a connection of its own while
//! others go on writing. The log can only begin anew when all of it was copied:
//! then the writer pauses for a moment, and so it does when the log became long
//! because writes never paused.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quark_core::Result;
use rusqlite::Connection;
use tokio::runtime::Handle;

use super::connect::Connector;
use super::failure::failed;
use super::log_length;
use super::writer::Shared;

/// Steps after which the log is so long that the writer must pause.
const LONG: u64 = 4;
/// How long the writer waits for readers of the old log.
const PATIENCE: Duration = Duration::from_millis(200);

/// Keeps the log short.
pub(super) struct Checkpoints {
    connector: Connector,
    /// Pages in the log at which it is copied next.
    due: AtomicU64,
    /// Pages in the log at which the writer must pause.
    limit: AtomicU64,
    is_running: AtomicBool,
    own: Mutex<Own>,
}

/// The connection that copies.
enum Own {
    Closed,
    Open(Option<Connection>),
}

/// How far a copy came.
#[derive(Clone, Copy, Debug)]
struct Copied {
    /// Whether something was in the way.
    busy: bool,
    /// Pages in the log, and how many of them are in the file.
    pages: u64,
    copied: u64,
}

impl Checkpoints {
    pub(super) fn new(connector: Connector) -> Self {
        let (due, limit) = (AtomicU64::new(connector.log_step), AtomicU64::new(LONG * connector.log_step));
        let own = Mutex::new(Own::Open(None));
        Self { connector, due, limit, is_running: AtomicBool::new(false), own }
    }

    /// Takes note of how long the log is, and has it copied if it is long enough.
    /// Whether the writer must pause and begin the log anew.
    #[must_use]
    pub(super) fn note(&self, shared: &Arc<Shared>, pages: u64) -> bool {
        if pages >= self.due.load(Ordering::Relaxed) && !self.is_running.swap(true, Ordering::AcqRel) {
            // Without a thread that may block, it is tried again after the next write.
            let running = Running(Arc::clone(shared));
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn_blocking(move || running.copy());
            }
        }
        pages >= self.limit.load(Ordering::Relaxed)
    }

    /// Copies what there is, while others write.
    fn copy(&self) -> Result<Option<Copied>> {
        let mut own = self.own();
        let Own::Open(connection) = &mut *own else { return Ok(None) };
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(self.connector.writer().map_err(failed)?),
        };
        let copied = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").map_err(failed)?;
        self.due.store(copied.pages + self.connector.log_step, Ordering::Relaxed);
        Ok(Some(copied))
    }

    /// Copies the rest on the connection that writes, so that nothing is added
    /// meanwhile, and begins the log anew. Gives the connection back if it is sound.
    pub(super) fn restart(&self, connection: Connection) -> Option<Connection> {
        // Two cannot copy at the same time.
        let own = self.own();
        let long = LONG * self.connector.log_step;
        match begin_anew(&connection) {
            Ok(pages) => {
                self.due.store(pages + self.connector.log_step, Ordering::Relaxed);
                self.limit.store(pages + long, Ordering::Relaxed);
                if pages > long {
                    tracing::warn!(pages, "the log of the database grows: something reads it without an end");
                }
            }
            Err(error) => {
                self.limit.fetch_add(long, Ordering::Relaxed);
                tracing::warn!(error = %failed(error).report(), "the log of the database was not begun anew");
            }
        }
        drop(own);
        connection.is_autocommit().then_some(connection)
    }

    /// Waits for what is being copied and closes the connection.
    pub(super) fn close(&self) {
        *self.own() = Own::Closed;
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages that the log has then.
fn begin_anew(connection: &Connection) -> rusqlite::Result<u64> {
    connection.busy_timeout(PATIENCE)?;
    let copied = checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)")?;
    if copied.busy {
        return Ok(copied.pages);
    }
    // The next write writes the head of the log and waits for the disk. That
    // shall be this one.
    log_length::after(|| connection.execute_batch("UPDATE quark_meta SET value = value WHERE key = 'leapt'"))
}

fn checkpoint(connection: &Connection, statement: &'static str) -> rusqlite::Result<Copied> {
    connection.query_row(statement, [], |row| {
        let number = |index| row.get::<_, i64>(index).map(|pages| u64::try_from(pages).unwrap_or(0));
        Ok(Copied { busy: number(0)? != 0, pages: number(1)?, copied: number(2)? })
    })
}

/// A copy that is being made.
struct Running(Arc<Shared>);

impl Running {
    fn copy(self) {
        let copied = match self.0.checkpoints.copy() {
            Ok(Some(copied)) => copied,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = %error.report(), "the log of the database was not copied into the file");
                return;
            }
        };
        let is_complete = !copied.busy && copied.copied == copied.pages;
        if !is_complete {
            return;
        }
        let turn = self.0.restart();
        // The turn may last, and further copies need not wait for its end.
        drop(self);
        if let Some(turn) = turn {
            turn.run();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.checkpoints.is_running.store(false, Ordering::Release);
    }
}
