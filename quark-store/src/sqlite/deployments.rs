//! Deployments: writing them down, reading them, asking them to stop.

use quark_core::Result;
use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, Snapshot};
use quark_core::deployment::{CancelRequest, Deployment, DeploymentId, Instance};
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::failure::failed;
use super::readers::Readers;
use super::rows;
use super::supersede;
use crate::error::unreadable;

/// All columns of `quark_deployments`, for literals.
macro_rules! columns {
    () => {
        "id, app, team, sequence, kind_details, release, revision, artifact, slot, state, conclusion, failure, \
         cancel_requested_by, cancel_requested_at, cancel_superseded_by, fence, version, created_by, trigger_kind, \
         idempotency_key, created_at, started_at, finished_at"
    };
}

pub(super) use columns;

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
            "SELECT name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure
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

/// The instances of an app that are not removed.
pub(super) async fn instances(connection: &mut SqliteConnection, app: &AppName) -> Result<Vec<Instance>> {
    let found = sqlx::query(
        "SELECT name, deployment, replica, slot, state, endpoint
         FROM quark_instances WHERE app = ? AND state <> 'removed' ORDER BY deployment, replica",
    )
    .bind(app.as_str())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(rows::instance).collect()
}

/// Writes down that somebody wants a deployment to stop.
pub(super) async fn request_cancel(
    connection: &mut SqliteConnection,
    id: DeploymentId,
    request: CancelRequest,
) -> Result<CancelOutcome> {
    match find(connection, id).await? {
        Some(mut deployment) => supersede::ask_to_stop(connection, &mut deployment, request).await,
        None => Err(refusal::deployment_not_found(id)),
    }
}
