//! Events and log lines: written once, read in order.

use quark_core::app::AppName;
use quark_core::backend::store::refusal;
use quark_core::deployment::{DeploymentId, Event, EventKind, LogLine, LogStream};
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};

use super::deployments;
use super::rows::{self, Columns};
use super::sql::statements;

/// The deployment of this id, if it ended before `?2` and has left nothing behind.
macro_rules! may_go {
    ($id:literal) => {
        concat!(
            "SELECT 1 FROM quark_deployments AS d WHERE d.id = ",
            $id,
            " AND d.stage = 'ended' AND d.finished_at < ?2 AND NOT EXISTS (
                SELECT 1 FROM quark_instances AS i WHERE i.app = d.app AND i.deployment = d.id)"
        )
    };
}

statements! {
    ADD_EVENT = "INSERT INTO quark_events (app, deployment, at, kind) VALUES (?, ?, ?, ?)";
    // A row without an app is where a leap has ended.
    EVENTS = "SELECT sequence, app, deployment, at, kind FROM quark_events
        WHERE sequence > ? AND app <> '' ORDER BY sequence LIMIT ?";
    EVENTS_OF_DEPLOYMENT = "SELECT sequence, app, deployment, at, kind FROM quark_events
        WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT ?";
    LAST_LINE = "SELECT coalesce(max(sequence), 0) FROM quark_logs WHERE deployment = ?";
    ADD_LINE = "INSERT INTO quark_logs (deployment, sequence, at, stream, text) VALUES (?, ?, ?, ?, ?)";
    /// Of the first deployment after this one that has a log: whether that may be forgotten.
    NEXT_LOG = concat!("SELECT deployment, EXISTS (", may_go!("l.deployment"),
        ") FROM quark_logs AS l WHERE deployment > ?1 ORDER BY deployment LIMIT 1");
    MAY_GO = may_go!("?1");
    FORGET_LOG = "DELETE FROM quark_logs WHERE deployment = ?";
    LINES = "SELECT sequence, at, stream, text FROM quark_logs
        WHERE deployment = ? AND sequence > ? ORDER BY sequence LIMIT ?";
}

/// Events as they are stored.
pub(super) fn documents(kinds: &[EventKind]) -> Result<Vec<String>> {
    kinds.iter().map(|kind| rows::document("kind", kind)).collect()
}

/// Appends events, in their order.
pub(super) fn add_events(
    connection: &Connection,
    app: &AppName,
    deployment: DeploymentId,
    at: Timestamp,
    documents: &[String],
) -> Result<()> {
    let deployment = deployment.to_string();
    for kind in documents {
        ADD_EVENT.run(connection, params![app.as_str(), deployment, at.as_micros(), kind])?;
    }
    Ok(())
}

pub(super) fn events(
    connection: &Connection,
    deployment: Option<DeploymentId>,
    after: u64,
    most: usize,
) -> Result<Vec<Event>> {
    let (after, most) = (rows::place(after), rows::limit(most));
    match deployment {
        None => EVENTS.all(connection, params![after, most], event),
        Some(id) => EVENTS_OF_DEPLOYMENT.all(connection, params![id.to_string(), after, most], event),
    }
}

fn event(columns: &mut Columns<'_>) -> Result<Event> {
    Ok(Event {
        sequence: columns.number()?,
        app: columns.named()?,
        deployment: columns.named()?,
        at: columns.time()?,
        kind: columns.document()?,
    })
}

/// Appends lines to the log of a deployment. Their numbers go on from where it ends.
pub(super) fn append_log(
    connection: &Connection,
    deployment: DeploymentId,
    lines: &[(Timestamp, LogStream, String)],
) -> Result<()> {
    if !deployments::is_known(connection, deployment)? {
        return Err(refusal::deployment_not_found(deployment));
    }
    let deployment = deployment.to_string();
    let last: i64 = LAST_LINE.first(connection, [&deployment], |columns| columns.number())?.unwrap_or(0);
    for (sequence, (at, stream, text)) in (last + 1..).zip(lines) {
        ADD_LINE.run(connection, params![deployment, sequence, at.as_micros(), stream.as_str(), text])?;
    }
    Ok(())
}

/// The deployments that ended before that time, have left nothing behind and have a log.
pub(super) fn forgettable(connection: &Connection, ended_before: Timestamp, most: usize) -> Result<Vec<String>> {
    let (mut after, mut found) = (String::new(), Vec::new());
    while found.len() < most {
        let next = NEXT_LOG.first(connection, params![after, ended_before.as_micros()], |columns| {
            Ok((columns.text()?.to_owned(), columns.flag()?))
        })?;
        let Some((deployment, may_go)) = next else { break };
        if may_go {
            found.push(deployment.clone());
        }
        after = deployment;
    }
    Ok(found)
}

/// Deletes the logs of those for which that is true still; how many it were.
pub(super) fn forget_logs(connection: &Connection, found: &[String], ended_before: Timestamp) -> Result<usize> {
    let mut forgotten = 0;
    for deployment in found {
        if MAY_GO.finds(connection, params![deployment, ended_before.as_micros()])?
            && FORGET_LOG.run(connection, [deployment])? > 0
        {
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

pub(super) fn log(connection: &Connection, deployment: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
    let values = params![deployment.to_string(), rows::place(after), rows::limit(most)];
    LINES.all(connection, values, |columns| {
        Ok(LogLine {
            sequence: columns.number()?,
            at: columns.time()?,
            stream: columns.named()?,
            text: columns.text()?.to_owned(),
        })
    })
}
