//! One transaction over a group of writes.

use std::collections::VecDeque;

use quark_core::{Error, Result};
use rusqlite::Connection;

use super::shared::Link;
use super::write::{Write, refuse};
use crate::sqlite::failure::{commit_failed, copy, failed, is_busy, unexpected};
use crate::sqlite::log_length;

/// Writes that are done together.
pub(super) type Group = VecDeque<Box<dyn Write>>;

/// A connection, unless its state is unclear, and how many pages the log has now.
pub(super) type Done = (Link, u64);

/// Does the writes in one transaction and answers them. Those that were not
/// begun stay in `group`; with an error, that is all of them.
///
/// First they are done one after the other. A write checks before it changes
/// anything, so that one that is refused leaves nothing to undo, and a
/// transaction needs no savepoints. Should one fail later than that, all is done
/// again with a savepoint for each, so that this one only is undone.
pub(super) fn commit(connection: Connection, group: &mut Group) -> Result<Done, (Link, Error)> {
    let connection = begin(connection)?;
    group.retain(|write| !write.is_abandoned());
    if together(&connection, group) {
        return Ok(finish(connection, std::mem::take(group)));
    }
    let Some(connection) = roll_back(connection) else {
        let broken = std::mem::take(group);
        refuse(broken, unexpected());
        return Ok((None, 0));
    };
    // There is nothing to tell apart.
    if group.len() == 1 && group.iter().all(|write| write.error().is_some()) {
        std::mem::take(group).into_iter().for_each(|write| write.answer(None));
        return Ok((Some(connection), 0));
    }
    Ok(one_by_one(begin(connection)?, group))
}

/// Opens a transaction. After an error nothing has happened; the connection is
/// kept if another process was in the way.
fn begin(connection: Connection) -> Result<Connection, (Link, Error)> {
    match execute(&connection, "BEGIN IMMEDIATE") {
        Ok(()) => Ok(connection),
        Err(error) => {
            let error = failed(error);
            let kept = is_busy(&error).then_some(connection);
            Err((kept, error))
        }
    }
}

/// Does the writes; whether what they wrote may be kept.
fn together(connection: &Connection, group: &mut Group) -> bool {
    group.iter_mut().all(|write| {
        let before = connection.total_changes();
        write.run(connection);
        let is_clean = write.error().is_none() || connection.total_changes() == before;
        // When the disk is full or fails, SQLite may have undone the whole transaction.
        is_clean && !connection.is_autocommit()
    })
}

fn one_by_one(connection: Connection, group: &mut Group) -> Done {
    let mut done = Group::with_capacity(group.len());
    while let Some(mut write) = group.pop_front() {
        let outcome = under_savepoint(&connection, write.as_mut());
        done.push_back(write);
        if let Err(error) = outcome {
            let kept = roll_back(connection);
            refuse(done, error);
            return (kept, 0);
        }
    }
    finish(connection, done)
}

/// Does one write. An error means that the whole transaction is lost.
fn under_savepoint(connection: &Connection, write: &mut dyn Write) -> Result<()> {
    execute(connection, "SAVEPOINT quark_write").map_err(failed)?;
    write.run(connection);
    if let Some(error) = write.error() {
        execute(connection, "ROLLBACK TO quark_write").map_err(|_| copy(error))?;
    }
    execute(connection, "RELEASE quark_write").map_err(failed)
}

/// Commits, then answers.
fn finish(connection: Connection, done: Group) -> Done {
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

/// Gives the connection back if nothing is open any more.
fn roll_back(connection: Connection) -> Link {
    // SQLite may have done it by itself.
    let is_undone = connection.is_autocommit() || execute(&connection, "ROLLBACK").is_ok();
    is_undone.then_some(connection)
}

fn execute(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
