//! The journal: what an engine was about to do, and what became of it.

use quark_core::Result;
use quark_core::deployment::{DeploymentId, Fence, StepRecord};
use rusqlite::{Connection, params};

use super::rows::{self, Columns};
use super::sql::statements;

statements! {
    /// A step keeps its place when it is written again.
    WRITE = "INSERT INTO quark_steps (
            deployment, name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure,
            position)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,
            (SELECT coalesce(max(position), 0) + 1 FROM quark_steps WHERE deployment = ?1))
        ON CONFLICT (deployment, name, attempt) DO UPDATE
        SET phase = excluded.phase, fence = excluded.fence, resumed = excluded.resumed,
            started_at = excluded.started_at, finished_at = excluded.finished_at, deadline = excluded.deadline,
            output = excluded.output, failure = excluded.failure";
    OF_DEPLOYMENT = "SELECT name, attempt, phase, fence, resumed, started_at, finished_at, deadline, output, failure
        FROM quark_steps WHERE deployment = ? ORDER BY position";
}

/// What of a step takes time to write down, and is done beforehand.
#[derive(Debug)]
pub(super) struct Documents {
    phase: String,
    output: Option<String>,
    failure: Option<String>,
}

impl Documents {
    pub(super) fn of(step: &StepRecord) -> Result<Self> {
        Ok(Self {
            phase: rows::name("phase", &step.phase)?,
            output: rows::optional_document("output", step.output.as_ref())?,
            failure: rows::optional_document("failure", step.failure.as_ref())?,
        })
    }
}

/// Writes a step; one of the same name and attempt is replaced.
pub(super) fn write(
    connection: &Connection,
    deployment: DeploymentId,
    step: &StepRecord,
    documents: &Documents,
) -> Result<()> {
    let values = params![
        deployment.to_string(),
        step.name.as_str(),
        step.attempt,
        documents.phase,
        rows::integer("fence", step.fence.0)?,
        step.resumed,
        step.started_at.as_micros(),
        step.finished_at.map(|at| at.as_micros()),
        step.deadline.as_micros(),
        documents.output,
        documents.failure,
    ];
    WRITE.run(connection, values).map(|_| ())
}

/// The steps of a deployment, in the order in which they were first begun.
pub(super) fn of_deployment(connection: &Connection, deployment: DeploymentId) -> Result<Vec<StepRecord>> {
    OF_DEPLOYMENT.all(connection, [deployment.to_string()], read)
}

fn read(columns: &mut Columns<'_>) -> Result<StepRecord> {
    Ok(StepRecord {
        name: columns.named()?,
        attempt: columns.number()?,
        phase: columns.named()?,
        fence: Fence(columns.number()?),
        resumed: columns.number()?,
        started_at: columns.time()?,
        finished_at: columns.optional_time()?,
        deadline: columns.time()?,
        output: columns.optional_document()?,
        failure: columns.optional_document()?,
    })
}
