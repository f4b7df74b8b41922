//! One transaction over a group of writes.

use std::collections::VecDeque;

use quark_core::Result;
use rusqlite::Connection;

use super::shared::Link;
use super::write::{Write, refuse};
use crate::sqlite::failure::{commit_failed, copy, failed, is_busy, unexpected};
use crate::sqlite::log_length;

/// Writes that are done together.
pub(super) type Group = VecDeque<Box<dyn Write>>;

/// Does the writes in one transaction and answers them; says how many pages the
/// log has then. Writes that were not begun stay in `group`; with an error, that
/// is all of them.
///
/// First they are done one after the other. A write checks before it changes
/// anything, so that one that is refused leaves nothing to undo, and a
/// transaction needs no savepoints. Should one fail later than that, all is done
/// again with a savepoint for each, so that this one only is undone.
pub(super) fn commit(link: &mut Link, group: &mut Group) -> Result<u64> {
    begin(link)?;
    group.retain(|write| !write.is_abandoned());
    let may_be_kept = link.as_ref().is_some_and(|connection| together(connection, group));
    if may_be_kept {
        return Ok(finish(link, std::mem::take(group)));
    }
    roll_back(link);
    // Alone, there is nothing to tell apart.
    if link.is_none() || (group.len() == 1 && group.iter().all(|write| write.error().is_some())) {
        std::mem::take(group).into_iter().for_each(|write| write.answer_undone());
        return Ok(0);
    }
    begin(link)?;
    Ok(one_by_one(link, group))
}

/// Opens a transaction. After an error nothing has happened; the connection is
/// kept if another process was in the way.
fn begin(link: &mut Link) -> Result<()> {
    let Some(connection) = link else { return Err(unexpected()) };
    execute(connection, "BEGIN IMMEDIATE").map_err(|error| {
        let error = failed(error);
        if !is_busy(&error) {
            *link = None;
        }
        error
    })
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

fn one_by_one(link: &mut Link, group: &mut Group) -> u64 {
    let mut done = Group::with_capacity(group.len());
    while let Some(mut write) = group.pop_front() {
        let outcome = match link {
            Some(connection) => under_savepoint(connection, write.as_mut()),
            None => Err(unexpected()),
        };
        done.push_back(write);
        if let Err(error) = outcome {
            roll_back(link);
            refuse(done, error);
            return 0;
        }
    }
    finish(link, done)
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
fn finish(link: &mut Link, done: Group) -> u64 {
    let Some(connection) = link else { return 0 };
    match log_length::after(|| execute(connection, "COMMIT")) {
        Ok(pages) => {
            done.into_iter().for_each(|write| write.answer(None));
            pages
        }
        Err(error) => {
            // Closed before it is told, so that nothing of it is kept by accident.
            *link = None;
            refuse(done, commit_failed(error));
            0
        }
    }
}

/// Keeps the connection if nothing is open any more.
fn roll_back(link: &mut Link) {
    // SQLite may have done it by itself.
    let is_undone = |connection: &Connection| connection.is_autocommit() || execute(connection, "ROLLBACK").is_ok();
    *link = link.take().filter(is_undone);
}

fn execute(connection: &Connection, statement: &'static str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(|_| ())
}
