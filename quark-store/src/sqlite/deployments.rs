//! The rows of deployments: written, read, found.

use quark_core::Result;
use quark_core::app::AppName;
use quark_core::deployment::{CancelRequest, Deployment, DeploymentId, Fence, IdempotencyKey, State, Version};
use rusqlite::{Connection, params};

use super::rows::{self, Columns};
use super::sql::statements;

/// All columns, in the order in which [`read`] takes them.
macro_rules! select {
    () => {
        "SELECT id, app, team, sequence, kind, release, revision, artifact, slot, state, conclusion, failure,
                approval, bake, expects, liveness, canary, cancel_requested_by, cancel_requested_at, cancel_superseded_by,
                fence, version, created_by, trigger_kind, idempotency_key, created_at, started_at, finished_at
         FROM quark_deployments "
    };
}

/// All that an engine may change. Not what was asked for, by whom and when, and
/// not the wish to cancel, which others write.
macro_rules! update {
    ($more:literal) => {
        concat!(
            "UPDATE quark_deployments
             SET revision = ?2, artifact = ?3, slot = ?4, state = ?5, conclusion = ?6, failure = ?7, approval = ?8,
                 bake = ?9, liveness = ?10, canary = ?11, fence = ?12, version = ?13, started_at = ?14,
                 finished_at = ?15",
            $more,
            " WHERE id = ?1"
        )
    };
}

statements! {
    /// Not the wish to cancel: no new deployment has one.
    INSERT = "INSERT INTO quark_deployments (
            id, app, team, sequence, kind, release, revision, artifact, slot, state, stage, conclusion, failure, approval,
            bake, expects, liveness, canary, fence, version, created_by, trigger_kind, idempotency_key, created_at,
            started_at, finished_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    UPDATE = update!("");
    /// Rare, and apart: it writes to indexes as well.
    UPDATE_WITH_STAGE = update!(", stage = ?16");
    SET_WISH = "UPDATE quark_deployments
        SET cancel_requested_by = ?2, cancel_requested_at = ?3, cancel_superseded_by = ?4, conclusion = ?5,
            version = ?6, finished_at = ?7, state = ?8, stage = ?9
        WHERE id = ?1";
    FIND = concat!(select!(), "WHERE id = ?");
    BY_KEY = concat!(select!(), "WHERE app = ? AND idempotency_key = ?");
    OF_APP = concat!(select!(), "WHERE app = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?");
    // Each half has an index of its own; what has ended is never looked at.
    UNFINISHED = concat!(
        select!(), "INDEXED BY quark_deployments_queued WHERE stage = 'queued' UNION ALL ",
        select!(), "INDEXED BY quark_deployments_active WHERE stage = 'active' ORDER BY created_at, id"
    );
    UNFINISHED_OF_APP = concat!(
        select!(), "WHERE app = ?1 AND stage = 'queued' UNION ALL ",
        select!(), "WHERE app = ?1 AND stage = 'active' ORDER BY sequence"
    );
    IS_KNOWN = "SELECT 1 FROM quark_deployments WHERE id = ?";
    NEXT_SEQUENCE = "SELECT coalesce(max(sequence), 0) + 1 FROM quark_deployments WHERE app = ?";
    OTHER_ACTIVE = "SELECT id FROM quark_deployments WHERE app = ? AND stage = 'active' AND id <> ?";
    EARLIER_QUEUED = "SELECT id FROM quark_deployments
        WHERE app = ? AND stage = 'queued' AND sequence < ? ORDER BY sequence LIMIT 1";
}

/// The name under which the indexes know a kind of state.
fn stage(state: State) -> &'static str {
    if state == State::Queued {
        "queued"
    } else if state.is_terminal() {
        "ended"
    } else {
        "active"
    }
}

/// The documents of a deployment that an engine may change, written before it is
/// somebody's turn to write: others need not wait for that.
#[derive(Debug)]
pub(super) struct Documents {
    revision: String,
    artifact: Option<String>,
    failure: Option<String>,
    approval: Option<String>,
    bake: Option<String>,
    liveness: Option<String>,
    canary: Option<String>,
}

impl Documents {
    pub(super) fn of(deployment: &Deployment) -> Result<Self> {
        Ok(Self {
            revision: rows::document("revision", &deployment.revision)?,
            artifact: rows::optional_document("artifact", deployment.artifact.as_ref())?,
            failure: rows::optional_document("failure", deployment.failure.as_ref())?,
            approval: rows::optional_document("approval", deployment.approval.as_ref())?,
            bake: rows::optional_document("bake", deployment.bake.as_ref())?,
            liveness: rows::optional_document("liveness", deployment.liveness.as_ref())?,
            canary: rows::optional_document("canary", deployment.canary.as_ref())?,
        })
    }
}

fn read(columns: &mut Columns<'_>) -> Result<Deployment> {
    Ok(Deployment {
        id: columns.named()?,
        app: columns.named()?,
        team: columns.named()?,
        sequence: columns.number()?,
        kind: columns.document()?,
        release: columns.document()?,
        revision: columns.document()?,
        artifact: columns.optional_document()?,
        slot: columns.optional_named()?,
        state: columns.named()?,
        conclusion: columns.optional_named()?,
        failure: columns.optional_document()?,
        approval: columns.optional_document()?,
        bake: columns.optional_document()?,
        expects: columns.optional_document()?,
        liveness: columns.optional_document()?,
        canary: columns.optional_document()?,
        cancel: read_wish(columns)?,
        fence: Fence(columns.number()?),
        version: Version(columns.number()?),
        created_by: columns.text()?.to_owned(),
        trigger: columns.named()?,
        key: columns.optional_named()?,
        created_at: columns.time()?,
        started_at: columns.optional_time()?,
        finished_at: columns.optional_time()?,
    })
}

fn read_wish(columns: &mut Columns<'_>) -> Result<Option<CancelRequest>> {
    let (by, at) = (columns.optional_text()?, columns.optional_time()?);
    let superseded_by = columns.optional_named()?;
    Ok(by.zip(at).map(|(by, at)| CancelRequest { by: by.to_owned(), at, superseded_by }))
}

/// Writes a new deployment. It has no wish to cancel.
pub(super) fn insert(connection: &Connection, deployment: &Deployment, documents: &Documents) -> Result<()> {
    let kind = rows::document("kind", &deployment.kind)?;
    let release = rows::document("release", &deployment.release)?;
    let expects = rows::optional_document("expects", deployment.expects.as_ref())?;
    let values = params![
        deployment.id.to_string(),
        deployment.app.as_str(),
        deployment.team.as_str(),
        rows::integer("sequence", deployment.sequence)?,
        kind,
        release,
        documents.revision,
        documents.artifact,
        deployment.slot.map(|slot| slot.as_str()),
        deployment.state.as_str(),
        stage(deployment.state),
        deployment.conclusion.map(|conclusion| conclusion.as_str()),
        documents.failure,
        documents.approval,
        documents.bake,
        expects,
        documents.liveness,
        documents.canary,
        rows::integer("fence", deployment.fence.0)?,
        rows::integer("version", deployment.version.0)?,
        deployment.created_by.as_str(),
        rows::name("trigger_kind", &deployment.trigger)?,
        deployment.key.as_ref().map(|key| key.as_str()),
        deployment.created_at.as_micros(),
        deployment.started_at.map(|at| at.as_micros()),
        deployment.finished_at.map(|at| at.as_micros()),
    ];
    INSERT.run(connection, values).map(|_| ())
}

/// Writes what an engine has changed in a deployment that was in state `before`.
pub(super) fn update(
    connection: &Connection,
    deployment: &Deployment,
    documents: &Documents,
    version: Version,
    before: State,
) -> Result<()> {
    let values = params![
        deployment.id.to_string(),
        documents.revision,
        documents.artifact,
        deployment.slot.map(|slot| slot.as_str()),
        deployment.state.as_str(),
        deployment.conclusion.map(|conclusion| conclusion.as_str()),
        documents.failure,
        documents.approval,
        documents.bake,
        documents.liveness,
        documents.canary,
        rows::integer("fence", deployment.fence.0)?,
        rows::integer("version", version.0)?,
        deployment.started_at.map(|at| at.as_micros()),
        deployment.finished_at.map(|at| at.as_micros()),
        stage(deployment.state),
    ];
    let stays = stage(before) == stage(deployment.state);
    let written = match values.split_last() {
        Some((_, but_the_stage)) if stays => UPDATE.run(connection, but_the_stage),
        _ => UPDATE_WITH_STAGE.run(connection, values),
    };
    written.map(|_| ())
}

/// Writes that somebody wants a deployment to stop, and that it has ended if it has.
pub(super) fn update_wish(connection: &Connection, deployment: &Deployment) -> Result<()> {
    let cancel = deployment.cancel.as_ref();
    let values = params![
        deployment.id.to_string(),
        cancel.map(|cancel| cancel.by.as_str()),
        cancel.map(|cancel| cancel.at.as_micros()),
        cancel.and_then(|cancel| cancel.superseded_by).map(|newer| newer.to_string()),
        deployment.conclusion.map(|conclusion| conclusion.as_str()),
        rows::integer("version", deployment.version.0)?,
        deployment.finished_at.map(|at| at.as_micros()),
        deployment.state.as_str(),
        stage(deployment.state),
    ];
    SET_WISH.run(connection, values).map(|_| ())
}

pub(super) fn find(connection: &Connection, id: DeploymentId) -> Result<Option<Deployment>> {
    FIND.first(connection, [id.to_string()], read)
}

pub(super) fn is_known(connection: &Connection, id: DeploymentId) -> Result<bool> {
    IS_KNOWN.finds(connection, [id.to_string()])
}

/// The deployment that was made under the same key.
pub(super) fn by_key(connection: &Connection, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
    BY_KEY.first(connection, [app.as_str(), key.as_str()], read)
}

pub(super) fn of_app(
    connection: &Connection,
    app: &AppName,
    before: Option<u64>,
    most: usize,
) -> Result<Vec<Deployment>> {
    let before = before.map_or(i64::MAX, rows::place);
    OF_APP.all(connection, params![app.as_str(), before, rows::limit(most)], read)
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Deployment>> {
    UNFINISHED.all(connection, [], read)
}

/// Those of one app, oldest first.
pub(super) fn unfinished_of_app(connection: &Connection, app: &AppName) -> Result<Vec<Deployment>> {
    UNFINISHED_OF_APP.all(connection, [app.as_str()], read)
}

/// The number of an app's next deployment.
pub(super) fn next_sequence(connection: &Connection, app: &AppName) -> Result<u64> {
    NEXT_SEQUENCE.first(connection, [app.as_str()], |columns| columns.number()).map(|next| next.unwrap_or(1))
}

/// Another deployment of the app that is active. The unique index would not let
/// there be two, but could not name the other one.
pub(super) fn other_active(connection: &Connection, app: &AppName, id: DeploymentId) -> Result<Option<DeploymentId>> {
    OTHER_ACTIVE.first(connection, params![app.as_str(), id.to_string()], |columns| columns.named())
}

/// The first of the app that waits and was made before.
pub(super) fn earlier_queued(connection: &Connection, app: &AppName, sequence: u64) -> Result<Option<DeploymentId>> {
    let sequence = rows::integer("sequence", sequence)?;
    EARLIER_QUEUED.first(connection, params![app.as_str(), sequence], |columns| columns.named())
}
