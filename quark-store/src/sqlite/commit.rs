//! The one atomic change that an engine makes: compare, then write everything.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard};
use quark_core::deployment::{
    Conclusion, Deployment, DeploymentId, Endpoint, Failure, Instance, State, StepRecord, Version,
};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::failure::failed;
use super::rows::{self, Columns};
use super::writer::Quick;
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

/// A commit under a lease that is held, to a deployment that nobody else wrote
/// meanwhile and that has not ended.
pub(super) fn quickly(commit: &Commit, now: Timestamp) -> Result<Quick<Version>> {
    let version = commit.guard.version.next();
    let mut batch = Batch::new();
    demand(&mut batch, commit)?;
    write(&mut batch, commit, version, now)?;
    Ok(Quick::new(batch, move |_| Ok(Some(version))))
}

/// A commit of which it is not known what is in its way, if anything is.
pub(super) async fn commit(connection: &mut SqliteConnection, commit: Commit, now: Timestamp) -> Result<Version> {
    let Commit { guard, deployment, .. } = &commit;
    let stored = stored(connection, deployment.id, guard).await?;
    check(connection, &stored, deployment, guard).await?;
    if let Some(serving) = &commit.serving {
        apps::check_serving(connection, &stored.app, serving).await?;
    }
    let version = stored.version.next();
    let mut batch = Batch::new();
    write(&mut batch, &commit, version, now)?;
    batch.run(connection).await?;
    Ok(version)
}

/// Breaks the batch off unless [`check`] would find nothing in the way. It may
/// break off when nothing is: the unique indexes and `check` see to the rest.
fn demand(batch: &mut Batch, commit: &Commit) -> Result<()> {
    let guard = &commit.guard;
    batch
        .statement(
            "INSERT INTO quark_demands SELECT EXISTS (
                 SELECT 1 FROM quark_deployments AS own JOIN quark_leases AS lease ON lease.app = own.app
                 WHERE own.id = ? AND own.app = ? AND own.version = ? AND own.state <> 'completed'
                     AND lease.owner = ? AND lease.fence = ?",
        )
        .bind(commit.deployment.id.to_string())
        .bind(guard.lease.app.as_str())
        .bind(rows::integer("version", guard.version.0)?)
        .bind(guard.lease.owner.as_str())
        .bind(rows::integer("fence", guard.lease.fence.0)?);
    if guard.unless_cancelled {
        batch.and(" AND own.cancel_requested_by IS NULL");
    }
    if guard.admits {
        batch.and(
            " AND NOT EXISTS (
                 SELECT 1 FROM quark_deployments AS other
                 WHERE other.app = own.app AND other.state NOT IN ('queued', 'completed') AND other.id <> own.id)
             AND NOT EXISTS (
                 SELECT 1 FROM quark_deployments AS other
                 WHERE other.app = own.app AND other.state = 'queued' AND other.sequence < own.sequence)",
        );
    }
    if let Some(serving) = &commit.serving {
        batch.and(
            " AND EXISTS (SELECT 1 FROM quark_apps WHERE name = own.app)
             AND NOT EXISTS (SELECT 1 FROM quark_endpoints WHERE endpoint IN (?, ?) AND app <> own.app)",
        );
        batch.bind(serving.blue.as_ref().map(Endpoint::as_str)).bind(serving.green.as_ref().map(Endpoint::as_str));
    }
    batch.and(")");
    Ok(())
}

/// Everything that a commit writes.
fn write(batch: &mut Batch, commit: &Commit, version: Version, now: Timestamp) -> Result<()> {
    let (app, id) = (&commit.guard.lease.app, commit.deployment.id);
    update(batch, &commit.deployment, version)?;
    if let Some(serving) = &commit.serving {
        apps::set_serving(batch, app, serving)?;
    }
    for step in commit.step.iter() {
        write_step(batch, id, step)?;
    }
    for instance in &commit.instances {
        write_instance(batch, app, instance)?;
    }
    history::add_events(batch, app, id, commit.at, &commit.events)?;
    for job in &commit.jobs {
        jobs::add(batch, jobs::new_id(), job, now);
    }
    if commit.forget_app {
        apps::forget(batch, app);
    }
    Ok(())
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
fn update(batch: &mut Batch, deployment: &Deployment, version: Version) -> Result<()> {
    batch
        .statement(
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
        .bind(deployment.id.to_string());
    Ok(())
}

fn write_step(batch: &mut Batch, deployment: DeploymentId, step: &StepRecord) -> Result<()> {
    batch
        .statement(
            "INSERT INTO quark_steps (
                 deployment, ordinal, name, attempt, phase, fence, started_at, finished_at, deadline, output, failure)
             VALUES (?, (SELECT coalesce(max(ordinal), 0) + 1 FROM quark_steps WHERE deployment = ?),
                     ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (deployment, name, attempt) DO UPDATE
             SET phase = excluded.phase, fence = excluded.fence, started_at = excluded.started_at,
                 finished_at = excluded.finished_at, deadline = excluded.deadline, output = excluded.output,
                 failure = excluded.failure",
        )
        .bind(deployment.to_string())
        .bind(deployment.to_string())
        .bind(step.name.as_str())
        .bind(i64::from(step.attempt))
        .bind(rows::name("phase", &step.phase)?)
        .bind(rows::integer("fence", step.fence.0)?)
        .bind(step.started_at.as_micros())
        .bind(step.finished_at.map(Timestamp::as_micros))
        .bind(step.deadline.as_micros())
        .bind(rows::optional_document("output", step.output.as_ref())?)
        .bind(rows::optional_document("failure", step.failure.as_ref())?);
    Ok(())
}

fn write_instance(batch: &mut Batch, app: &AppName, instance: &Instance) -> Result<()> {
    batch
        .statement(
            "INSERT INTO quark_instances (name, app, deployment, replica, slot, state, endpoint)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE
             SET app = excluded.app, deployment = excluded.deployment, replica = excluded.replica,
                 slot = excluded.slot, state = excluded.state, endpoint = excluded.endpoint",
        )
        .bind(instance.name.as_str())
        .bind(app.as_str())
        .bind(instance.deployment.to_string())
        .bind(i64::from(instance.replica))
        .bind(instance.slot.as_str())
        .bind(rows::name("state", &instance.state)?)
        .bind(instance.endpoint.as_str());
    Ok(())
}
