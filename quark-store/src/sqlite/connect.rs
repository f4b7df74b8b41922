//! How connections to the file are made.

use std::path::PathBuf;
use std::time::Duration;

use quark_core::Result;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::config::{BUSY_TIMEOUT, SqliteConfig, Synchronous};
use super::failure::failed;
use super::log_length;

/// Prepared statements that each connection keeps: more than there are texts.
const PREPARED: usize = 128;

/// 16 MiB.
const LOG_STEP: u64 = 8192;

/// Makes connections to one file.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    path: PathBuf,
    synchronous: Synchronous,
    /// How long to wait for another process, where waiting harms nobody.
    pub(super) patience: Duration,
    /// Pages that are written before they are copied from the log into the file.
    pub(super) log_step: u64,
}

impl Connector {
    /// `path` is absolute, so that it is never mistaken for `:memory:` or a `file:` address.
    pub(super) fn new(config: &SqliteConfig, path: PathBuf) -> Self {
        Self { path, synchronous: config.synchronous, patience: BUSY_TIMEOUT, log_step: LOG_STEP }
    }

    pub(super) fn synchronous(&self) -> Synchronous {
        self.synchronous
    }

    /// A connection that writes. It does not copy its log into the file, but
    /// keeps an eye on how long the log is.
    pub(super) fn writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connect()?;
        log_length::watch(&connection);
        Ok(connection)
    }

    /// A connection that reads.
    pub(super) fn reader(&self) -> Result<Connection> {
        let connection = self.connect().map_err(failed)?;
        connection.execute_batch("PRAGMA query_only = ON").map_err(failed)?;
        Ok(connection)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        // The file is there already, and each connection is used by one thread at a time.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.patience)?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        // Or a statement with a `LIMIT ?` is planned again for each value.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // The journal mode is not set here: it would be changed before the file
        // is recognised. What a savepoint needs to be undone stays in memory. A
        // commit writes whole pages, and small ones hold what it has to say; a
        // file that has pages keeps their size.
        connection.execute_batch(
            "PRAGMA page_size = 2048;
             PRAGMA foreign_keys = ON;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -8192;
             PRAGMA journal_size_limit = 67108864",
        )?;
        connection.execute_batch(match self.synchronous {
            Synchronous::Full => "PRAGMA synchronous = FULL",
            Synchronous::Normal => "PRAGMA synchronous = NORMAL",
        })?;
        Ok(connection)
    }
}
