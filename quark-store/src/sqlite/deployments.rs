//! Deployments: writing them down, reading them, asking them to stop.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, CreatedDeployment, NewJob, Snapshot};
use quark_core::deployment::{
    CancelRequest, Deployment, DeploymentId, DeploymentKind, EventKind, Instance, SupersedePolicy, Version,
};
use quark_core::{Error, ErrorKind, Result, Timestamp};
use sqlx::{Connection, SqliteConnection};

use super::failure::failed;
use super::rows::{self, Columns};
use super::{apps, commit, history, jobs, supersede};

/// All columns of `quark_deployments`, for literals.
macro_rules! columns {
    () => {
        "id, app, team, sequence, kind_details, release, revision, artifact, slot, state, conclusion, failure, \
         cancel_requested_by, cancel_requested_at, cancel_superseded_by, fence, version, created_by, trigger_kind, \
         idempotency_key, created_at, started_at, finished_at"
    };
}

pub(super) use columns;

/// Writes a deployment down, with its event, its job, and what it means for
/// those before it.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    mut deployment: Deployment,
    job: NewJob,
    policy: SupersedePolicy,
    now: Timestamp,
) -> Result<CreatedDeployment> {
    if let Some(key) = &deployment.key
        && let Some(known) = supersede::by_key(connection, &deployment.app, key).await?
    {
        return Ok(CreatedDeployment { deployment: known, existing: true, ended: Vec::new(), stopping: Vec::new() });
    }
    let Some(app) = apps::find(connection, &deployment.app).await? else {
        return Err(refusal::app_not_found(&deployment.app));
    };
    if app.removed_at.is_some() {
        return Err(refusal::app_removed(&deployment.app));
    }
    let verdicts = supersede::verdicts(connection, &deployment, policy).await?;
    if deployment.state.is_active() {
        commit::refuse_if_another_is_active(connection, &deployment.app, deployment.id).await?;
    }
    let row = sqlx::query("SELECT coalesce(max(sequence), 0) + 1 AS next FROM quark_deployments WHERE app = ?")
        .bind(deployment.app.as_str())
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    deployment.sequence = Columns(&row).number("next")?;
    deployment.version = Version(1);
    deployment.cancel = None;
    insert(connection, &deployment).await?;
    if deployment.kind == DeploymentKind::Remove {
        apps::mark_removed(connection, &deployment.app, deployment.created_at).await?;
    }
    let (id, at) = (deployment.id, deployment.created_at);
    history::add_event(connection, &deployment.app, id, at, &EventKind::Created).await?;
    jobs::enqueue(connection, &job, now).await?;
    supersede::carry_out(connection, deployment, verdicts).await
}

async fn insert(connection: &mut SqliteConnection, deployment: &Deployment) -> Result<()> {
    let done = sqlx::query(
        "INSERT INTO quark_deployments (
             id, app, team, sequence, kind, kind_details, release, revision, artifact, slot, state, conclusion,
             failure, fence, version, created_by, trigger_kind, idempotency_key, created_at, started_at, finished_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO NOTHING",
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
    .bind(rows::name("trigger_kind", &deployment.trigger)?)
    .bind(deployment.key.as_ref().map(|key| key.as_str()))
    .bind(deployment.created_at.as_micros())
    .bind(deployment.started_at.map(Timestamp::as_micros))
    .bind(deployment.finished_at.map(Timestamp::as_micros))
    .execute(connection)
    .await
    .map_err(failed)?;
    if done.rows_affected() == 0 {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a deployment `{}` already", deployment.id))
            .with_code("deployment_exists"));
    }
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

/// Reads everything about a deployment in one transaction, hence at one moment.
pub(super) async fn snapshot(connection: &mut SqliteConnection, id: DeploymentId) -> Result<Option<Snapshot>> {
    let mut transaction = connection.begin().await.map_err(failed)?;
    let Some(deployment) = find(&mut transaction, id).await? else {
        return Ok(None);
    };
    let app = apps::find(&mut transaction, &deployment.app).await?;
    let steps = sqlx::query(
        "SELECT name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure
         FROM quark_steps WHERE deployment = ? ORDER BY ordinal",
    )
    .bind(id.to_string())
    .fetch_all(&mut *transaction)
    .await
    .map_err(failed)?;
    let instances = instances(&mut transaction, &deployment.app).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(Some(Snapshot { app, steps: steps.iter().map(rows::step).collect::<Result<_>>()?, instances, deployment }))
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
