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

pub(super) async fn enqueue(connection: &mut SqliteConnection, job: &NewJob) -> Result<Enqueued> {
    let id = Uuid::now_v7();
    let key = job.dedupe_key();
    let done = sqlx::query(
        "INSERT INTO quark_jobs (id, kind, deployment, app, priority, run_at, max_attempts, dedupe_key, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting')
         ON CONFLICT (dedupe_key) WHERE state <> 'dead' DO NOTHING",
    )
    .bind(id.hyphenated().to_string())
    .bind(job.kind.as_str())
    .bind(job.deployment.to_string())
    .bind(job.app.as_str())
    .bind(i64::from(job.priority.0))
    .bind(job.run_at.as_micros())
    .bind(i64::from(job.max_attempts))
    .bind(key.as_str())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if done.rows_affected() > 0 {
        return Ok(Enqueued::New(JobId(id)));
    }
    let row = sqlx::query("SELECT id FROM quark_jobs WHERE dedupe_key = ? AND state <> 'dead'")
        .bind(key)
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    Ok(Enqueued::Duplicate(Columns(&row).named("id")?))
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
             SELECT position FROM quark_jobs WHERE state = 'waiting' AND run_at <= ?4
             ORDER BY priority, run_at, position LIMIT ?5)
         RETURNING id, kind, deployment, app, priority, run_at, max_attempts, attempt, position",
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
        let order = (job.priority, job.run_at, columns.number::<i64>("position")?);
        claimed.push((order, ClaimedJob { token, job, attempt: columns.number("attempt")? }));
    }
    claimed.sort_by_key(|(order, _)| *order);
    Ok(claimed.into_iter().map(|(_, job)| job).collect())
}

/// Claims that ran out: to be claimed again, or dead if that was the last one.
async fn free_expired(connection: &mut SqliteConnection, now: Timestamp) -> Result<()> {
    sqlx::query(
        "UPDATE quark_jobs
         SET state = iif(attempt < max_attempts, 'waiting', 'dead'),
             reason = 'claim ' || attempt || ' of ' || max_attempts || ' ran out: its worker died or hung',
             owner = NULL, claim = NULL, visible_until = NULL
         WHERE state = 'claimed' AND visible_until <= ?",
    )
    .bind(now.as_micros())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
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
             reason = ?2, run_at = ?3, owner = NULL, claim = NULL, visible_until = NULL
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
        "UPDATE quark_jobs
         SET state = 'waiting', attempt = attempt - 1, owner = NULL, claim = NULL, visible_until = NULL
         WHERE state = 'claimed' AND owner = ?",
    )
    .bind(owner.as_str())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(done.rows_affected())
}

pub(super) async fn dead(connection: &mut SqliteConnection, most: usize) -> Result<Vec<DeadJob>> {
    let found = sqlx::query(
        "SELECT id, kind, deployment, app, priority, run_at, max_attempts, reason
         FROM quark_jobs WHERE state = 'dead' ORDER BY position LIMIT ?",
    )
    .bind(rows::limit(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    found.iter().map(dead_job).collect()
}

pub(super) async fn depth(connection: &mut SqliteConnection, now: Timestamp) -> Result<QueueDepth> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE state = 'waiting' AND run_at <= ?1
                                 OR state = 'claimed' AND visible_until <= ?1 AND attempt < max_attempts) AS ready,
                count(*) FILTER (WHERE state = 'waiting' AND run_at > ?1) AS delayed,
                count(*) FILTER (WHERE state = 'claimed' AND visible_until > ?1) AS claimed,
                count(*) FILTER (WHERE state = 'dead'
                                 OR state = 'claimed' AND visible_until <= ?1 AND attempt >= max_attempts) AS dead
         FROM quark_jobs",
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
             SELECT min(run_at) AS at FROM quark_jobs WHERE state = 'waiting'
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
    let columns = Columns(row);
    Ok(DeadJob {
        id: columns.named("id")?,
        job: new_job(row)?,
        reason: columns.optional_text("reason")?.unwrap_or_default(),
    })
}
