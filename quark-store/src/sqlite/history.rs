//! Events and log lines: written once, read in order.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::deployment::{DeploymentId, Event, EventKind, LogLine, LogStream};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::failure::failed;
use super::rows;
use super::writer::Quick;

/// Lines per statement: four values each, far below SQLite's limit of 32766.
const LINES_AT_ONCE: usize = 500;
/// As many lines as are often appended at once.
const USUAL_LINES: usize = 8;

/// Appends events, in their order.
pub(super) fn add_events(
    batch: &mut Batch,
    app: &AppName,
    deployment: DeploymentId,
    at: Timestamp,
    kinds: &[EventKind],
) -> Result<()> {
    for kind in kinds {
        batch
            .statement("INSERT INTO quark_events (app, deployment, at, kind) VALUES (?, ?, ?, ?)")
            .bind(app.as_str())
            .bind(deployment.to_string())
            .bind(at.as_micros())
            .bind(rows::document("kind", kind)?);
    }
    Ok(())
}

pub(super) async fn events(
    connection: &mut SqliteConnection,
    deployment: Option<DeploymentId>,
    after: u64,
    most: usize,
) -> Result<Vec<Event>> {
    let query = match deployment {
        None => sqlx::query(
            "SELECT sequence, app, deployment, at, kind FROM quark_events
             WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
        )
        .bind(rows::place(after))
        .bind(rows::limit(most)),
        Some(deployment) => sqlx::query(
            "SELECT sequence, app, deployment, at, kind FROM quark_events
             WHERE sequence > ?1 AND deployment = ?3 ORDER BY sequence LIMIT ?2",
        )
        .bind(rows::place(after))
        .bind(rows::limit(most))
        .bind(deployment.to_string()),
    };
    let found = query.fetch_all(connection).await.map_err(failed)?;
    found.iter().map(rows::event).collect()
}

/// Numbers the lines from where the log ends, and appends them.
pub(super) fn append_log(deployment: DeploymentId, lines: &[(Timestamp, LogStream, String)]) -> Quick<Result<()>> {
    let (id, mut batch) = (deployment.to_string(), Batch::new());
    if lines.len() > USUAL_LINES {
        // Each number of lines is another statement.
        batch.only_once();
    }
    for some in lines.chunks(LINES_AT_ONCE) {
        batch.statement(
            "INSERT INTO quark_logs (deployment, sequence, at, stream, text)
             SELECT id, (SELECT coalesce(max(sequence), 0) FROM quark_logs WHERE deployment = id) + column1,
                    column2, column3, column4
             FROM quark_deployments, (VALUES ",
        );
        for (place, (at, stream, text)) in (1_i64..).zip(some) {
            batch.and(if place == 1 { "(?, ?, ?, ?)" } else { ", (?, ?, ?, ?)" });
            batch.bind(place).bind(at.as_micros()).bind(stream.as_str()).bind(text.as_str());
        }
        batch.and(") WHERE id = ?").bind(id.as_str());
    }
    batch.statement("SELECT 1 FROM quark_deployments WHERE id = ?").bind(id.as_str());
    Quick::new(batch, move |done| {
        let known = done.last().is_some_and(|known| !known.rows.is_empty());
        Ok(Some(if known { Ok(()) } else { Err(refusal::deployment_not_found(deployment)) }))
    })
}

pub(super) async fn log(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    after: u64,
    most: usize,
) -> Result<Vec<LogLine>> {
    let found = sqlx::query(
        "SELECT sequence, at, stream, text FROM quark_logs
         WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT ?",
    )
    .bind(deployment.to_string())
    .bind(rows::place(after))
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(rows::log_line).collect()
}
