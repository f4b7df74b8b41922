//! How far the store has come, and going on from further ahead.

use quark_core::Result;
use rusqlite::{Connection, params};

use super::apps;
use super::rows;
use super::sql::statements;

/// How far a leap goes: more numbers than a store gives between two backups.
const LEAP: u64 = 1 << 32;

statements! {
    POSITION = "SELECT coalesce(max(sequence), 0) FROM quark_events";
    /// A row that is no event: the numbers of events go on from the last row.
    SET_POSITION = "INSERT INTO quark_events (sequence, app, deployment, at, kind) VALUES (?, '', '', 0, '')";
    LEAPT = "SELECT CAST(value AS INTEGER) FROM quark_meta WHERE key = 'leapt'";
    SET_LEAPT = "UPDATE quark_meta SET value = ? WHERE key = 'leapt'";
    LOSE_LEASES = "UPDATE quark_leases SET owner = NULL, fence = fence + ?";
}

/// The number of the last event, and what leaps have added to it: numbers go on
/// from there.
pub(super) fn position(connection: &Connection) -> Result<u64> {
    POSITION.first(connection, [], |columns| columns.number()).map(|position| position.unwrap_or(0))
}

/// What leaps have added to every number: those of an app that comes new begin
/// above it.
pub(super) fn leapt(connection: &Connection) -> Result<u64> {
    LEAPT.first(connection, [], |columns| columns.number()).map(|leapt| leapt.unwrap_or(0))
}

/// Makes every number that will be given higher, and takes every lease away.
pub(super) fn leap(connection: &Connection) -> Result<()> {
    let (leapt, position) = (leapt(connection)? + LEAP, position(connection)? + LEAP);
    SET_LEAPT.run(connection, [leapt.to_string()])?;
    LOSE_LEASES.run(connection, params![rows::integer("fence", LEAP)?])?;
    for app in apps::all(connection)? {
        let mut serving = app.serving;
        serving.generation.0 += LEAP;
        apps::write_serving(connection, &app.spec.name, &apps::serving_document(&serving)?)?;
    }
    SET_POSITION.run(connection, params![rows::integer("position", position)?]).map(|_| ())
}
