//! Events and log lines: written once, read in order.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::deployment::{DeploymentId, Event, EventKind, LogLine, LogStream};
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;

use super::bulk::{Part, Share};
use super::failure::failed;
use super::writer::Quick;
use super::{deployments, rows};

/// `[app, deployment, at, kind]`, in their order.
pub(super) const EVENTS: &str = "
    INSERT INTO quark_events (app, deployment, at, kind)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) ORDER BY key";

/// `[deployment, at, stream, text]`, in their order. Their numbers go on from
/// where the log ends.
pub(super) const LINES: &str = "
    INSERT INTO quark_logs (deployment, sequence, at, stream, text)
    SELECT deployment,
           coalesce((SELECT max(sequence) FROM quark_logs WHERE quark_logs.deployment = line.deployment), 0)
               + row_number() OVER (PARTITION BY deployment ORDER BY place),
           at, stream, text
    FROM (SELECT key AS place, value ->> 0 AS deployment, value ->> 1 AS at, value ->> 2 AS stream,
                 value ->> 3 AS text
          FROM json_each(?)) AS line";

/// Appends events, in their order.
pub(super) fn add_events(
    share: &mut Share,
    app: &AppName,
    deployment: DeploymentId,
    at: Timestamp,
    kinds: &[EventKind],
) -> Result<()> {
    let deployment = deployment.to_string();
    for kind in kinds {
        let kind = rows::document("kind", kind)?;
        share.row(Part::Events, &(app.as_str(), deployment.as_str(), at.as_micros(), kind))?;
    }
    Ok(())
}

/// Appends lines to the log of a deployment that is there.
pub(super) fn append_log(deployment: DeploymentId, lines: &[(Timestamp, LogStream, String)]) -> Result<Quick<()>> {
    let (id, mut share) = (deployment.to_string(), Share::default());
    for (at, stream, text) in lines {
        share.row(Part::LogLines, &(id.as_str(), at.as_micros(), stream.as_str(), text))?;
    }
    Ok(Quick::new(share, |_| Ok(Some(()))))
}

/// As [`append_log`], for a deployment that may not be there.
pub(super) async fn append_log_if_known(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    lines: &[(Timestamp, LogStream, String)],
) -> Result<()> {
    if deployments::find(connection, deployment).await?.is_none() {
        return Err(refusal::deployment_not_found(deployment));
    }
    append_log(deployment, lines)?.run(connection).await
}

pub(super) async fn events(
    connection: &mut SqliteConnection,
    deployment: Option<DeploymentId>,
    after: u64,
    most: usize,
) -> Result<Vec<Event>> {
    let query = match deployment {
        None => sqlx::query(
            "SELECT sequence, app, deployment, at, kind FROM quark_events
             WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
        )
        .bind(rows::place(after))
        .bind(rows::limit(most)),
        Some(deployment) => sqlx::query(
            "SELECT sequence, app, deployment, at, kind FROM quark_events
             WHERE sequence > ?1 AND deployment = ?3 ORDER BY sequence LIMIT ?2",
        )
        .bind(rows::place(after))
        .bind(rows::limit(most))
        .bind(deployment.to_string()),
    };
    let found = query.fetch_all(connection).await.map_err(failed)?;
    found.iter().map(rows::event).collect()
}

pub(super) async fn log(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    after: u64,
    most: usize,
) -> Result<Vec<LogLine>> {
    let found = sqlx::query(
        "SELECT sequence, at, stream, text FROM quark_logs
         WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT ?",
    )
    .bind(deployment.to_string())
    .bind(rows::place(after))
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(rows::log_line).collect()
}
