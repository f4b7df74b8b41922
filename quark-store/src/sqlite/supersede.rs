//! What a newer deployment means for those before it, and deployments that are
//! asked to stop. The caller's transaction makes each of it one change.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::backend::{CancelOutcome, CreatedDeployment};
use quark_core::deployment::{
    CancelRequest, Deployment, EventKind, IdempotencyKey, State, SupersedePolicy, Superseding,
};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::bulk::Share;
use super::deployments::columns;
use super::failure::failed;
use super::{history, rows};

/// The deployment that was made under the same key.
pub(super) async fn by_key(
    connection: &mut SqliteConnection,
    app: &AppName,
    key: &IdempotencyKey,
) -> Result<Option<Deployment>> {
    let row =
        sqlx::query(concat!("SELECT ", columns!(), " FROM quark_deployments WHERE app = ? AND idempotency_key = ?"))
            .bind(app.as_str())
            .bind(key.as_str())
            .fetch_optional(connection)
            .await
            .map_err(failed)?;
    row.as_ref().map(rows::deployment).transpose()
}

/// What becomes of each unfinished deployment of the app, oldest first; an
/// error if one of them refuses the newer one.
pub(super) async fn verdicts(
    connection: &mut SqliteConnection,
    newer: &Deployment,
    policy: SupersedePolicy,
) -> Result<Vec<(Deployment, Superseding)>> {
    // Each half has an index of its own; what has ended is never looked at.
    let found = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM quark_deployments WHERE app = ?1 AND state = 'queued' UNION ALL SELECT ",
        columns!(),
        " FROM quark_deployments WHERE app = ?1 AND state NOT IN ('queued', 'completed') ORDER BY sequence"
    ))
    .bind(newer.app.as_str())
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let mut verdicts = Vec::with_capacity(found.len());
    for row in &found {
        let earlier = rows::deployment(row)?;
        match policy.verdict(newer, &earlier) {
            Superseding::Refuses => return Err(refusal::deployment_under_way(earlier.id)),
            verdict => verdicts.push((earlier, verdict)),
        }
    }
    Ok(verdicts)
}

/// Does to the earlier deployments what the verdicts say.
pub(super) async fn carry_out(
    connection: &mut SqliteConnection,
    newer: Deployment,
    verdicts: Vec<(Deployment, Superseding)>,
) -> Result<CreatedDeployment> {
    let request = CancelRequest::superseded_by(&newer.created_by, newer.id, newer.created_at);
    let (mut ended, mut stopping) = (Vec::new(), Vec::new());
    for (mut earlier, verdict) in verdicts {
        match verdict {
            Superseding::Ends => {
                ask_to_stop(connection, &mut earlier, request.clone()).await?;
                ended.push(earlier);
            }
            Superseding::Stops => {
                ask_to_stop(connection, &mut earlier, request.clone()).await?;
                stopping.push(earlier.id);
            }
            Superseding::Stays | Superseding::Refuses => {}
        }
    }
    Ok(CreatedDeployment { deployment: newer, existing: false, ended, stopping })
}

/// Asks a deployment to stop, and ends it if it waits. The version of one that
/// is under way stays: a wish must not make the engine's next write fail.
pub(super) async fn ask_to_stop(
    connection: &mut SqliteConnection,
    deployment: &mut Deployment,
    request: CancelRequest,
) -> Result<CancelOutcome> {
    if !deployment.state.can_cancel() {
        return Ok(CancelOutcome::TooLate);
    }
    if deployment.cancel.is_some() {
        return Ok(CancelOutcome::Requested);
    }
    let mut events = vec![EventKind::CancelRequested { by: request.by.clone() }];
    let at = request.at;
    deployment.cancel = Some(request);
    let waited = deployment.state == State::Queued;
    if waited {
        deployment.end_before_it_began(at);
        events.push(EventKind::StateChanged { from: State::Queued, to: deployment.state });
        events.extend(deployment.conclusion.map(|conclusion| EventKind::Completed { conclusion, failure: None }));
    }
    write_stop(connection, deployment).await?;
    let mut share = Share::default();
    history::add_events(&mut share, &deployment.app, deployment.id, at, &events)?;
    share.run(connection).await?;
    Ok(if waited { CancelOutcome::Ended } else { CancelOutcome::Requested })
}

async fn write_stop(connection: &mut SqliteConnection, deployment: &Deployment) -> Result<()> {
    let cancel = deployment.cancel.as_ref();
    sqlx::query(
        "UPDATE quark_deployments
         SET cancel_requested_by = ?, cancel_requested_at = ?, cancel_superseded_by = ?,
             state = ?, conclusion = ?, version = ?, finished_at = ?
         WHERE id = ?",
    )
    .bind(cancel.map(|cancel| cancel.by.as_str()))
    .bind(cancel.map(|cancel| cancel.at.as_micros()))
    .bind(cancel.and_then(|cancel| cancel.superseded_by).map(|newer| newer.to_string()))
    .bind(deployment.state.as_str())
    .bind(deployment.conclusion.map(|conclusion| conclusion.as_str()))
    .bind(rows::integer("version", deployment.version.0)?)
    .bind(deployment.finished_at.map(Timestamp::as_micros))
    .bind(deployment.id.to_string())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
