//! Deployments: writing them down, reading them, asking them to stop.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, Snapshot};
use quark_core::deployment::{Deployment, DeploymentId, EventKind, State};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::bulk::Share;
use super::failure::failed;
use super::history;
use super::readers::Readers;
use super::rows::{self, Columns};
use crate::error::unreadable;

/// All columns of `quark_deployments`, for literals.
macro_rules! columns {
    () => {
        "id, app, team, sequence, kind_details, release, revision, artifact, slot, state, conclusion, failure, \
         cancel_requested_by, cancel_requested_at, fence, version, created_by, created_at, started_at, finished_at"
    };
}

pub(super) async fn find(connection: &mut SqliteConnection, id: DeploymentId) -> Result<Option<Deployment>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM quark_deployments WHERE id = ?"))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.as_ref().map(rows::deployment).transpose()
}

pub(super) async fn of_app(
    connection: &mut SqliteConnection,
    app: &AppName,
    before: Option<u64>,
    most: usize,
) -> Result<Vec<Deployment>> {
    let found = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM quark_deployments WHERE app = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?"
    ))
    .bind(app.as_str())
    .bind(before.map_or(i64::MAX, rows::place))
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(rows::deployment).collect()
}

pub(super) async fn unfinished(connection: &mut SqliteConnection) -> Result<Vec<Deployment>> {
    let found = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM quark_deployments WHERE state <> 'completed' ORDER BY created_at, id"
    ))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(rows::deployment).collect()
}

/// Reads everything about a deployment at one moment.
pub(super) async fn snapshot(readers: &Readers, id: DeploymentId) -> Result<Option<Snapshot>> {
    let mut batch = Batch::new();
    let id = id.to_string();
    batch.statement(concat!("SELECT ", columns!(), " FROM quark_deployments WHERE id = ?")).bind(id.as_str());
    batch
        .statement(
            "SELECT team, spec, serving, version, created_at, updated_at, removed_at FROM quark_apps
             WHERE name = (SELECT app FROM quark_deployments WHERE id = ?)",
        )
        .bind(id.as_str());
    batch
        .statement(
            "SELECT name, attempt, phase, fence, started_at, finished_at, deadline, output, failure
             FROM quark_steps WHERE deployment = ? ORDER BY ordinal",
        )
        .bind(id.as_str());
    batch
        .statement(
            "SELECT name, deployment, replica, slot, state, endpoint FROM quark_instances
             WHERE app = (SELECT app FROM quark_deployments WHERE id = ?) AND state <> 'removed'
             ORDER BY deployment, replica",
        )
        .bind(id.as_str());
    let done = readers.together(batch).await?;
    let [deployment, app, steps, instances] = done.as_slice() else { return Err(unreadable("id")) };
    let Some(deployment) = deployment.rows.first() else { return Ok(None) };
    Ok(Some(Snapshot {
        deployment: rows::deployment(deployment)?,
        app: app.rows.first().map(rows::app).transpose()?,
        steps: steps.rows.iter().map(rows::step).collect::<Result<_>>()?,
        instances: instances.rows.iter().map(rows::instance).collect::<Result<_>>()?,
    }))
}

/// Writes down that somebody wants a deployment to stop. The version stays: a
/// wish must not make the engine's next write fail.
pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: DeploymentId,
    by: String,
    at: Timestamp,
) -> Result<CancelOutcome> {
    let row = sqlx::query("SELECT app, state, cancel_requested_by FROM quark_deployments WHERE id = ?")
        .bind(id.to_string())
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return Err(refusal::deployment_not_found(id));
    };
    let columns = Columns(&row);
    if !columns.named::<State>("state")?.can_cancel() {
        return Ok(CancelOutcome::TooLate);
    }
    if columns.optional_text("cancel_requested_by")?.is_some() {
        return Ok(CancelOutcome::Requested);
    }
    let app: AppName = columns.named("app")?;
    sqlx::query("UPDATE quark_deployments SET cancel_requested_by = ?, cancel_requested_at = ? WHERE id = ?")
        .bind(by.as_str())
        .bind(at.as_micros())
        .bind(id.to_string())
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    let mut share = Share::default();
    history::add_events(&mut share, &app, id, at, &[EventKind::CancelRequested { by }])?;
    share.run(connection).await?;
    Ok(CancelOutcome::Requested)
}
