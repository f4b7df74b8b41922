//! The one atomic change that an engine makes: compare, then write everything.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard};
use quark_core::deployment::{Conclusion, Deployment, DeploymentId, Failure, Instance, State, StepRecord, Version};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::failure::failed;
use super::rows::{self, Columns};
use super::{apps, history, jobs};

/// What a commit is compared with.
struct Stored {
    app: AppName,
    sequence: u64,
    state: State,
    conclusion: Option<Conclusion>,
    failure: Option<Failure>,
    version: Version,
    cancelled: bool,
}

pub(super) async fn commit(connection: &mut SqliteConnection, commit: Commit, now: Timestamp) -> Result<Version> {
    let Commit { guard, deployment, .. } = &commit;
    let stored = stored(connection, deployment.id, guard).await?;
    check(connection, &stored, deployment, guard).await?;
    let version = stored.version.next();
    update(connection, deployment, version).await?;
    if let Some(serving) = &commit.serving {
        apps::set_serving(connection, &stored.app, serving).await?;
    }
    for step in &commit.steps {
        write_step(connection, deployment.id, step).await?;
    }
    for instance in &commit.instances {
        write_instance(connection, &stored.app, instance).await?;
    }
    for event in &commit.events {
        history::add_event(connection, &stored.app, deployment.id, commit.at, event).await?;
    }
    for job in &commit.jobs {
        jobs::enqueue(connection, job, now).await?;
    }
    if commit.forget_app {
        apps::forget(connection, &stored.app).await?;
    }
    Ok(version)
}

/// Reads what is there, if the lease gives a right to it. Time does not matter
/// here: as long as nobody took over, nothing was missed.
async fn stored(connection: &mut SqliteConnection, id: DeploymentId, guard: &Guard) -> Result<Stored> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM quark_leases
                        WHERE app = ?2 AND owner = ?3 AND fence = ?4) AS lease_held,
                id, app, sequence, state, conclusion, failure, version,
                cancel_requested_by IS NOT NULL AS cancelled
         FROM (SELECT 1) LEFT JOIN quark_deployments ON id = ?1",
    )
    .bind(id.to_string())
    .bind(guard.lease.app.as_str())
    .bind(guard.lease.owner.as_str())
    .bind(rows::integer("fence", guard.lease.fence.0)?)
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let columns = Columns(&row);
    if !columns.flag("lease_held")? {
        return Err(refusal::fenced(&guard.lease.app));
    }
    let Some(app) = columns.optional_named::<AppName>("app")? else {
        return Err(refusal::deployment_not_found(id));
    };
    // The lease of another app gives no right to this one.
    if app != guard.lease.app {
        return Err(refusal::fenced(&app));
    }
    Ok(Stored {
        app,
        sequence: columns.number("sequence")?,
        state: columns.named("state")?,
        conclusion: columns.optional_named("conclusion")?,
        failure: columns.optional_document("failure")?,
        version: Version(columns.number("version")?),
        cancelled: columns.flag("cancelled")?,
    })
}

async fn check(connection: &mut SqliteConnection, stored: &Stored, wanted: &Deployment, guard: &Guard) -> Result<()> {
    if stored.version != guard.version {
        return Err(refusal::version_changed());
    }
    if guard.unless_cancelled && stored.cancelled {
        return Err(refusal::cancelled(wanted.id));
    }
    let kept = (wanted.state, wanted.conclusion, &wanted.failure);
    if stored.state.is_terminal() && kept != (stored.state, stored.conclusion, &stored.failure) {
        return Err(refusal::deployment_ended(wanted.id));
    }
    if guard.admits || (wanted.state.is_active() && !stored.state.is_active()) {
        refuse_if_another_is_active(connection, &stored.app, wanted.id).await?;
    }
    if guard.admits {
        refuse_if_an_earlier_one_waits(connection, stored).await?;
    }
    Ok(())
}

/// The rule that the unique index `quark_deployments_active` holds in any case,
/// asked beforehand to name the other one.
pub(super) async fn refuse_if_another_is_active(
    connection: &mut SqliteConnection,
    app: &AppName,
    id: DeploymentId,
) -> Result<()> {
    let row = sqlx::query(
        "SELECT id FROM quark_deployments
         WHERE app = ? AND state NOT IN ('queued', 'completed') AND id <> ?",
    )
    .bind(app.as_str())
    .bind(id.to_string())
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map_or(Ok(()), |row| Err(refusal::app_busy(Columns(&row).named("id")?)))
}

async fn refuse_if_an_earlier_one_waits(connection: &mut SqliteConnection, stored: &Stored) -> Result<()> {
    let row = sqlx::query(
        "SELECT id FROM quark_deployments
         WHERE app = ? AND state = 'queued' AND sequence < ? ORDER BY sequence LIMIT 1",
    )
    .bind(stored.app.as_str())
    .bind(rows::integer("sequence", stored.sequence)?)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map_or(Ok(()), |row| Err(refusal::app_busy(Columns(&row).named("id")?)))
}

/// Writes all that may change: not who asked for what and when, and not the
/// wish to cancel, which others write.
async fn update(connection: &mut SqliteConnection, deployment: &Deployment, version: Version) -> Result<()> {
    sqlx::query(
        "UPDATE quark_deployments
         SET kind = ?, kind_details = ?, release = ?, revision = ?, artifact = ?, slot = ?, state = ?,
             conclusion = ?, failure = ?, fence = ?, version = ?, started_at = ?, finished_at = ?
         WHERE id = ?",
    )
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
    .bind(rows::integer("version", version.0)?)
    .bind(deployment.started_at.map(Timestamp::as_micros))
    .bind(deployment.finished_at.map(Timestamp::as_micros))
    .bind(deployment.id.to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn write_step(connection: &mut SqliteConnection, deployment: DeploymentId, step: &StepRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO quark_steps (
             deployment, name, attempt, ordinal, phase, fence, resumed, started_at, finished_at, deadline, output,
             failure)
         VALUES (?1, ?2, ?3, (SELECT coalesce(max(ordinal), 0) + 1 FROM quark_steps WHERE deployment = ?1),
                 ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (deployment, name, attempt) DO UPDATE
         SET phase = ?4, fence = ?5, resumed = ?6, started_at = ?7, finished_at = ?8, deadline = ?9, output = ?10,
             failure = ?11",
    )
    .bind(deployment.to_string())
    .bind(step.name.as_str())
    .bind(i64::from(step.attempt))
    .bind(rows::name("phase", &step.phase)?)
    .bind(rows::integer("fence", step.fence.0)?)
    .bind(i64::from(step.resumed))
    .bind(step.started_at.as_micros())
    .bind(step.finished_at.map(Timestamp::as_micros))
    .bind(step.deadline.as_micros())
    .bind(rows::optional_document("output", step.output.as_ref())?)
    .bind(rows::optional_document("failure", step.failure.as_ref())?)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn write_instance(connection: &mut SqliteConnection, app: &AppName, instance: &Instance) -> Result<()> {
    sqlx::query(
        "INSERT INTO quark_instances (name, app, deployment, replica, slot, state, endpoint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (name) DO UPDATE
         SET app = ?2, deployment = ?3, replica = ?4, slot = ?5, state = ?6, endpoint = ?7",
    )
    .bind(instance.name.as_str())
    .bind(app.as_str())
    .bind(instance.deployment.to_string())
    .bind(i64::from(instance.replica))
    .bind(instance.slot.as_str())
    .bind(rows::name("state", &instance.state)?)
    .bind(instance.endpoint.as_str())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
