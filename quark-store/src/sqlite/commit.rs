//! The one atomic change that an engine makes: compare, then write everything.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard, Lease};
use quark_core::deployment::{Conclusion, Deployment, DeploymentId, Failure, State, Version};
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::rows;
use super::sql::statements;
use super::{apps, deployments, history, instances, jobs, steps};

statements! {
    LEASE_IS_HELD = "SELECT 1 FROM quark_leases WHERE app = ? AND owner = ? AND fence = ?";
    STORED = "SELECT app, sequence, state, conclusion, failure, version, cancel_requested_by IS NOT NULL
        FROM quark_deployments WHERE id = ?";
}

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

/// Makes the change if nothing is in its way.
pub(super) fn commit(connection: &Connection, commit: &Commit, now: Timestamp) -> Result<Version> {
    let Commit { guard, deployment, .. } = commit;
    check_lease(connection, &guard.lease)?;
    let stored = stored(connection, deployment.id)?.ok_or_else(|| refusal::deployment_not_found(deployment.id))?;
    // The lease of another app gives no right to this one.
    if stored.app != guard.lease.app {
        return Err(refusal::fenced(&stored.app));
    }
    check(connection, &stored, deployment, guard)?;
    if let Some(serving) = &commit.serving {
        apps::check_serving(connection, &stored.app, serving)?;
    }
    let version = stored.version.next();
    write(connection, commit, &stored, version, now)?;
    Ok(version)
}

/// Time does not matter here: as long as nobody took over, nothing was missed.
fn check_lease(connection: &Connection, lease: &Lease) -> Result<()> {
    let fence = rows::integer("fence", lease.fence.0)?;
    let is_held = LEASE_IS_HELD.finds(connection, params![lease.app.as_str(), lease.owner.as_str(), fence])?;
    if is_held { Ok(()) } else { Err(refusal::fenced(&lease.app)) }
}

fn stored(connection: &Connection, id: DeploymentId) -> Result<Option<Stored>> {
    STORED.first(connection, [id.to_string()], |columns| {
        Ok(Stored {
            app: columns.named()?,
            sequence: columns.number()?,
            state: columns.named()?,
            conclusion: columns.optional_named()?,
            failure: columns.optional_document()?,
            version: Version(columns.number()?),
            cancelled: columns.flag()?,
        })
    })
}

fn check(connection: &Connection, stored: &Stored, wanted: &Deployment, guard: &Guard) -> Result<()> {
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
        refuse_if_another_is_active(connection, &stored.app, wanted.id)?;
    }
    if guard.admits
        && let Some(earlier) = deployments::earlier_queued(connection, &stored.app, stored.sequence)?
    {
        return Err(refusal::app_busy(earlier));
    }
    Ok(())
}

/// An app has one active deployment.
pub(super) fn refuse_if_another_is_active(connection: &Connection, app: &AppName, id: DeploymentId) -> Result<()> {
    match deployments::other_active(connection, app, id)? {
        Some(other) => Err(refusal::app_busy(other)),
        None => Ok(()),
    }
}

fn write(connection: &Connection, commit: &Commit, stored: &Stored, version: Version, now: Timestamp) -> Result<()> {
    let (app, id) = (&stored.app, commit.deployment.id);
    deployments::update(connection, &commit.deployment, version, stored.state)?;
    if let Some(serving) = &commit.serving {
        apps::set_serving(connection, app, serving)?;
    }
    for step in &commit.steps {
        steps::write(connection, id, step)?;
    }
    for instance in &commit.instances {
        instances::write(connection, app, instance)?;
    }
    history::add_events(connection, app, id, commit.at, &commit.events)?;
    for job in &commit.jobs {
        jobs::add(connection, job, now)?;
    }
    if commit.forget_app {
        apps::forget(connection, app)?;
    }
    Ok(())
}
