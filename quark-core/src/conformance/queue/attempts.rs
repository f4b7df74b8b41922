//! Cases about attempts: how often a job is tried, and how it is given back.

use std::time::Duration;

use super::fixture::QueueFixture;
use super::scene::{ALL, LONG, PAST_SHORT, SHORT, Scene};
use crate::backend::{DeadJob, NewJob};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, worked};

/// Each claim counts as an attempt; after the last one the job is dead and says why.
pub async fn each_claim_counts_as_an_attempt(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = NewJob { max_attempts: 3, ..scene.job() };
    let id = scene.push(&job).await?;
    // One claim runs out and two are given back: both ways count.
    let claimed = scene.claim_only(&scene.one, &job, SHORT).await?;
    ensure!(claimed.attempt == 1, "the first claim is the attempt {}", claimed.attempt);
    fixture.advance(PAST_SHORT).await;
    for attempt in [2, 3] {
        let dead = dead(&scene).await?;
        ensure!(dead.is_empty(), "before the attempt {attempt} of 3, {dead:?} are dead");
        let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
        ensure!(claimed.attempt == attempt, "the claim {attempt} is the attempt {}", claimed.attempt);
        scene.nack(&claimed, Duration::ZERO, true).await?;
    }
    scene.nothing_is_ready("after the last attempt").await?;
    let found = dead(&scene).await?;
    let jobs: Vec<_> = found.iter().map(|dead| (dead.id, &dead.job)).collect();
    ensure!(jobs == [(id, &job)], "after the last attempt, {found:?} are dead");
    let told = found.iter().all(|dead| dead.reason.contains("it did not work out"));
    ensure!(told, "the reason of the last nack is not told: {found:?}");

    // Whoever dies of a job cannot say so; that its claim ran out must do.
    let deadly = NewJob { max_attempts: 1, ..scene.job() };
    let deadly_id = scene.push(&deadly).await?;
    scene.claim_only(&scene.one, &deadly, SHORT).await?;
    fixture.advance(PAST_SHORT).await;
    scene.nothing_is_ready("after the last claim ran out").await?;
    let found = dead(&scene).await?;
    let ids: Vec<_> = found.iter().map(|dead| dead.id).collect();
    ensure!(ids == [id, deadly_id], "oldest first, {found:?} are dead");
    ensure!(found.iter().all(|dead| !dead.reason.is_empty()), "a dead job does not say why: {found:?}");
    let first = worked("reading dead jobs", scene.queue.dead(1).await)?;
    ensure!(first.iter().eq(found.iter().take(1)), "at most one of the dead is {first:?}");

    // Who is dead is not in the way of a new try.
    scene.push(&job).await?;
    let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
    ensure!(claimed.attempt == 1, "the first claim of a new job is the attempt {}", claimed.attempt);
    Ok(())
}

async fn dead(scene: &Scene<'_>) -> CaseResult<Vec<DeadJob>> {
    worked("reading dead jobs", scene.queue.dead(ALL).await)
}

/// `nack` without `counted` gives the attempt back.
pub async fn nack_uncounted_gives_the_attempt_back(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = NewJob { max_attempts: 2, ..scene.job() };
    scene.push(&job).await?;
    for counted in [false, false, true, false, false, false] {
        let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
        ensure!(claimed.attempt <= 2, "of 2 attempts, {} are counted", claimed.attempt);
        scene.nack(&claimed, Duration::ZERO, counted).await?;
    }
    let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
    ensure!(claimed.attempt == 2, "after one counted attempt comes the attempt {}", claimed.attempt);
    let dead = dead(&scene).await?;
    ensure!(dead.is_empty(), "after one counted attempt of 2, {dead:?} are dead");
    Ok(())
}

/// `nack` with a delay makes the job wait that long.
pub async fn nack_with_a_delay_makes_the_job_wait(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let late = scene.queued().await?;
    let claimed = scene.claim_only(&scene.one, &late, LONG).await?;
    scene.nack(&claimed, LONG, true).await?;
    scene.nothing_is_ready("an hour before the end of the delay").await?;
    let soon = scene.queued().await?;
    let claimed = scene.claim_only(&scene.one, &soon, LONG).await?;
    scene.nack(&claimed, SHORT, false).await?;
    fixture.advance(PAST_SHORT).await;
    let claimed = scene.claim_only(&scene.other, &soon, LONG).await?;
    scene.nack(&claimed, Duration::ZERO, true).await?;
    scene.claim_only(&scene.one, &soon, LONG).await?;
    Ok(())
}

/// `reclaim` ends all claims of one owner at once, as if they had run out.
pub async fn reclaim_frees_the_claims_of_one_owner(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let spared = scene.queued().await?;
    let kept = scene.claim_only(&scene.other, &spared, LONG).await?;
    let mut mine = Vec::new();
    let mut before = Vec::new();
    for _ in 0..3 {
        let job = NewJob { max_attempts: 2, ..scene.job() };
        scene.push(&job).await?;
        before.push(scene.claim_only(&scene.one, &job, LONG).await?);
        mine.push(job);
    }
    let freed = worked("reclaim", scene.queue.reclaim(&scene.one).await)?;
    ensure!(freed == 3, "of 3 claims, {freed} were freed");
    let mut claimed = scene.claim(&scene.one, ALL, LONG).await?;
    claimed.sort_by_key(|claimed| mine.iter().position(|job| *job == claimed.job));
    let jobs: Vec<_> = claimed.iter().map(|claimed| &claimed.job).collect();
    ensure!(jobs.iter().copied().eq(mine.iter()), "after reclaim {jobs:?} can be claimed");
    let seconds = claimed.iter().all(|claimed| claimed.attempt == 2);
    ensure!(seconds, "reclaim gave an attempt back: {claimed:?}");

    // The earlier process may still be alive: its word no longer counts.
    for claimed in before {
        let late = worked("ack", scene.queue.ack(claimed.token).await)?;
        ensure!(late == crate::backend::Claim::Lost, "ack with a claim that was freed was {late:?}");
    }
    for claimed in claimed.iter().chain([&kept]) {
        scene.ack(claimed).await?;
    }
    let freed = worked("reclaim", scene.queue.reclaim(&scene.one).await)?;
    ensure!(freed == 0, "of no claims, {freed} were freed");
    Ok(())
}
