//! Cases about which job comes when, and about jobs that are the same.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::QueueFixture;
use super::scene::{ALL, LONG, PAST_SHORT, SHORT, Scene};
use crate::backend::{Enqueued, JobKind, NewJob, Priority, QueueDepth};
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, worked};

/// `claim` yields the lowest priority number first, and within one priority the oldest first.
pub async fn jobs_come_by_priority_then_age(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let mut jobs = Vec::new();
    for priority in [20, 0, 255, 10, 20, 0, 10, 20, 20] {
        let job = NewJob { priority: Priority(priority), ..scene.job() };
        scene.push(&job).await?;
        jobs.push(job);
    }
    // A stable sort: the order of queueing stays within a priority.
    jobs.sort_by_key(|job| job.priority);
    let mut came = Vec::new();
    for most in [1, 2, ALL] {
        let claimed = scene.claim(&scene.one, most, LONG).await?;
        came.extend(claimed.into_iter().map(|claimed| claimed.job));
    }
    let ranks = |jobs: &[NewJob]| jobs.iter().map(|job| (job.priority.0, job.deployment)).collect::<Vec<_>>();
    ensure!(came == jobs, "the jobs came as {:?} instead of {:?}", ranks(&came), ranks(&jobs));
    Ok(())
}

/// A job is not claimed before its `run_at`.
pub async fn jobs_wait_for_their_time(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let soon = NewJob { run_at: fixture.now().after(SHORT), ..scene.job() };
    let late = NewJob { run_at: fixture.now().after(LONG), priority: Priority::ROLLBACK, ..scene.job() };
    scene.push(&late).await?;
    scene.nothing_is_ready("an hour before its time").await?;
    scene.push(&soon).await?;
    fixture.advance(PAST_SHORT).await;
    let claimed = scene.claim_only(&scene.one, &soon, LONG).await?;
    scene.ack(&claimed).await
}

/// A second unfinished job with the same dedupe key is a `Duplicate` of the first.
pub async fn one_dedupe_key_is_one_job(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = NewJob { max_attempts: 2, ..scene.job() };
    let id = scene.push(&job).await?;
    let second = NewJob { priority: Priority::ROLLBACK, max_attempts: 9, ..job.clone() };
    let again = async || worked("queueing a job again", scene.queue.enqueue(second.clone()).await);
    let enqueued = again().await?;
    ensure!(enqueued == Enqueued::Duplicate(id), "the second of a key was {enqueued:?} instead of one of {id:?}");
    // Another kind of job for the same deployment has another key.
    let retire = NewJob { kind: JobKind::Retire, ..scene.job() };
    scene.push(&NewJob { deployment: job.deployment, ..retire.clone() }).await?;
    let mut claimed = scene.claim(&scene.one, ALL, LONG).await?;
    claimed.retain(|claimed| claimed.job.kind == JobKind::Deploy);
    let jobs: Vec<_> = claimed.iter().map(|claimed| &claimed.job).collect();
    ensure!(jobs == [&job], "the first of a key became {jobs:?} instead of {job:?}");

    let enqueued = again().await?;
    ensure!(enqueued == Enqueued::Duplicate(id), "the key of a claimed job yields {enqueued:?}");
    for claimed in &claimed {
        scene.nack(claimed, LONG, true).await?;
    }
    let enqueued = again().await?;
    ensure!(enqueued == Enqueued::Duplicate(id), "the key of a job that waits yields {enqueued:?}");

    let crowd = scene.job();
    let said = at_once((0..CROWD).map(|_| {
        let (queue, job) = (Arc::clone(&scene.queue), crowd.clone());
        async move { queue.enqueue(job).await }
    }));
    let mut new = Vec::new();
    let mut duplicates = Vec::new();
    for enqueued in said.await? {
        match worked("queueing at once", enqueued)? {
            Enqueued::New(id) => new.push(id),
            Enqueued::Duplicate(id) => duplicates.push(id),
        }
    }
    let same = duplicates.iter().all(|id| new.contains(id));
    ensure!(new.len() == 1 && same, "one job queued at once is new as {new:?}, and the same as {duplicates:?}");
    Ok(())
}

/// After `ack` a job is gone, and its dedupe key is free.
pub async fn ack_ends_a_job(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = scene.queued().await?;
    let claimed = scene.claim_only(&scene.one, &job, SHORT).await?;
    scene.ack(&claimed).await?;
    let depth = scene.depth().await?;
    ensure!(depth == QueueDepth::default(), "after the ack of the only job there are {depth:?}");
    fixture.advance(PAST_SHORT).await;
    scene.nothing_is_ready("after the ack of the only job").await?;

    let id = scene.push(&job).await?;
    ensure!(id != claimed.token.job, "a new job has the name of one that is gone: {id:?}");
    let claimed = scene.claim_only(&scene.other, &job, LONG).await?;
    ensure!(claimed.attempt == 1, "the first claim of a new job is the attempt {}", claimed.attempt);
    Ok(())
}

/// How many jobs there are.
pub async fn depth_counts_each_job_once(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let depth = scene.depth().await?;
    ensure!(depth == QueueDepth::default(), "in an empty queue there are {depth:?}");
    let hopeless = NewJob { max_attempts: 1, ..scene.job() };
    scene.push(&hopeless).await?;
    let claimed = scene.claim_only(&scene.one, &hopeless, LONG).await?;
    scene.nack(&claimed, Duration::ZERO, true).await?;
    scene.nothing_is_ready("after the only attempt").await?;
    for _ in 0..2 {
        let job = scene.queued().await?;
        scene.claim_only(&scene.one, &job, LONG).await?;
    }
    let brief = scene.queued().await?;
    scene.claim_only(&scene.one, &brief, SHORT).await?;
    for _ in 0..3 {
        let late = NewJob { run_at: fixture.now().after(LONG), ..scene.job() };
        scene.push(&late).await?;
        scene.queued().await?;
    }
    let depth = scene.depth().await?;
    let expected = QueueDepth { ready: 3, delayed: 3, claimed: 3, dead: 1 };
    ensure!(depth == expected, "{expected:?} are counted as {depth:?}");
    // What ran out could be claimed now.
    fixture.advance(PAST_SHORT).await;
    let depth = scene.depth().await?;
    let expected = QueueDepth { ready: 4, delayed: 3, claimed: 2, dead: 1 };
    ensure!(depth == expected, "after a claim ran out, {expected:?} are counted as {depth:?}");
    Ok(())
}
