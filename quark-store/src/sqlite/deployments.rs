//! Deployments: writing them down, reading them, asking them to stop.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, NewJob, Snapshot};
use quark_core::deployment::{Deployment, DeploymentId, DeploymentKind, EventKind, State, Version};
use quark_core::{Error, ErrorKind, Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::{Batch, row};
use super::failure::failed;
use super::readers::Readers;
use super::rows::{self, Columns};
use super::{apps, commit, history, jobs};
use crate::error::unreadable;

/// All columns of `quark_deployments`, for literals.
macro_rules! columns {
    () => {
        "id, app, team, sequence, kind_details, release, revision, artifact, slot, state, conclusion, failure, \
         cancel_requested_by, cancel_requested_at, fence, version, created_by, created_at, started_at, finished_at"
    };
}

/// Writes a deployment down, with its event and its job.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    mut deployment: Deployment,
    job: NewJob,
    now: Timestamp,
) -> Result<Deployment> {
    deployment.sequence = next_sequence(connection, &deployment).await?;
    deployment.version = Version(1);
    deployment.cancel = None;
    let mut batch = Batch::new();
    insert(&mut batch, &deployment)?;
    let (id, at) = (deployment.id, deployment.created_at);
    if deployment.kind == DeploymentKind::Remove {
        apps::mark_removed(&mut batch, &deployment.app, at);
    }
    history::add_events(&mut batch, &deployment.app, id, at, &[EventKind::Created])?;
    jobs::add(&mut batch, jobs::new_id(), &job, now);
    batch.run(connection).await?;
    Ok(deployment)
}

/// The number of an app's next deployment, if it may have that one.
async fn next_sequence(connection: &mut SqliteConnection, deployment: &Deployment) -> Result<u64> {
    let mut batch = Batch::new();
    batch.statement("SELECT removed_at FROM quark_apps WHERE name = ?").bind(deployment.app.as_str());
    batch.statement("SELECT 1 FROM quark_deployments WHERE id = ?").bind(deployment.id.to_string());
    batch
        .statement("SELECT coalesce(max(sequence), 0) + 1 AS next FROM quark_deployments WHERE app = ?")
        .bind(deployment.app.as_str());
    let done = batch.run(connection).await?;
    let Some(app) = row(&done, 0) else {
        return Err(refusal::app_not_found(&deployment.app));
    };
    if Columns(app).optional_time("removed_at")?.is_some() {
        return Err(refusal::app_removed(&deployment.app));
    }
    if row(&done, 1).is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a deployment `{}` already", deployment.id))
            .with_code("deployment_exists"));
    }
    if deployment.state.is_active() {
        commit::refuse_if_another_is_active(connection, &deployment.app, deployment.id).await?;
    }
    let next = row(&done, 2).ok_or_else(|| unreadable("sequence"))?;
    Columns(next).number("next")
}

fn insert(batch: &mut Batch, deployment: &Deployment) -> Result<()> {
    batch
        .statement(
            "INSERT INTO quark_deployments (
                 id, app, team, sequence, kind, kind_details, release, revision, artifact, slot, state, conclusion,
                 failure, fence, version, created_by, created_at, started_at, finished_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(deployment.id.to_string())
        .bind(deployment.app.as_str())
        .bind(deployment.team.as_str())
        .bind(rows::integer("sequence", deployment.sequence)?)
        .bind(deployment.kind.as_str())
        .bind(rows::document("kind_details", &deployment.kind)?)
        .bind(rows::document("release", &deployment.release)?)
        .bind(rows::document("revision", &deployment.revision)?)
        .bind(rows::optional_document("artifact", deployment.artifact.as_ref())?)
        .bind(deployment.slot.map(|slot| slot.as_str()))
        .bind(deployment.state.as_str())
        .bind(deployment.conclusion.map(|conclusion| conclusion.as_str()))
        .bind(rows::optional_document("failure", deployment.failure.as_ref())?)
        .bind(rows::integer("fence", deployment.fence.0)?)
        .bind(rows::integer("version", deployment.version.0)?)
        .bind(deployment.created_by.as_str())
        .bind(deployment.created_at.as_micros())
        .bind(deployment.started_at.map(Timestamp::as_micros))
        .bind(deployment.finished_at.map(Timestamp::as_micros));
    Ok(())
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
    let mut batch = Batch::new();
    batch
        .statement("UPDATE quark_deployments SET cancel_requested_by = ?, cancel_requested_at = ? WHERE id = ?")
        .bind(by.as_str())
        .bind(at.as_micros())
        .bind(id.to_string());
    history::add_events(&mut batch, &app, id, at, &[EventKind::CancelRequested { by }])?;
    batch.run(connection).await?;
    Ok(CancelOutcome::Requested)
}
