//! Events and log lines: written once, read in order.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::deployment::{DeploymentId, Event, EventKind, LogLine, LogStream};
use quark_core::{Result, Timestamp};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::failure::failed;
use super::rows::{self, Columns};

/// Lines per statement: five values each, far below SQLite's limit of 32766.
const LINES_AT_ONCE: usize = 500;

pub(super) async fn add_event(
    connection: &mut SqliteConnection,
    app: &AppName,
    deployment: DeploymentId,
    at: Timestamp,
    kind: &EventKind,
) -> Result<()> {
    sqlx::query("INSERT INTO quark_events (app, deployment, at, kind) VALUES (?, ?, ?, ?)")
        .bind(app.as_str())
        .bind(deployment.to_string())
        .bind(at.as_micros())
        .bind(rows::document("kind", kind)?)
        .execute(connection)
        .await
        .map_err(failed)?;
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

pub(super) async fn append_log(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    lines: Vec<(Timestamp, LogStream, String)>,
) -> Result<()> {
    let id = deployment.to_string();
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM quark_deployments WHERE id = ?1) AS found,
                (SELECT coalesce(max(sequence), 0) FROM quark_logs WHERE deployment = ?1) AS newest",
    )
    .bind(id.as_str())
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    if !Columns(&row).flag("found")? {
        return Err(refusal::deployment_not_found(deployment));
    }
    let mut sequence: i64 = Columns(&row).number("newest")?;
    for some in lines.chunks(LINES_AT_ONCE) {
        let mut insert =
            QueryBuilder::<Sqlite>::new("INSERT INTO quark_logs (deployment, sequence, at, stream, text) ");
        insert.push_values(some, |mut values, (at, stream, text)| {
            sequence += 1;
            values.push_bind(id.as_str()).push_bind(sequence).push_bind(at.as_micros());
            values.push_bind(stream.as_str()).push_bind(text.as_str());
        });
        // Each number of lines is another statement: not worth keeping.
        insert.build().persistent(false).execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
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
