//! How a deployment is written down, and asked to stop: what a newer one means
//! for those before it.

use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, CreatedDeployment, NewJob};
use quark_core::deployment::{
    CancelRequest, Deployment, DeploymentId, DeploymentKind, EventKind, State, SupersedePolicy, Superseding, Version,
};
use quark_core::{Error, ErrorKind, Result, Timestamp};
use rusqlite::Connection;

use super::deployments::Documents;
use super::{apps, commit, deployments, history, jobs};

/// Writes a deployment down, with its event, its job, and what it means for
/// those before it.
pub(super) fn create(
    connection: &Connection,
    deployment: &Deployment,
    documents: &Documents,
    job: &NewJob,
    policy: SupersedePolicy,
    now: Timestamp,
) -> Result<CreatedDeployment> {
    if let Some(key) = &deployment.key
        && let Some(deployment) = deployments::by_key(connection, &deployment.app, key)?
    {
        return Ok(CreatedDeployment { deployment, existing: true, ended: Vec::new(), stopping: Vec::new() });
    }
    check(connection, deployment)?;
    let verdicts = verdicts(connection, deployment, policy)?;
    if deployment.state.is_active() {
        commit::refuse_if_another_is_active(connection, &deployment.app, deployment.id)?;
    }
    let sequence = deployments::next_sequence(connection, &deployment.app)?;
    let deployment = Deployment { sequence, version: Version(1), cancel: None, ..deployment.clone() };
    write(connection, &deployment, documents, job, now)?;
    carry_out(connection, deployment, verdicts)
}

/// Whether the app may have a deployment of this id.
fn check(connection: &Connection, deployment: &Deployment) -> Result<()> {
    match apps::is_removed(connection, &deployment.app)? {
        None => return Err(refusal::app_not_found(&deployment.app)),
        Some(true) => return Err(refusal::app_removed(&deployment.app)),
        Some(false) => {}
    }
    if deployments::is_known(connection, deployment.id)? {
        return Err(Error::new(ErrorKind::AlreadyExists, format!("there is a deployment `{}` already", deployment.id))
            .with_code("deployment_exists"));
    }
    Ok(())
}

/// Everything that a new deployment writes.
fn write(
    connection: &Connection,
    deployment: &Deployment,
    documents: &Documents,
    job: &NewJob,
    now: Timestamp,
) -> Result<()> {
    let (app, id, at) = (&deployment.app, deployment.id, deployment.created_at);
    deployments::insert(connection, deployment, documents)?;
    if deployment.kind == DeploymentKind::Remove {
        apps::mark_removed(connection, app, at)?;
    }
    history::add_events(connection, app, id, at, &history::documents(&[EventKind::Created])?)?;
    jobs::add(connection, job, now).map(|_| ())
}

/// What becomes of each unfinished deployment of the app, oldest first; an
/// error if one of them refuses the newer one.
fn verdicts(
    connection: &Connection,
    newer: &Deployment,
    policy: SupersedePolicy,
) -> Result<Vec<(Deployment, Superseding)>> {
    let unfinished = deployments::unfinished_of_app(connection, &newer.app)?;
    let judged = unfinished.into_iter().map(|earlier| match policy.verdict(newer, &earlier) {
        Superseding::Refuses => Err(refusal::deployment_under_way(earlier.id)),
        verdict => Ok((earlier, verdict)),
    });
    judged.collect()
}

/// Does to the earlier deployments what the verdicts say.
fn carry_out(
    connection: &Connection,
    newer: Deployment,
    verdicts: Vec<(Deployment, Superseding)>,
) -> Result<CreatedDeployment> {
    let request = CancelRequest::superseded_by(&newer.created_by, newer.id, newer.created_at);
    let (mut ended, mut stopping) = (Vec::new(), Vec::new());
    for (mut earlier, verdict) in verdicts {
        match verdict {
            Superseding::Ends => {
                ask_to_stop(connection, &mut earlier, request.clone())?;
                ended.push(earlier);
            }
            Superseding::Stops => {
                ask_to_stop(connection, &mut earlier, request.clone())?;
                stopping.push(earlier.id);
            }
            Superseding::Stays | Superseding::Refuses => {}
        }
    }
    Ok(CreatedDeployment { deployment: newer, existing: false, ended, stopping })
}

/// Writes down that somebody wants a deployment to stop.
pub(super) fn request_cancel(
    connection: &Connection,
    id: DeploymentId,
    request: &CancelRequest,
) -> Result<CancelOutcome> {
    match deployments::find(connection, id)? {
        Some(mut deployment) => ask_to_stop(connection, &mut deployment, request.clone()),
        None => Err(refusal::deployment_not_found(id)),
    }
}

/// Asks a deployment to stop, and ends it if it waits. The version of one that
/// is under way stays: a wish must not make the engine's next write fail.
fn ask_to_stop(connection: &Connection, deployment: &mut Deployment, request: CancelRequest) -> Result<CancelOutcome> {
    let before = deployment.state;
    if !before.can_cancel() {
        return Ok(CancelOutcome::TooLate);
    }
    if deployment.cancel.is_some() {
        return Ok(CancelOutcome::Requested);
    }
    let mut events = vec![EventKind::CancelRequested { by: request.by.clone() }];
    let at = request.at;
    deployment.cancel = Some(request);
    let waited = before == State::Queued;
    if waited {
        deployment.end_before_it_began(at);
        events.push(EventKind::StateChanged { from: before, to: deployment.state });
        events.extend(deployment.conclusion.map(|conclusion| EventKind::Completed { conclusion, failure: None }));
    }
    deployments::update_wish(connection, deployment)?;
    history::add_events(connection, &deployment.app, deployment.id, at, &history::documents(&events)?)?;
    Ok(if waited { CancelOutcome::Ended } else { CancelOutcome::Requested })
}
