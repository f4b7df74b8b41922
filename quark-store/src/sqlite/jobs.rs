//! Jobs: the statements behind the queue.

use std::time::Duration;

use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Result, Timestamp};
use serde::Serialize;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::bulk::{Part, Share, Sole};
use super::failure::failed;
use super::rows::{self, Columns};
use super::writer::Quick;

/// What becomes of a job whose claim ran out: it is claimed again, or dead if
/// that was the last claim.
macro_rules! free {
    () => {
        "UPDATE quark_jobs
         SET state = iif(attempt < max_attempts, 'waiting', 'dead'), reason = 'its claim ran out',
             owner = NULL, claim = NULL, visible_until = NULL"
    };
}

/// The jobs `[id, claim, now, ..]` whose claims are held.
macro_rules! held {
    () => {
        " FROM (SELECT job.position AS held, asked.value AS given
                FROM json_each(?) AS asked JOIN quark_jobs AS job ON job.id = asked.value ->> 0
                WHERE job.claim = asked.value ->> 1 AND job.state = 'claimed'
                    AND job.visible_until > asked.value ->> 2)
          WHERE position = held RETURNING quark_jobs.id"
    };
}

/// `[dedupe_key, now]`: what looks unfinished may have died unnoticed.
pub(super) const FREE: &str = concat!(
    free!(),
    " WHERE position IN (
          SELECT job.position
          FROM json_each(?) AS asked JOIN quark_jobs AS job ON job.dedupe_key = asked.value ->> 0 AND job.state <> 'dead'
          WHERE job.state = 'claimed' AND job.visible_until <= asked.value ->> 1)"
);

/// `[id, kind, deployment, app, priority, run_at, max_attempts, dedupe_key]`
pub(super) const INSERT: &str = "
    INSERT INTO quark_jobs (id, kind, deployment, app, priority, run_at, ready_at, max_attempts, dedupe_key, state)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 5, value ->> 6,
           value ->> 7, 'waiting'
    FROM json_each(?) WHERE TRUE
    ON CONFLICT (dedupe_key) WHERE state <> 'dead' DO NOTHING";

/// `[dedupe_key]`
pub(super) const QUEUED: &str = "
    SELECT dedupe_key, id FROM quark_jobs
    WHERE state <> 'dead' AND dedupe_key IN (SELECT value ->> 0 FROM json_each(?))";

/// `[now]`
pub(super) const EXPIRED: &str =
    concat!(free!(), " WHERE state = 'claimed' AND visible_until <= (SELECT max(value ->> 0) FROM json_each(?))");

/// `[owner, claim, visible_until, now, most]`, of one claim at a time, given thrice.
pub(super) const CLAIM: &str = "
    UPDATE quark_jobs
    SET state = 'claimed', owner = claimer ->> 0, claim = claimer ->> 1, visible_until = claimer ->> 2,
        attempt = attempt + 1
    FROM (SELECT value AS claimer FROM json_each(?))
    WHERE position IN (
        SELECT position FROM quark_jobs
        WHERE state = 'waiting' AND ready_at <= (SELECT value ->> 3 FROM json_each(?))
        ORDER BY priority, ready_at, position LIMIT (SELECT value ->> 4 FROM json_each(?)))
    RETURNING quark_jobs.id, kind, deployment, app, priority, run_at, ready_at, max_attempts, attempt, position";

/// `[id, claim, now]`
pub(super) const DONE: &str = "
    DELETE FROM quark_jobs
    WHERE position IN (
        SELECT job.position FROM json_each(?) AS given JOIN quark_jobs AS job ON job.id = given.value ->> 0
        WHERE job.claim = given.value ->> 1 AND job.state = 'claimed' AND job.visible_until > given.value ->> 2)
    RETURNING id";

/// `[id, claim, now, visible_until]`
pub(super) const BEAT: &str = concat!("UPDATE quark_jobs SET visible_until = given ->> 3", held!());

/// `[id, claim, now, counted, reason, ready_at]`
pub(super) const GIVE_BACK: &str = concat!(
    "UPDATE quark_jobs
     SET state = iif(given ->> 3 AND attempt >= max_attempts, 'dead', 'waiting'),
         attempt = attempt - iif(given ->> 3, 0, 1), reason = given ->> 4, ready_at = given ->> 5,
         owner = NULL, claim = NULL, visible_until = NULL",
    held!()
);

/// `[owner]`
pub(super) const RECLAIM: &str = "
    UPDATE quark_jobs SET visible_until = 0
    WHERE state = 'claimed' AND visible_until > 0 AND owner IN (SELECT value ->> 0 FROM json_each(?))
    RETURNING owner";

/// Queues a job unless an unfinished one has the same key.
pub(super) fn add(share: &mut Share, job: &NewJob, now: Timestamp) -> Result<JobId> {
    let (id, key) = (Uuid::now_v7(), job.dedupe_key());
    share.row(Part::FreedJobs, &(key.as_str(), now.as_micros()))?;
    let columns = (
        id.hyphenated(),
        job.kind.as_str(),
        job.deployment.to_string(),
        job.app.as_str(),
        job.priority.0,
        job.run_at.as_micros(),
        job.max_attempts,
        key.as_str(),
    );
    share.row(Part::NewJobs, &columns)?;
    Ok(JobId(id))
}

pub(super) fn enqueue(job: &NewJob, now: Timestamp) -> Result<Quick<Enqueued>> {
    let (mut share, key) = (Share::default(), job.dedupe_key());
    let id = add(&mut share, job, now)?;
    share.row(Part::QueuedJobs, &(key.as_str(),))?;
    Ok(Quick::new(share, move |answers| {
        let Some(queued) = answers.of(Part::QueuedJobs, &key)? else { return Ok(None) };
        let queued: JobId = queued.named("id")?;
        Ok(Some(if queued == id { Enqueued::New(id) } else { Enqueued::Duplicate(queued) }))
    }))
}

pub(super) fn claim(
    owner: &OwnerId,
    most: usize,
    visibility: Duration,
    now: Timestamp,
) -> Result<Quick<Vec<ClaimedJob>>> {
    let (claim, mut share) = (Uuid::new_v4(), Share::default());
    share.row(Part::ExpiredClaims, &(now.as_micros(),))?;
    let until = now.after(visibility).as_micros();
    share.row(Part::Claims, &(owner.as_str(), claim.hyphenated(), until, now.as_micros(), rows::limit(most)))?;
    share.alone_with(Sole::Claims);
    Ok(Quick::new(share, move |answers| {
        // RETURNING promises no order.
        let mut claimed = Vec::new();
        for row in answers.rows(Part::Claims) {
            let columns = Columns(row);
            let token = ClaimToken { job: columns.named("id")?, claim };
            let job = new_job(row)?;
            let order = (job.priority, columns.time("ready_at")?, columns.number::<i64>("position")?);
            claimed.push((order, ClaimedJob { token, job, attempt: columns.number("attempt")? }));
        }
        claimed.sort_by_key(|(order, _)| *order);
        Ok(Some(claimed.into_iter().map(|(_, job)| job).collect()))
    }))
}

pub(super) fn heartbeat(token: ClaimToken, visibility: Duration, now: Timestamp) -> Result<Quick<Claim>> {
    let until = now.after(visibility).as_micros();
    of_claim(Part::HeldJobs, token, |id, claim| (id, claim, now.as_micros(), until))
}

pub(super) fn ack(token: ClaimToken, now: Timestamp) -> Result<Quick<Claim>> {
    of_claim(Part::DoneJobs, token, |id, claim| (id, claim, now.as_micros()))
}

/// How a job is given back.
pub(super) struct Nack<'r> {
    pub(super) delay: Duration,
    pub(super) counted: bool,
    pub(super) reason: &'r str,
}

pub(super) fn nack(token: ClaimToken, nack: &Nack<'_>, now: Timestamp) -> Result<Quick<Claim>> {
    let ready_at = now.after(nack.delay).as_micros();
    of_claim(Part::ReturnedJobs, token, |id, claim| (id, claim, now.as_micros(), nack.counted, nack.reason, ready_at))
}

/// What is done to a job whose claim is held.
fn of_claim<R: Serialize>(
    part: Part,
    token: ClaimToken,
    columns: impl FnOnce(String, String) -> R,
) -> Result<Quick<Claim>> {
    let (id, mut share) = (token.job.0.hyphenated().to_string(), Share::default());
    share.row(part, &columns(id.clone(), token.claim.hyphenated().to_string()))?;
    share.alone_with(Sole::Job(id.clone()));
    Ok(Quick::new(share, move |answers| {
        Ok(Some(if answers.of(part, &id)?.is_some() { Claim::Held } else { Claim::Lost }))
    }))
}

pub(super) fn reclaim(owner: &OwnerId) -> Result<Quick<u64>> {
    let mut share = Share::default();
    share.row(Part::ReclaimedJobs, &(owner.as_str(),))?;
    let owner = owner.clone();
    Ok(Quick::new(share, move |answers| {
        let mut freed = 0;
        for row in answers.rows(Part::ReclaimedJobs) {
            freed += u64::from(Columns(row).first()? == owner.as_str());
        }
        Ok(Some(freed))
    }))
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
