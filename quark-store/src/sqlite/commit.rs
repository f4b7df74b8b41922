//! The one atomic change that an engine makes: compare, then write everything.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard};
use quark_core::deployment::{
    Conclusion, Deployment, DeploymentId, Endpoint, Failure, Instance, Serving, State, StepRecord, Version,
};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::bulk::{Part, Share, Sole};
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

/// `[deployment, app, version, owner, fence, unless_cancelled, admits, serves, blue, green]`: that nothing is in the
/// way of any commit that [`check`] would find. It may fail when nothing is.
pub(super) const DEMANDS: &str = "
    INSERT INTO quark_demands
    SELECT NOT EXISTS (
        SELECT 1
        FROM (SELECT value ->> 0 AS deployment, value ->> 1 AS app, value ->> 2 AS version, value ->> 3 AS owner,
                     value ->> 4 AS fence, value ->> 5 AS unless_cancelled, value ->> 6 AS admits,
                     value ->> 7 AS serves, value ->> 8 AS blue, value ->> 9 AS green
              FROM json_each(?)) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM quark_deployments AS own JOIN quark_leases AS lease ON lease.app = own.app
            WHERE own.id = wanted.deployment AND own.app = wanted.app AND own.version = wanted.version
                AND own.state <> 'completed' AND lease.owner = wanted.owner AND lease.fence = wanted.fence
                AND NOT (wanted.unless_cancelled AND own.cancel_requested_by IS NOT NULL)
                AND NOT (wanted.admits AND (
                    EXISTS (SELECT 1 FROM quark_deployments AS other
                            WHERE other.app = own.app AND other.state NOT IN ('queued', 'completed')
                                AND other.id <> own.id)
                    OR EXISTS (SELECT 1 FROM quark_deployments AS other
                               WHERE other.app = own.app AND other.state = 'queued'
                                   AND other.sequence < own.sequence)))
                AND NOT (wanted.serves AND (
                    NOT EXISTS (SELECT 1 FROM quark_apps WHERE name = own.app)
                    OR EXISTS (SELECT 1 FROM quark_endpoints AS taken
                               WHERE taken.endpoint IN (wanted.blue, wanted.green) AND taken.app <> own.app)))))";

/// `[id, kind, kind_details, release, revision, artifact, slot, state, conclusion, failure, fence, version, started_at,
/// finished_at]`: all that may change. Not who asked for what and when, and not the wish to cancel, which others write.
pub(super) const DEPLOYMENTS: &str = "
    UPDATE quark_deployments
    SET kind = row ->> 1, kind_details = row ->> 2, release = row ->> 3, revision = row ->> 4, artifact = row ->> 5,
        slot = row ->> 6, state = row ->> 7, conclusion = row ->> 8, failure = row ->> 9, fence = row ->> 10,
        version = row ->> 11, started_at = row ->> 12, finished_at = row ->> 13
    FROM (SELECT value AS row FROM json_each(?))
    WHERE id = row ->> 0";

/// `[deployment, name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure]`, in their
/// order.
pub(super) const STEPS: &str = "
    INSERT INTO quark_steps (
        deployment, ordinal, name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure)
    SELECT deployment,
           coalesce((SELECT max(ordinal) FROM quark_steps WHERE quark_steps.deployment = step.deployment), 0)
               + row_number() OVER (PARTITION BY deployment ORDER BY key),
           row ->> 1, row ->> 2, row ->> 3, row ->> 4, row ->> 5, row ->> 6, row ->> 7, row ->> 8, row ->> 9, row ->> 10
    FROM (SELECT key, value AS row, value ->> 0 AS deployment FROM json_each(?)) AS step
    WHERE TRUE
    ON CONFLICT (deployment, name, attempt) DO UPDATE
    SET phase = excluded.phase, fence = excluded.fence, resumed = excluded.resumed,
        started_at = excluded.started_at, finished_at = excluded.finished_at, deadline = excluded.deadline, output = excluded.output,
        failure = excluded.failure";

/// `[name, app, deployment, replica, slot, state, endpoint]`
pub(super) const INSTANCES: &str = "
    INSERT INTO quark_instances (name, app, deployment, replica, slot, state, endpoint)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
    FROM json_each(?) WHERE TRUE
    ON CONFLICT (name) DO UPDATE
    SET app = excluded.app, deployment = excluded.deployment, replica = excluded.replica, slot = excluded.slot,
        state = excluded.state, endpoint = excluded.endpoint";

/// A commit under a lease that is held, to a deployment that nobody else wrote
/// meanwhile and that has not ended.
pub(super) fn quickly(commit: &Commit, now: Timestamp) -> Result<Quick<Version>> {
    let (guard, mut share) = (&commit.guard, Share::default());
    let endpoint =
        |slot: fn(&Serving) -> Option<&Endpoint>| commit.serving.as_ref().and_then(slot).map(Endpoint::as_str);
    let demand = (
        commit.deployment.id.to_string(),
        guard.lease.app.as_str(),
        rows::integer("version", guard.version.0)?,
        guard.lease.owner.as_str(),
        rows::integer("fence", guard.lease.fence.0)?,
        guard.unless_cancelled,
        guard.admits,
        commit.serving.is_some(),
        endpoint(|serving| serving.blue.as_ref()),
        endpoint(|serving| serving.green.as_ref()),
    );
    share.row(Part::CommitDemands, &demand)?;
    share.alone_with(Sole::App(guard.lease.app.clone()));
    let version = guard.version.next();
    write(&mut share, commit, version, now)?;
    Ok(Quick::new(share, move |_| Ok(Some(version))))
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
    let mut share = Share::default();
    write(&mut share, &commit, version, now)?;
    share.run(connection).await?;
    Ok(version)
}

/// Everything that a commit writes.
fn write(share: &mut Share, commit: &Commit, version: Version, now: Timestamp) -> Result<()> {
    let (app, id) = (&commit.guard.lease.app, commit.deployment.id);
    update(share, &commit.deployment, version)?;
    if let Some(serving) = &commit.serving {
        apps::set_serving(share, app, serving)?;
    }
    for step in &commit.steps {
        write_step(share, id, step)?;
    }
    for instance in &commit.instances {
        write_instance(share, app, instance)?;
    }
    history::add_events(share, app, id, commit.at, &commit.events)?;
    for job in &commit.jobs {
        jobs::add(share, job, now)?;
    }
    if commit.forget_app {
        apps::forget(share, app)?;
    }
    Ok(())
}

fn update(share: &mut Share, deployment: &Deployment, version: Version) -> Result<()> {
    let columns = (
        deployment.id.to_string(),
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
        rows::integer("version", version.0)?,
        deployment.started_at.map(Timestamp::as_micros),
        deployment.finished_at.map(Timestamp::as_micros),
    );
    share.row(Part::Deployments, &columns)
}

fn write_step(share: &mut Share, deployment: DeploymentId, step: &StepRecord) -> Result<()> {
    let columns = (
        deployment.to_string(),
        step.name.as_str(),
        step.attempt,
        rows::name("phase", &step.phase)?,
        rows::integer("fence", step.fence.0)?,
        step.resumed,
        step.started_at.as_micros(),
        step.finished_at.map(Timestamp::as_micros),
        step.deadline.as_micros(),
        rows::optional_document("output", step.output.as_ref())?,
        rows::optional_document("failure", step.failure.as_ref())?,
    );
    share.row(Part::Steps, &columns)
}

fn write_instance(share: &mut Share, app: &AppName, instance: &Instance) -> Result<()> {
    let columns = (
        instance.name.as_str(),
        app.as_str(),
        instance.deployment.to_string(),
        instance.replica,
        instance.slot.as_str(),
        rows::name("state", &instance.state)?,
        instance.endpoint.as_str(),
    );
    share.row(Part::Instances, &columns)
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
