//! Jobs: the statements behind the queue.

use std::time::Duration;

use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Result, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::failure::failed;
use super::rows::{self, Columns};

/// Queues a job unless an unfinished one has the same key.
pub(super) async fn enqueue(connection: &mut SqliteConnection, job: &NewJob, now: Timestamp) -> Result<Enqueued> {
    if let Some(id) = insert(connection, job).await? {
        return Ok(Enqueued::New(id));
    }
    // What looks unfinished may have died unnoticed.
    if free_expired(connection, now).await?
        && let Some(id) = insert(connection, job).await?
    {
        return Ok(Enqueued::New(id));
    }
    let row = sqlx::query("SELECT id FROM quark_jobs WHERE dedupe_key = ? AND state <> 'dead'")
        .bind(job.dedupe_key())
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    Ok(Enqueued::Duplicate(Columns(&row).named("id")?))
}

async fn insert(connection: &mut SqliteConnection, job: &NewJob) -> Result<Option<JobId>> {
    let id = Uuid::now_v7();
    let done = sqlx::query(
        "INSERT INTO quark_jobs (
             id, kind, deployment, app, priority, run_at, ready_at, max_attempts, dedupe_key, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, 'waiting')
         ON CONFLICT (dedupe_key) WHERE state <> 'dead' DO NOTHING",
    )
    .bind(id.hyphenated().to_string())
    .bind(job.kind.as_str())
    .bind(job.deployment.to_string())
    .bind(job.app.as_str())
    .bind(i64::from(job.priority.0))
    .bind(job.run_at.as_micros())
    .bind(i64::from(job.max_attempts))
    .bind(job.dedupe_key())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok((done.rows_affected() > 0).then_some(JobId(id)))
}

pub(super) async fn claim(
    connection: &mut SqliteConnection,
    owner: OwnerId,
    most: usize,
    visibility: Duration,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>> {
    free_expired(connection, now).await?;
    let claim = Uuid::new_v4();
    let found = sqlx::query(
        "UPDATE quark_jobs
         SET state = 'claimed', owner = ?1, claim = ?2, visible_until = ?3, attempt = attempt + 1
         WHERE position IN (
             SELECT position FROM quark_jobs WHERE state = 'waiting' AND ready_at <= ?4
             ORDER BY priority, ready_at, position LIMIT ?5)
         RETURNING id, kind, deployment, app, priority, run_at, ready_at, max_attempts, attempt, position",
    )
    .bind(owner.as_str())
    .bind(claim.hyphenated().to_string())
    .bind(now.after(visibility).as_micros())
    .bind(now.as_micros())
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    // RETURNING promises no order.
    let mut claimed = Vec::with_capacity(found.len());
    for row in &found {
        let columns = Columns(row);
        let token = ClaimToken { job: columns.named("id")?, claim };
        let job = new_job(row)?;
        let order = (job.priority, columns.time("ready_at")?, columns.number::<i64>("position")?);
        claimed.push((order, ClaimedJob { token, job, attempt: columns.number("attempt")? }));
    }
    claimed.sort_by_key(|(order, _)| *order);
    Ok(claimed.into_iter().map(|(_, job)| job).collect())
}

/// Frees the claims that ran out: their jobs are claimed again, or dead if that
/// was the last claim. Says whether there was one.
async fn free_expired(connection: &mut SqliteConnection, now: Timestamp) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE quark_jobs
         SET state = iif(attempt < max_attempts, 'waiting', 'dead'), reason = 'its claim ran out',
             owner = NULL, claim = NULL, visible_until = NULL
         WHERE state = 'claimed' AND visible_until <= ?",
    )
    .bind(now.as_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn heartbeat(
    connection: &mut SqliteConnection,
    token: ClaimToken,
    visibility: Duration,
    now: Timestamp,
) -> Result<Claim> {
    let done = sqlx::query(
        "UPDATE quark_jobs SET visible_until = ?
         WHERE id = ? AND claim = ? AND state = 'claimed' AND visible_until > ?",
    )
    .bind(now.after(visibility).as_micros())
    .bind(token.job.0.hyphenated().to_string())
    .bind(token.claim.hyphenated().to_string())
    .bind(now.as_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(held(done.rows_affected()))
}

pub(super) async fn ack(connection: &mut SqliteConnection, token: ClaimToken, now: Timestamp) -> Result<Claim> {
    let done =
        sqlx::query("DELETE FROM quark_jobs WHERE id = ? AND claim = ? AND state = 'claimed' AND visible_until > ?")
            .bind(token.job.0.hyphenated().to_string())
            .bind(token.claim.hyphenated().to_string())
            .bind(now.as_micros())
            .execute(connection)
            .await
            .map_err(failed)?;
    Ok(held(done.rows_affected()))
}

/// How a job is given back.
pub(super) struct Nack {
    pub(super) delay: Duration,
    pub(super) counted: bool,
    pub(super) reason: String,
}

pub(super) async fn nack(
    connection: &mut SqliteConnection,
    token: ClaimToken,
    nack: Nack,
    now: Timestamp,
) -> Result<Claim> {
    let done = sqlx::query(
        "UPDATE quark_jobs
         SET state = iif(?1 AND attempt >= max_attempts, 'dead', 'waiting'),
             attempt = attempt - iif(?1, 0, 1),
             reason = ?2, ready_at = ?3, owner = NULL, claim = NULL, visible_until = NULL
         WHERE id = ?4 AND claim = ?5 AND state = 'claimed' AND visible_until > ?6",
    )
    .bind(nack.counted)
    .bind(nack.reason)
    .bind(now.after(nack.delay).as_micros())
    .bind(token.job.0.hyphenated().to_string())
    .bind(token.claim.hyphenated().to_string())
    .bind(now.as_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(held(done.rows_affected()))
}

pub(super) async fn reclaim(connection: &mut SqliteConnection, owner: OwnerId) -> Result<u64> {
    let done = sqlx::query(
        "UPDATE quark_jobs SET visible_until = 0 WHERE state = 'claimed' AND owner = ? AND visible_until > 0",
    )
    .bind(owner.as_str())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected())
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

fn held(changed: u64) -> Claim {
    if changed > 0 { Claim::Held } else { Claim::Lost }
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
