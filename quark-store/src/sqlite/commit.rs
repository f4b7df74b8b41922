//! The one atomic change that an engine makes: compare, then write everything.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard, Lease};
use quark_core::deployment::{Conclusion, Deployment, DeploymentId, Endpoint, Failure, State, Version};
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::failure::unexpected;
use super::rows;
use super::sql::statements;
use super::{apps, deployments, history, instances, jobs, leases, steps};

statements! {
    STORED = "SELECT EXISTS (SELECT 1 FROM quark_leases WHERE app = ?2 AND owner = ?3 AND fence = ?4),
               app, sequence, state, conclusion, failure, version, cancel_requested_by IS NOT NULL
        FROM (SELECT 1) LEFT JOIN quark_deployments ON id = ?1";
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

/// A change with its documents, which are written before it is somebody's turn
/// to write.
#[derive(Debug)]
pub(super) struct Prepared {
    commit: Commit,
    deployment: deployments::Documents,
    serving: Option<String>,
    steps: Vec<steps::Documents>,
    events: Vec<String>,
}

impl Prepared {
    pub(super) fn new(commit: Commit) -> Result<Self> {
        Ok(Self {
            deployment: deployments::Documents::of(&commit.deployment)?,
            serving: commit.serving.as_ref().map(apps::serving_document).transpose()?,
            steps: commit.steps.iter().map(steps::Documents::of).collect::<Result<_>>()?,
            events: history::documents(&commit.events)?,
            commit,
        })
    }
}

/// Makes the change if nothing is in its way.
pub(super) fn commit(connection: &Connection, prepared: &Prepared, now: Timestamp) -> Result<Version> {
    let Commit { guard, deployment, serving, .. } = &prepared.commit;
    let stored = stored(connection, deployment.id, &guard.lease)?;
    check(connection, &stored, deployment, guard)?;
    if let Some(room) = &guard.room {
        instances::check_room(connection, &stored.app, &prepared.commit.instances, room)?;
    }
    let held = match serving {
        Some(serving) => apps::check_serving(connection, &stored.app, serving)?,
        None => Vec::new(),
    };
    let version = stored.version.next();
    write(connection, prepared, &stored, &held, version, now)?;
    Ok(version)
}

/// Reads what is there, if the lease gives a right to it. Time does not matter
/// here: as long as nobody took over, nothing was missed.
fn stored(connection: &Connection, id: DeploymentId, lease: &Lease) -> Result<Stored> {
    let fence = rows::integer("fence", lease.fence.0)?;
    let values = params![id.to_string(), lease.app.as_str(), lease.owner.as_str(), fence];
    let stored = STORED.first(connection, values, |columns| {
        if !columns.flag()? {
            return Err(refusal::fenced(&lease.app));
        }
        let Some(app) = columns.optional_named::<AppName>()? else {
            return Err(refusal::deployment_not_found(id));
        };
        // The lease of another app gives no right to this one.
        if app != lease.app {
            return Err(refusal::fenced(&app));
        }
        Ok(Stored {
            app,
            sequence: columns.number()?,
            state: columns.named()?,
            conclusion: columns.optional_named()?,
            failure: columns.optional_document()?,
            version: Version(columns.number()?),
            cancelled: columns.flag()?,
        })
    })?;
    stored.ok_or_else(unexpected)
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

fn write(
    connection: &Connection,
    prepared: &Prepared,
    stored: &Stored,
    held: &[Endpoint],
    version: Version,
    now: Timestamp,
) -> Result<()> {
    let Prepared { commit, deployment, serving, steps, events } = prepared;
    let (app, id) = (&stored.app, commit.deployment.id);
    deployments::update(connection, &commit.deployment, deployment, version, stored.state)?;
    if let Some((serving, document)) = commit.serving.as_ref().zip(serving.as_ref()) {
        apps::set_serving(connection, app, serving, document, held)?;
    }
    for (step, documents) in commit.steps.iter().zip(steps) {
        steps::write(connection, id, step, documents)?;
    }
    for instance in &commit.instances {
        instances::write(connection, app, instance)?;
    }
    history::add_events(connection, app, id, commit.at, events)?;
    if let Some(back) = &commit.hand_back {
        leases::release(connection, &commit.guard.lease)?;
        // Before new ones are queued: one of the same name would be taken for this one.
        if let Some(claim) = back.claim {
            jobs::ack(connection, claim, now)?;
        }
    }
    for job in &commit.jobs {
        jobs::add(connection, job, now)?;
    }
    if commit.forget_app {
        apps::forget(connection, app)?;
    }
    Ok(())
}
