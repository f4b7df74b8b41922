//! How far the store has come, and going on from further ahead.

use quark_core::Result;
use sqlx::SqliteConnection;

use super::apps;
use super::bulk::Share;
use super::failure::failed;
use super::rows::{self, Columns};

/// How far a leap goes: more numbers than a store gives between two backups.
const LEAP: u64 = 1 << 32;

/// The number of the last event, and what leaps have added to it: the number
/// that `AUTOINCREMENT` counts on from.
pub(super) async fn position(connection: &mut SqliteConnection) -> Result<u64> {
    let row =
        sqlx::query("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'quark_events'), 0) AS position")
            .fetch_one(connection)
            .await
            .map_err(failed)?;
    Columns(&row).number("position")
}

/// What leaps have added to every number: those of an app that comes new begin
/// above it. (Fences read it where they are given.)
pub(super) async fn leapt(connection: &mut SqliteConnection) -> Result<u64> {
    let row = sqlx::query("SELECT CAST(value AS INTEGER) AS leapt FROM quark_meta WHERE key = 'leapt'")
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    Columns(&row).number("leapt")
}

/// Makes every number that will be given higher, and takes every lease away.
pub(super) async fn leap(connection: &mut SqliteConnection) -> Result<()> {
    let (leapt, position) = (leapt(connection).await? + LEAP, position(connection).await? + LEAP);
    sqlx::query("UPDATE quark_meta SET value = ? WHERE key = 'leapt'")
        .bind(leapt.to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query("UPDATE quark_leases SET owner = NULL, fence = fence + ?")
        .bind(rows::integer("fence", LEAP)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let mut share = Share::default();
    for app in apps::all(connection).await? {
        let mut serving = app.serving;
        serving.generation.0 += LEAP;
        apps::write_serving(&mut share, &app.spec.name, &serving)?;
    }
    share.run(connection).await?;
    // Without an event so far there is no row.
    sqlx::query("DELETE FROM sqlite_sequence WHERE name = 'quark_events'")
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ('quark_events', ?)")
        .bind(rows::integer("position", position)?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
