//! Jobs: the statements behind the queue.

use std::time::Duration;

use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::batch::{Batch, affected, row};
use super::failure::failed;
use super::rows::{self, Columns};
use super::writer::Quick;

/// Frees the claims that ran out: their jobs are claimed again, or dead if that
/// was the last claim.
macro_rules! free {
    () => {
        "UPDATE quark_jobs
         SET state = iif(attempt < max_attempts, 'waiting', 'dead'), reason = 'its claim ran out',
             owner = NULL, claim = NULL, visible_until = NULL
         WHERE state = 'claimed' AND visible_until <= ?"
    };
}

/// That a job is claimed under a token and the claim has not run out.
macro_rules! held {
    () => {
        " WHERE id = ? AND claim = ? AND state = 'claimed' AND visible_until > ?"
    };
}

/// Queues a job unless an unfinished one has the same key. Two statements; the
/// second one writes a row if the job is new.
pub(super) fn add(batch: &mut Batch, id: JobId, job: &NewJob, now: Timestamp) {
    // What looks unfinished may have died unnoticed.
    batch
        .statement(concat!(free!(), " AND dedupe_key = ? AND state <> 'dead'"))
        .bind(now.as_micros())
        .bind(job.dedupe_key());
    batch
        .statement(
            "INSERT INTO quark_jobs (
                 id, kind, deployment, app, priority, run_at, ready_at, max_attempts, dedupe_key, state)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting')
             ON CONFLICT (dedupe_key) WHERE state <> 'dead' DO NOTHING",
        )
        .bind(id.0.hyphenated().to_string())
        .bind(job.kind.as_str())
        .bind(job.deployment.to_string())
        .bind(job.app.as_str())
        .bind(i64::from(job.priority.0))
        .bind(job.run_at.as_micros())
        .bind(job.run_at.as_micros())
        .bind(i64::from(job.max_attempts))
        .bind(job.dedupe_key());
}

/// An id for a job that may turn out to be new.
pub(super) fn new_id() -> JobId {
    JobId(Uuid::now_v7())
}

pub(super) fn enqueue(job: &NewJob, now: Timestamp) -> Quick<Enqueued> {
    let (id, mut batch) = (new_id(), Batch::new());
    add(&mut batch, id, job, now);
    batch.statement("SELECT id FROM quark_jobs WHERE dedupe_key = ? AND state <> 'dead'").bind(job.dedupe_key());
    Quick::new(batch, move |done| {
        if affected(done, 1) > 0 {
            return Ok(Some(Enqueued::New(id)));
        }
        row(done, 2).map(|row| Columns(row).named("id").map(Enqueued::Duplicate)).transpose()
    })
}

pub(super) fn claim(owner: &OwnerId, most: usize, visibility: Duration, now: Timestamp) -> Quick<Vec<ClaimedJob>> {
    let (claim, mut batch) = (Uuid::new_v4(), Batch::new());
    batch.statement(free!()).bind(now.as_micros());
    batch
        .statement(
            "UPDATE quark_jobs
             SET state = 'claimed', owner = ?, claim = ?, visible_until = ?, attempt = attempt + 1
             WHERE position IN (
                 SELECT position FROM quark_jobs WHERE state = 'waiting' AND ready_at <= ?
                 ORDER BY priority, ready_at, position LIMIT ?)
             RETURNING id, kind, deployment, app, priority, run_at, ready_at, max_attempts, attempt, position",
        )
        .bind(owner.as_str())
        .bind(claim.hyphenated().to_string())
        .bind(now.after(visibility).as_micros())
        .bind(now.as_micros())
        .bind(rows::limit(most));
    Quick::new(batch, move |done| {
        let found = done.get(1).map(|done| done.rows.as_slice()).unwrap_or_default();
        // RETURNING promises no order.
        let mut claimed = Vec::with_capacity(found.len());
        for row in found {
            let columns = Columns(row);
            let token = ClaimToken { job: columns.named("id")?, claim };
            let job = new_job(row)?;
            let order = (job.priority, columns.time("ready_at")?, columns.number::<i64>("position")?);
            claimed.push((order, ClaimedJob { token, job, attempt: columns.number("attempt")? }));
        }
        claimed.sort_by_key(|(order, _)| *order);
        Ok(Some(claimed.into_iter().map(|(_, job)| job).collect()))
    })
}

pub(super) fn heartbeat(token: ClaimToken, visibility: Duration, now: Timestamp) -> Quick<Claim> {
    let mut batch = Batch::new();
    batch
        .statement(concat!("UPDATE quark_jobs SET visible_until = ?", held!()))
        .bind(now.after(visibility).as_micros());
    whether_held(batch, token, now)
}

pub(super) fn ack(token: ClaimToken, now: Timestamp) -> Quick<Claim> {
    let mut batch = Batch::new();
    batch.statement(concat!("DELETE FROM quark_jobs", held!()));
    whether_held(batch, token, now)
}

/// How a job is given back.
pub(super) struct Nack {
    pub(super) delay: Duration,
    pub(super) counted: bool,
    pub(super) reason: String,
}

pub(super) fn nack(token: ClaimToken, nack: &Nack, now: Timestamp) -> Quick<Claim> {
    let mut batch = Batch::new();
    batch
        .statement(concat!(
            "UPDATE quark_jobs
             SET state = iif(? AND attempt >= max_attempts, 'dead', 'waiting'), attempt = attempt - iif(?, 0, 1),
                 reason = ?, ready_at = ?, owner = NULL, claim = NULL, visible_until = NULL",
            held!()
        ))
        .bind(nack.counted)
        .bind(nack.counted)
        .bind(nack.reason.as_str())
        .bind(now.after(nack.delay).as_micros());
    whether_held(batch, token, now)
}

/// Ends a batch of one statement whose condition is `held!()`.
fn whether_held(mut batch: Batch, token: ClaimToken, now: Timestamp) -> Quick<Claim> {
    batch.bind(token.job.0.hyphenated().to_string()).bind(token.claim.hyphenated().to_string()).bind(now.as_micros());
    Quick::new(batch, |done| Ok(Some(if affected(done, 0) > 0 { Claim::Held } else { Claim::Lost })))
}

pub(super) fn reclaim(owner: &OwnerId) -> Quick<u64> {
    let mut batch = Batch::new();
    batch
        .statement(
            "UPDATE quark_jobs SET visible_until = 0 WHERE state = 'claimed' AND owner = ? AND visible_until > 0",
        )
        .bind(owner.as_str());
    Quick::new(batch, |done| Ok(Some(affected(done, 0))))
}

/// Reads only, hence counts a last claim that ran out as what it will be.
pub(super) async fn dead(connection: &mut SqliteConnection, most: usize, now: Timestamp) -> Result<Vec<DeadJob>> {
    let found = sqlx::query(
        "SELECT id, kind, deployment, app, priority, run_at, max_attempts, attempt,
                iif(state = 'dead', coalesce(reason, ''), 'its claim ran out') AS reason
         FROM quark_jobs
         WHERE state = 'dead' OR (state = 'claimed' AND visible_until <= ? AND attempt >= max_attempts)
         ORDER BY position LIMIT ?",
    )
    .bind(now.as_micros())
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(dead_job).collect()
}

pub(super) async fn depth(connection: &mut SqliteConnection, now: Timestamp) -> Result<QueueDepth> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE now_state = 'waiting' AND ready_at <= ?1) AS ready,
                count(*) FILTER (WHERE now_state = 'waiting' AND ready_at > ?1) AS delayed,
                count(*) FILTER (WHERE now_state = 'claimed') AS claimed,
                count(*) FILTER (WHERE now_state = 'dead') AS dead
         FROM (SELECT ready_at,
                      iif(state = 'claimed' AND visible_until <= ?1,
                          iif(attempt < max_attempts, 'waiting', 'dead'), state) AS now_state
               FROM quark_jobs)",
    )
    .bind(now.as_micros())
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let columns = Columns(&row);
    Ok(QueueDepth {
        ready: columns.number("ready")?,
        delayed: columns.number("delayed")?,
        claimed: columns.number("claimed")?,
        dead: columns.number("dead")?,
    })
}

/// When a job can next be claimed, as far as is known now.
pub(super) async fn next_due(connection: &mut SqliteConnection) -> Result<Option<Timestamp>> {
    let row = sqlx::query(
        "SELECT min(at) AS at FROM (
             SELECT min(ready_at) AS at FROM quark_jobs WHERE state = 'waiting'
             UNION ALL
             SELECT min(visible_until) FROM quark_jobs WHERE state = 'claimed')",
    )
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    Columns(&row).optional_time("at")
}

fn new_job(row: &SqliteRow) -> Result<NewJob> {
    let columns = Columns(row);
    Ok(NewJob {
        kind: columns.named("kind")?,
        deployment: columns.named("deployment")?,
        app: columns.named("app")?,
        priority: Priority(columns.number("priority")?),
        run_at: columns.time("run_at")?,
        max_attempts: columns.number("max_attempts")?,
    })
}

fn dead_job(row: &SqliteRow) -> Result<DeadJob> {
    let (columns, job) = (Columns(row), new_job(row)?);
    let (reason, attempt) = (columns.text("reason")?, columns.number::<u32>("attempt")?);
    let reason = format!("{reason} (attempt {attempt} of {})", job.max_attempts);
    Ok(DeadJob { id: columns.named("id")?, job, reason })
}
