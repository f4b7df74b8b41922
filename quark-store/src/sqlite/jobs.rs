//! The rows of jobs: queued, claimed, given back, done.

use std::time::Duration;

use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, NewJob, Priority, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Result, Timestamp};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows::{self, Columns};
use super::sql::statements;

/// What becomes of a job whose claim ran out: it is claimed again, or dead if
/// that was the last claim.
macro_rules! free {
    () => {
        "UPDATE quark_jobs
         SET state = iif(attempt < max_attempts, 'ready', 'dead'),
             dedupe_key = iif(attempt < max_attempts, dedupe_key, NULL),
             reason = 'its claim ran out', owner = NULL, claim = NULL, visible_until = NULL "
    };
}

/// What is done to a job whose claim is held; `?1` to `?3` are id, claim and now.
macro_rules! held {
    () => {
        " WHERE id = ?1 AND claim = ?2 AND state = 'claimed' AND visible_until > ?3"
    };
}

statements! {
    QUEUED = "SELECT id FROM quark_jobs WHERE dedupe_key = ?";
    FREE = concat!(free!(), "WHERE id = ? AND state = 'claimed' AND visible_until <= ?");
    INSERT = "INSERT INTO quark_jobs (
            id, kind, deployment, app, priority, run_at, ready_at, max_attempts, dedupe_key, state)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9)";
    /// Asked first: to find nothing to change costs more than to find nothing.
    HAS_CHANGED = "SELECT EXISTS (SELECT 1 FROM quark_jobs WHERE state = 'claimed' AND visible_until <= ?1),
        EXISTS (SELECT 1 FROM quark_jobs WHERE state = 'delayed' AND ready_at <= ?1)";
    FREE_EXPIRED = concat!(free!(), "WHERE state = 'claimed' AND visible_until <= ?");
    WAKE_DUE = "UPDATE quark_jobs SET state = 'ready' WHERE state = 'delayed' AND ready_at <= ?";
    NEXT = "SELECT id, attempt + 1, kind, deployment, app, priority, run_at, max_attempts FROM quark_jobs
        WHERE state = 'ready' ORDER BY priority, ready_at, id LIMIT ?";
    CLAIM = "UPDATE quark_jobs
        SET state = 'claimed', owner = ?2, claim = ?3, visible_until = ?4, attempt = attempt + 1
        WHERE id = ?1";
    BEAT = concat!("UPDATE quark_jobs SET visible_until = ?4", held!());
    DONE = concat!("DELETE FROM quark_jobs", held!());
    GIVE_BACK = concat!(
        "UPDATE quark_jobs SET state = ?4, ready_at = ?5, reason = ?6, attempt = attempt - ?7,
             owner = NULL, claim = NULL, visible_until = NULL",
        held!()
    );
    GIVE_UP = concat!(
        "UPDATE quark_jobs SET state = 'dead', dedupe_key = NULL, reason = ?4,
             owner = NULL, claim = NULL, visible_until = NULL",
        held!(),
        " AND attempt >= max_attempts"
    );
    RECLAIM = "UPDATE quark_jobs SET visible_until = 0 WHERE state = 'claimed' AND visible_until > 0 AND owner = ?";
    /// Reads only, hence counts a last claim that ran out as what it will be.
    DEAD = "SELECT id, attempt, reason, kind, deployment, app, priority, run_at, max_attempts
        FROM quark_jobs INDEXED BY quark_jobs_dead WHERE state = 'dead'
        UNION ALL
        SELECT id, attempt, 'its claim ran out', kind, deployment, app, priority, run_at, max_attempts
        FROM quark_jobs INDEXED BY quark_jobs_claimed
        WHERE state = 'claimed' AND visible_until <= ?1 AND attempt >= max_attempts
        ORDER BY id LIMIT ?2";
    /// The same, so that what ran out counts as ready or dead.
    DEPTH = "SELECT
            (SELECT count(*) FROM quark_jobs WHERE state = 'ready'),
            (SELECT count(*) FROM quark_jobs WHERE state = 'delayed' AND ready_at <= ?1),
            (SELECT count(*) FROM quark_jobs WHERE state = 'delayed' AND ready_at > ?1),
            (SELECT count(*) FROM quark_jobs WHERE state = 'claimed' AND visible_until > ?1),
            (SELECT count(*) FROM quark_jobs
             WHERE state = 'claimed' AND visible_until <= ?1 AND attempt < max_attempts),
            (SELECT count(*) FROM quark_jobs
             WHERE state = 'claimed' AND visible_until <= ?1 AND attempt >= max_attempts),
            (SELECT count(*) FROM quark_jobs WHERE state = 'dead')";
    /// When a job can next be claimed, as far as is known now.
    NEXT_DUE = "SELECT min(at) FROM (
            SELECT * FROM (SELECT ready_at AS at FROM quark_jobs
                           WHERE state = 'ready' ORDER BY priority, ready_at, id LIMIT 1)
            UNION ALL
            SELECT min(ready_at) FROM quark_jobs WHERE state = 'delayed'
            UNION ALL
            SELECT min(visible_until) FROM quark_jobs WHERE state = 'claimed')";
}

/// The state of a job that waits until `ready_at`.
fn waiting(ready_at: Timestamp, now: Timestamp) -> &'static str {
    if ready_at > now { "delayed" } else { "ready" }
}

/// Queues a job unless an unfinished one has the same key.
pub(super) fn add(connection: &Connection, job: &NewJob, now: Timestamp) -> Result<Enqueued> {
    let key = job.dedupe_key();
    if let Some(queued) = queued(connection, &key, now)? {
        return Ok(Enqueued::Duplicate(queued));
    }
    // Grows with time, and within this process with each job.
    let id = Uuid::now_v7();
    let values = params![
        id.hyphenated().to_string(),
        job.kind.as_str(),
        job.deployment.to_string(),
        job.app.as_str(),
        job.priority.0,
        job.run_at.as_micros(),
        job.max_attempts,
        key,
        waiting(job.run_at, now),
    ];
    INSERT.run(connection, values)?;
    Ok(Enqueued::New(JobId(id)))
}

/// The unfinished job of a key. What looks unfinished may have died unnoticed.
fn queued(connection: &Connection, key: &str, now: Timestamp) -> Result<Option<JobId>> {
    let find = || QUEUED.first(connection, [key], |columns| columns.named());
    match find()? {
        Some(queued) if FREE.run(connection, params![text(queued), now.as_micros()])? > 0 => find(),
        queued => Ok(queued),
    }
}

pub(super) fn claim(
    connection: &Connection,
    owner: &OwnerId,
    most: usize,
    visibility: Duration,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>> {
    let at = now.as_micros();
    let changed = HAS_CHANGED.first(connection, [at], |columns| Ok((columns.flag()?, columns.flag()?)))?;
    let (has_expired, is_due) = changed.unwrap_or_default();
    if has_expired {
        FREE_EXPIRED.run(connection, [at])?;
    }
    if is_due {
        WAKE_DUE.run(connection, [at])?;
    }
    let claim = Uuid::new_v4();
    let claimed = NEXT.all(connection, [rows::limit(most)], |columns| {
        let token = ClaimToken { job: columns.named()?, claim };
        Ok(ClaimedJob { token, attempt: columns.number()?, job: new_job(columns)? })
    })?;
    let (claim, until) = (claim.hyphenated().to_string(), now.after(visibility).as_micros());
    for job in &claimed {
        CLAIM.run(connection, params![text(job.token.job), owner.as_str(), claim, until])?;
    }
    Ok(claimed)
}

pub(super) fn heartbeat(
    connection: &Connection,
    token: ClaimToken,
    visibility: Duration,
    now: Timestamp,
) -> Result<Claim> {
    let until = now.after(visibility).as_micros();
    BEAT.run(connection, params![text(token.job), claim_of(token), now.as_micros(), until]).map(verdict)
}

pub(super) fn ack(connection: &Connection, token: ClaimToken, now: Timestamp) -> Result<Claim> {
    DONE.run(connection, params![text(token.job), claim_of(token), now.as_micros()]).map(verdict)
}

/// How a job is given back.
#[derive(Clone, Debug)]
pub(super) struct Nack {
    pub(super) delay: Duration,
    pub(super) counted: bool,
    pub(super) reason: String,
}

pub(super) fn nack(connection: &Connection, token: ClaimToken, nack: &Nack, now: Timestamp) -> Result<Claim> {
    let (id, claim, at) = (text(token.job), claim_of(token), now.as_micros());
    if nack.counted && GIVE_UP.run(connection, params![id, claim, at, nack.reason])? > 0 {
        return Ok(Claim::Held);
    }
    let ready_at = now.after(nack.delay);
    let given_back = u8::from(!nack.counted);
    let values = params![id, claim, at, waiting(ready_at, now), ready_at.as_micros(), nack.reason, given_back];
    GIVE_BACK.run(connection, values).map(verdict)
}

pub(super) fn reclaim(connection: &Connection, owner: &OwnerId) -> Result<u64> {
    RECLAIM.run(connection, [owner.as_str()]).map(|freed| u64::try_from(freed).unwrap_or(u64::MAX))
}

pub(super) fn dead(connection: &Connection, most: usize, now: Timestamp) -> Result<Vec<DeadJob>> {
    DEAD.all(connection, params![now.as_micros(), rows::limit(most)], |columns| {
        let (id, attempt, reason) = (columns.named()?, columns.number::<u32>()?, columns.optional_text()?);
        let job = new_job(columns)?;
        let reason = format!("{} (attempt {attempt} of {})", reason.unwrap_or_default(), job.max_attempts);
        Ok(DeadJob { id, job, reason })
    })
}

pub(super) fn depth(connection: &Connection, now: Timestamp) -> Result<QueueDepth> {
    let depth = DEPTH.first(connection, [now.as_micros()], |columns| {
        let (ready, due, delayed) = (columns.number::<u64>()?, columns.number::<u64>()?, columns.number()?);
        let (claimed, freed, given_up) = (columns.number()?, columns.number::<u64>()?, columns.number::<u64>()?);
        Ok(QueueDepth { ready: ready + due + freed, delayed, claimed, dead: given_up + columns.number::<u64>()? })
    })?;
    Ok(depth.unwrap_or_default())
}

pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>> {
    NEXT_DUE.first(connection, [], |columns| columns.optional_time()).map(Option::flatten)
}

fn new_job(columns: &mut Columns<'_>) -> Result<NewJob> {
    Ok(NewJob {
        kind: columns.named()?,
        deployment: columns.named()?,
        app: columns.named()?,
        priority: Priority(columns.number()?),
        run_at: columns.time()?,
        max_attempts: columns.number()?,
    })
}

fn verdict(written: usize) -> Claim {
    if written > 0 { Claim::Held } else { Claim::Lost }
}

fn text(job: JobId) -> String {
    job.0.hyphenated().to_string()
}

fn claim_of(token: ClaimToken) -> String {
    token.claim.hyphenated().to_string()
}
