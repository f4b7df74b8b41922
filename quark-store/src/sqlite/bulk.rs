//! What a group of writes puts into each table, in one call of the driver.
//!
//! SQLite runs in a thread of its own, and a call of the driver is two changes
//! of thread: many times what a small statement costs. So all rows that a group
//! of writes has for one table go into one statement, as one array of JSON, and
//! all statements of the group are one call, however many writes share it.

use std::collections::{BTreeMap, HashSet};

use quark_core::Result;
use quark_core::app::AppName;
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::batch::{Batch, Broken, Done};
use super::rows::Columns;
use super::{apps, commit, creation, history, jobs, leases};
use crate::error::unwritable;

/// One statement over many rows. They are done in this order: what must be true
/// comes first, and rows come after those that they refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    CommitDemands,
    CreationDemands,
    ReleasedLeases,
    RenewedLeases,
    TakenLeases,
    AskedLeases,
    NewDeployments,
    Deployments,
    Serving,
    LostEndpoints,
    Endpoints,
    RemovedApps,
    ForgottenApps,
    Steps,
    Instances,
    Events,
    LogLines,
    HeldJobs,
    DoneJobs,
    ReturnedJobs,
    ReclaimedJobs,
    FreedJobs,
    NewJobs,
    QueuedJobs,
    ExpiredClaims,
    Claims,
}

impl Part {
    /// The statement; its value is an array of rows, each an array of columns.
    fn sql(self) -> &'static str {
        match self {
            Self::CommitDemands => commit::DEMANDS,
            Self::CreationDemands => creation::DEMANDS,
            Self::ReleasedLeases => leases::RELEASE,
            Self::RenewedLeases => leases::RENEW,
            Self::TakenLeases => leases::TAKE,
            Self::AskedLeases => leases::ASK,
            Self::NewDeployments => creation::INSERT,
            Self::Deployments => commit::DEPLOYMENTS,
            Self::Serving => apps::SERVING,
            Self::LostEndpoints => apps::LOST_ENDPOINTS,
            Self::Endpoints => apps::ENDPOINTS,
            Self::RemovedApps => apps::REMOVED,
            Self::ForgottenApps => apps::FORGOTTEN,
            Self::Steps => commit::STEPS,
            Self::Instances => commit::INSTANCES,
            Self::Events => history::EVENTS,
            Self::LogLines => history::LINES,
            Self::HeldJobs => jobs::BEAT,
            Self::DoneJobs => jobs::DONE,
            Self::ReturnedJobs => jobs::GIVE_BACK,
            Self::ReclaimedJobs => jobs::RECLAIM,
            Self::FreedJobs => jobs::FREE,
            Self::NewJobs => jobs::INSERT,
            Self::QueuedJobs => jobs::QUEUED,
            Self::ExpiredClaims => jobs::EXPIRED,
            Self::Claims => jobs::CLAIM,
        }
    }
}

/// What only one write of a group may deal with: statements over many rows see
/// what was there before, not what the other rows of the same group change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sole {
    /// The deployments of an app and what it serves.
    App(AppName),
    /// The lease of an app.
    Lease(AppName),
    /// The claim of a job.
    Job(String),
    /// The jobs that are free to be claimed.
    Claims,
}

/// The rows of one write.
#[derive(Debug, Default)]
pub(super) struct Share {
    rows: Vec<(Part, String)>,
    soles: Vec<Sole>,
}

impl Share {
    /// Adds a row; a tuple of its columns, in the order of the statement's.
    pub(super) fn row<R: Serialize>(&mut self, part: Part, columns: &R) -> Result<()> {
        let row = serde_json::to_string(columns).map_err(|_| unwritable("a row"))?;
        self.rows.push((part, row));
        Ok(())
    }

    /// Says that no other write of the group may deal with this.
    pub(super) fn alone_with(&mut self, sole: Sole) {
        self.soles.push(sole);
    }

    /// Does it on its own.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<Answers> {
        let mut bulk = Bulk::default();
        bulk.add(&self);
        Ok(bulk.run(connection).await?)
    }
}

/// The rows of a group of writes, by the statement they go into.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    parts: BTreeMap<Part, String>,
    soles: HashSet<Sole>,
    size: usize,
}

impl Bulk {
    /// Whether `share` may join.
    pub(super) fn has_room_for(&self, share: &Share) -> bool {
        share.soles.iter().all(|sole| !self.soles.contains(sole))
    }

    pub(super) fn add(&mut self, share: &Share) {
        self.soles.extend(share.soles.iter().cloned());
        for (part, row) in &share.rows {
            let rows = self.parts.entry(*part).or_default();
            rows.push(if rows.is_empty() { '[' } else { ',' });
            rows.push_str(row);
            self.size += row.len();
        }
    }

    /// Bytes of all rows.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Does it in a transaction of its own.
    pub(super) async fn transact(self, connection: &mut SqliteConnection) -> Result<Answers, Broken> {
        let (parts, batch) = self.into_batch();
        let mut done = batch.between("BEGIN IMMEDIATE", "COMMIT").run(connection).await?;
        done.pop();
        Ok(Answers::new(parts, done.into_iter().skip(1)))
    }

    /// Does it in the transaction that is open.
    async fn run(self, connection: &mut SqliteConnection) -> Result<Answers, Broken> {
        let (parts, batch) = self.into_batch();
        Ok(Answers::new(parts, batch.run(connection).await?.into_iter()))
    }

    fn into_batch(self) -> (Vec<Part>, Batch) {
        let (mut parts, mut batch) = (Vec::with_capacity(self.parts.len()), Batch::new());
        for (part, mut rows) in self.parts {
            rows.push(']');
            batch.statement(part.sql());
            for _ in 1..part.sql().matches('?').count() {
                batch.bind(rows.as_str());
            }
            batch.bind(rows);
            parts.push(part);
        }
        (parts, batch)
    }
}

/// What the statements of a group have yielded.
#[derive(Debug)]
pub(super) struct Answers(BTreeMap<Part, Vec<SqliteRow>>);

impl Answers {
    fn new(parts: Vec<Part>, done: impl Iterator<Item = Done>) -> Self {
        Self(parts.into_iter().zip(done.map(|done| done.rows)).collect())
    }

    pub(super) fn rows(&self, part: Part) -> &[SqliteRow] {
        self.0.get(&part).map(Vec::as_slice).unwrap_or_default()
    }

    /// The row with this text in its first column.
    pub(super) fn of<'a>(&'a self, part: Part, key: &str) -> Result<Option<Columns<'a>>> {
        for row in self.rows(part) {
            if Columns(row).first()? == key {
                return Ok(Some(Columns(row)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::sqlite::{SqliteConfig, open};

    const PARTS: [Part; 26] = [
        Part::CommitDemands,
        Part::CreationDemands,
        Part::ReleasedLeases,
        Part::RenewedLeases,
        Part::TakenLeases,
        Part::AskedLeases,
        Part::NewDeployments,
        Part::Deployments,
        Part::Serving,
        Part::LostEndpoints,
        Part::Endpoints,
        Part::RemovedApps,
        Part::ForgottenApps,
        Part::Steps,
        Part::Instances,
        Part::Events,
        Part::LogLines,
        Part::HeldJobs,
        Part::DoneJobs,
        Part::ReturnedJobs,
        Part::ReclaimedJobs,
        Part::FreedJobs,
        Part::NewJobs,
        Part::QueuedJobs,
        Part::ExpiredClaims,
        Part::Claims,
    ];

    /// How much there is in the tables must not matter to a write.
    #[tokio::test]
    async fn no_statement_looks_at_every_row_of_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = open::open(&SqliteConfig::new(folder.path().join("quark.db"))).await.unwrap();
        for part in PARTS {
            let plan = format!("EXPLAIN QUERY PLAN {}", part.sql());
            let mut query = sqlx::query_as::<_, (i64, i64, i64, String)>(AssertSqlSafe(plan));
            for _ in part.sql().matches('?') {
                query = query.bind("[]");
            }
            for (.., line) in query.fetch_all(&mut opened.writer).await.unwrap() {
                let harmless = ["VIRTUAL TABLE", "CONSTANT ROW", "(subquery"].iter().any(|scan| line.contains(scan));
                // In the order in which jobs are claimed, up to the first that may be.
                let in_order = part == Part::Claims && line.ends_with("quark_jobs_waiting");
                assert!(!line.starts_with("SCAN") || harmless || in_order, "{part:?}: {line}");
            }
        }
    }
}
