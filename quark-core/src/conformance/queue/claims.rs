//! Cases about claims: who has a job, and for how long.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::QueueFixture;
use super::scene::{ALL, LONG, PAST_SHORT, SHORT, Scene, held, owner};
use crate::OwnerId;
use crate::backend::Claim;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, worked};

/// A job is claimed by one worker at a time.
pub async fn a_job_is_claimed_by_one_worker(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = scene.queued().await?;
    let claimed = scene.claim_only(&scene.one, &job, LONG).await?;
    scene.nothing_is_ready("while the only job is claimed").await?;
    let again = scene.claim(&scene.one, ALL, LONG).await?;
    ensure!(again.is_empty(), "the owner of a claim gets it again: {again:?}");
    scene.ack(&claimed).await?;

    const JOBS: usize = 40;
    let mut queued = HashSet::new();
    for _ in 0..JOBS {
        let job = scene.job();
        queued.insert(scene.push(&job).await?);
    }
    let said = at_once((0..CROWD).map(|number| {
        let queue = Arc::clone(&scene.queue);
        async move {
            let worker = OwnerId::parse(format!("worker-{number}"))?;
            let mut got = Vec::new();
            loop {
                let claimed = queue.claim(&worker, 3, LONG).await?;
                if claimed.is_empty() {
                    return crate::Result::Ok(got);
                }
                got.push(claimed);
            }
        }
    }));
    let mut ids = Vec::new();
    for got in said.await? {
        for claimed in worked("claiming at once", got)? {
            ensure!(claimed.len() <= 3, "at most 3 jobs were wanted and {} claimed", claimed.len());
            ids.extend(claimed.iter().map(|claimed| claimed.token.job));
        }
    }
    let different: HashSet<_> = ids.iter().copied().collect();
    ensure!(different.len() == ids.len(), "{} jobs were claimed {} times", different.len(), ids.len());
    ensure!(different == queued, "of {JOBS} jobs, {} were claimed", different.len());
    Ok(())
}

/// A claim that was not extended runs out, and the job can be claimed again.
pub async fn a_claim_runs_out(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let brief = scene.queued().await?;
    let first = scene.claim_only(&scene.one, &brief, SHORT).await?;
    let long = scene.queued().await?;
    scene.claim_only(&scene.one, &long, LONG).await?;
    fixture.advance(PAST_SHORT).await;
    let second = scene.claim_only(&scene.other, &brief, LONG).await?;
    ensure!(second.token.job == first.token.job, "the job {:?} came again as {:?}", first.token.job, second.token.job);
    ensure!(second.token != first.token, "two claims of one job have the same token");
    scene.ack(&second).await
}

/// `heartbeat` extends a claim.
pub async fn heartbeat_extends_a_claim(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = scene.queued().await?;
    let claimed = scene.claim_only(&scene.one, &job, SHORT).await?;
    held("heartbeat", worked("heartbeat", scene.queue.heartbeat(claimed.token, LONG).await)?)?;
    fixture.advance(PAST_SHORT).await;
    scene.nothing_is_ready("after a claim was extended").await?;

    // From now, not from the end it had: what is extended briefly ends soon.
    held("heartbeat", worked("heartbeat", scene.queue.heartbeat(claimed.token, SHORT).await)?)?;
    fixture.advance(PAST_SHORT).await;
    let again = scene.claim_only(&scene.other, &job, LONG).await?;
    scene.ack(&again).await
}

/// `ack`, `nack` and `heartbeat` with a claim that ran out are `Lost` and change nothing.
pub async fn what_comes_after_a_lost_claim_is_lost(fixture: &dyn QueueFixture) -> CaseResult {
    let scene = Scene::new(fixture)?;
    let job = scene.queued().await?;
    let late = scene.claim_only(&scene.one, &job, SHORT).await?;
    fixture.advance(PAST_SHORT).await;
    all_are_lost(&scene, late.token, "that ran out").await?;

    // Nor may it touch the claim that somebody else has by now.
    let claimed = scene.claim_only(&scene.other, &job, SHORT).await?;
    ensure!(claimed.attempt == 2, "after one claim that ran out comes the attempt {}", claimed.attempt);
    all_are_lost(&scene, late.token, "of a job that another has claimed").await?;
    scene.nothing_is_ready("after a late worker spoke").await?;
    fixture.advance(PAST_SHORT).await;
    let claimed = scene.claim_only(&owner("third")?, &job, LONG).await?;
    ensure!(claimed.attempt == 3, "after two claims that ran out comes the attempt {}", claimed.attempt);
    scene.ack(&claimed).await?;
    all_are_lost(&scene, claimed.token, "of a job that is gone").await?;
    scene.nothing_is_ready("after the last ack").await?;
    let dead = worked("reading dead jobs", scene.queue.dead(ALL).await)?;
    ensure!(dead.is_empty(), "a job that was done is among the dead: {dead:?}");
    Ok(())
}

async fn all_are_lost(scene: &Scene<'_>, token: crate::backend::ClaimToken, which: &str) -> CaseResult {
    let heartbeat = worked("heartbeat", scene.queue.heartbeat(token, LONG).await)?;
    ensure!(heartbeat == Claim::Lost, "heartbeat with a claim {which} was {heartbeat:?}");
    let nack = worked("nack", scene.queue.nack(token, Duration::ZERO, false, "late").await)?;
    ensure!(nack == Claim::Lost, "nack with a claim {which} was {nack:?}");
    let ack = worked("ack", scene.queue.ack(token).await)?;
    ensure!(ack == Claim::Lost, "ack with a claim {which} was {ack:?}");
    Ok(())
}
