//! How a deployment is written down.

use quark_core::backend::store::refusal;
use quark_core::backend::{CreatedDeployment, NewJob};
use quark_core::deployment::{Deployment, DeploymentKind, EventKind, SupersedePolicy, Version};
use quark_core::{Error, ErrorKind, Result, Timestamp};
use serde_json::json;
use sqlx::SqliteConnection;

use super::batch::{Batch, row};
use super::bulk::{Part, Share, Sole};
use super::rows::{self, Columns};
use super::writer::Quick;
use super::{apps, commit, history, jobs, supersede};
use crate::error::unreadable;

/// `[app]`: that the app is there, is not being removed, and has nothing under way.
pub(super) const DEMANDS: &str = "
    INSERT INTO quark_demands
    SELECT NOT EXISTS (
        SELECT 1 FROM (SELECT value ->> 0 AS app FROM json_each(?)) AS wanted
        WHERE NOT EXISTS (SELECT 1 FROM quark_apps WHERE name = wanted.app AND removed_at IS NULL)
            OR EXISTS (SELECT 1 FROM quark_deployments AS other
                       WHERE other.app = wanted.app AND other.state NOT IN ('queued', 'completed'))
            OR EXISTS (SELECT 1 FROM quark_deployments AS other
                       WHERE other.app = wanted.app AND other.state = 'queued'))";

/// `[id, app, team, kind, kind_details, release, revision, artifact, slot, state, conclusion, failure, fence, version,
/// created_by, trigger_kind, idempotency_key, created_at, started_at, finished_at]`, one of an app.
pub(super) const INSERT: &str = "
    INSERT INTO quark_deployments (
        id, app, sequence, team, kind, kind_details, release, revision, artifact, slot, state, conclusion, failure,
        fence, version, created_by, trigger_kind, idempotency_key, created_at, started_at, finished_at)
    SELECT row ->> 0, row ->> 1,
           (SELECT coalesce(max(sequence), 0) + 1 FROM quark_deployments AS other WHERE other.app = row ->> 1),
           row ->> 2, row ->> 3, row ->> 4, row ->> 5, row ->> 6, row ->> 7, row ->> 8, row ->> 9, row ->> 10,
           row ->> 11, row ->> 12, row ->> 13, row ->> 14, row ->> 15, row ->> 16, row ->> 17, row ->> 18, row ->> 19
    FROM (SELECT value AS row FROM json_each(?))
    RETURNING id, sequence";

/// The usual deployment: the only one of its app that is under way, hence one
/// that supersedes none. The unique index sees to it that its key is new.
pub(super) fn quickly(deployment: &Deployment, job: &NewJob, now: Timestamp) -> Result<Quick<CreatedDeployment>> {
    let mut share = Share::default();
    share.row(Part::CreationDemands, &(deployment.app.as_str(),))?;
    share.alone_with(Sole::App(deployment.app.clone()));
    let deployment = as_created(deployment.clone());
    write(&mut share, &deployment, job, now)?;
    Ok(Quick::new(share, move |answers| {
        let created = answers.of(Part::NewDeployments, &deployment.id.to_string())?;
        let Some(created) = created else { return Ok(None) };
        let sequence = created.number("sequence")?;
        Ok(Some(newly(Deployment { sequence, ..deployment })))
    }))
}

fn newly(deployment: Deployment) -> CreatedDeployment {
    CreatedDeployment { deployment, existing: false, ended: Vec::new(), stopping: Vec::new() }
}

/// Writes a deployment down, with its event, its job, and what it means for
/// those before it.
pub(super) async fn create(
    connection: &mut SqliteConnection,
    deployment: Deployment,
    job: NewJob,
    policy: SupersedePolicy,
    now: Timestamp,
) -> Result<CreatedDeployment> {
    if let Some(key) = &deployment.key
        && let Some(known) = supersede::by_key(connection, &deployment.app, key).await?
    {
        return Ok(CreatedDeployment { existing: true, ..newly(known) });
    }
    let sequence = next_sequence(connection, &deployment).await?;
    let verdicts = supersede::verdicts(connection, &deployment, policy).await?;
    if deployment.state.is_active() {
        commit::refuse_if_another_is_active(connection, &deployment.app, deployment.id).await?;
    }
    let deployment = Deployment { sequence, ..as_created(deployment) };
    let mut share = Share::default();
    write(&mut share, &deployment, &job, now)?;
    share.run(connection).await?;
    supersede::carry_out(connection, deployment, verdicts).await
}

fn as_created(deployment: Deployment) -> Deployment {
    Deployment { version: Version(1), cancel: None, ..deployment }
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
    let next = row(&done, 2).ok_or_else(|| unreadable("sequence"))?;
    Columns(next).number("next")
}

/// Everything that a new deployment writes.
fn write(share: &mut Share, deployment: &Deployment, job: &NewJob, now: Timestamp) -> Result<()> {
    let (app, id, at) = (&deployment.app, deployment.id, deployment.created_at);
    insert(share, deployment)?;
    if deployment.kind == DeploymentKind::Remove {
        apps::mark_removed(share, app, at)?;
    }
    history::add_events(share, app, id, at, &[EventKind::Created])?;
    jobs::add(share, job, now)?;
    Ok(())
}

fn insert(share: &mut Share, deployment: &Deployment) -> Result<()> {
    let columns = json!([
        deployment.id.to_string(),
        deployment.app.as_str(),
        deployment.team.as_str(),
        deployment.kind.as_str(),
        rows::document("kind_details", &deployment.kind)?,
        rows::document("release", &deployment.release)?,
        rows::document("revision", &deployment.revision)?,
        rows::optional_document("artifact", deployment.artifact.as_ref())?,
        deployment.slot.map(|slot| slot.as_str()),
        deployment.state.as_str(),
        deployment.conclusion.map(|conclusion| conclusion.as_str()),
        rows::optional_document("failure", deployment.failure.as_ref())?,
        rows::integer("fence", deployment.fence.0)?,
        rows::integer("version", deployment.version.0)?,
        deployment.created_by.as_str(),
        rows::name("trigger_kind", &deployment.trigger)?,
        deployment.key.as_ref().map(|key| key.as_str()),
        deployment.created_at.as_micros(),
        deployment.started_at.map(Timestamp::as_micros),
        deployment.finished_at.map(Timestamp::as_micros),
    ]);
    share.row(Part::NewDeployments, &columns)
}
