//! One transaction over a group of writes.

use std::collections::VecDeque;

use quark_core::{Error, Result};
use rusqlite::Connection;

use super::write::{Write, refuse};
use crate::sqlite::failure::{commit_failed, copy, failed, is_busy, unexpected};
use crate::sqlite::log_length;

/// Writes that are done together.
pub(super) type Group = VecDeque<Box<dyn Write>>;

/// Opens a transaction. After an error nothing has happened; the connection is
/// kept if another process was in the way.
pub(super) fn begin(connection: Connection) -> Result<Connection, (Option<Connection>, Error)> {
    match execute(&connection, "BEGIN IMMEDIATE") {
        Ok(()) => Ok(connection),
        Err(error) => {
            let error = failed(error);
            let kept = is_busy(&error).then_some(connection);
            Err((kept, error))
        }
    }
}

/// Does the writes in the transaction that is open, commits and answers them.
///
/// Gives the connection back unless its state is unclear, and says how long the
/// log is now. Writes that were not begun stay in `group`.
pub(super) fn commit(connection: Connection, group: &mut Group) -> (Option<Connection>, u64) {
    let (alone, mut done) = (group.len() == 1, Vec::with_capacity(group.len()));
    while let Some(mut write) = group.pop_front() {
        if write.is_abandoned() {
            continue;
        }
        if alone {
            write.run(&connection);
            if write.error().is_some() {
                let kept = roll_back(connection);
                write.answer(None);
                return (kept, 0);
            }
            done.push(write);
        } else {
            let outcome = under_savepoint(&connection, write.as_mut());
            done.push(write);
            if let Err(error) = outcome {
                let kept = roll_back(connection);
                refuse(done, error);
                return (kept, 0);
            }
        }
    }
    // Something has ended the transaction: then it is not known what was kept.
    if connection.is_autocommit() {
        refuse(done, unexpected());
        return (None, 0);
    }
    match log_length::after(|| execute(&connection, "COMMIT")) {
        Ok(pages) => {
            done.into_iter().for_each(|write| write.answer(None));
            (Some(connection), pages)
        }
        Err(error) => {
            // Closed before it is told, so that nothing of it is kept by accident.
            drop(connection);
            refuse(done, commit_failed(error));
            (None, 0)
        }
    }
}

/// Does one write of several. An error means that the whole transaction is lost.
fn under_savepoint(connection: &Connection, write: &mut dyn Write) -> Result<()> {
    execute(connection, "SAVEPOINT quark_write").map_err(failed)?;
    write.run(connection);
    if let Some(error) = write.error() {
        // When the disk is full or fails, SQLite may have undone the whole transaction already.
        execute(connection, "ROLLBACK TO quark_write").map_err(|_| copy(error))?;
    }
    execute(connection, "RELEASE quark_write").map_err(failed)
}

/// Gives the connection back if nothing is open any more.
fn roll_back(connection: Connection) -> Option<Connection> {
    // SQLite may have done it by itself.
    let is_undone = connection.is_autocommit() || execute(&connection, "ROLLBACK").is_ok();
    is_undone.then_some(connection)
}

pub(super) fn execute(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
