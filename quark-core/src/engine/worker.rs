//! Takes jobs from the queue and drives them, several at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::driver::Burst;
use super::hold::Hold;
use super::meanwhile::WATCH;
use super::shared::Shared;
use super::sweep::{forget_logs, forgets_every, sweep, sweep_checkouts};
use crate::app::AppName;
use crate::backend::{Claim, ClaimToken, ClaimedJob, JobKind, Metric};
use crate::deployment::DeploymentId;
use crate::{ErrorKind, Result};

/// How long to wait for a hint before looking into the queue anyway.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest wait for an app that somebody else works on.
const MOMENT: Duration = Duration::from_millis(10);
/// How long a job waits for the end of what this engine does to its app, before
/// it is given back.
const TIDYING: Duration = Duration::from_millis(50);
/// How long to wait for a queue that does not answer.
const AWAY: Duration = Duration::from_millis(500);
/// How often lost jobs are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// Works until the engine stops, then waits for what is being done.
pub(super) async fn work(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.config.workers));
    let mut swept = shared.clock.monotonic();
    let mut counted: Option<Duration> = None;
    let mut forgot: Option<Duration> = None;
    while !shared.stopping.is_cancelled() {
        // Without a free place no job is claimed, and the queue is not looked at.
        tokio::select! {
            biased;
            place = places.acquire() => drop(place),
            () = shared.stopping.cancelled() => break,
        }
        if shared.safe_mode.is_on() {
            // The queue may have jobs that are ready: its hint would come at once.
            rest(&shared, LOOK).await;
            continue;
        }
        let free = places.available_permits();
        let claimed = claim(&shared, free).await;
        let idle = match claimed {
            Ok(jobs) => {
                // Who got all that there was looks again when there is a hint.
                let idle = jobs.len() < free;
                for job in jobs {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else { break };
                    let shared = Arc::clone(&shared);
                    let host = Arc::clone(&shared);
                    host.spawn(async move {
                        Box::pin(handle(&shared, job)).await;
                        drop(place);
                    });
                }
                idle
            }
            Err(error) => {
                tracing::warn!(report = error.report(), "the queue cannot be read");
                rest(&shared, AWAY).await;
                false
            }
        };
        if idle {
            wait(&shared).await;
        }
        if counted.is_none_or(|at| shared.clock.monotonic().saturating_sub(at) >= LOOK) {
            counted = Some(shared.clock.monotonic());
            count(&shared).await;
        }
        if shared.clock.monotonic().saturating_sub(swept) >= SWEEP {
            swept = shared.clock.monotonic();
            if let Err(error) = look_after(&shared).await {
                tracing::warn!(report = error.report(), "lost jobs could not be looked for");
            }
            let every = forgets_every(shared.config.keep_logs);
            if forgot.is_none_or(|at| swept.saturating_sub(at) >= every) {
                forgot = Some(swept);
                let host = Arc::clone(&shared);
                // Beside this: jobs do not wait for that.
                shared.spawn(async move {
                    if let Err(error) = forget_logs(&host).await {
                        tracing::warn!(report = error.report(), "old logs could not be forgotten");
                    }
                });
            }
        }
    }
}

/// Queues lost jobs, removes what was left in the work folder, and notes how far
/// the store has come.
async fn look_after(shared: &Shared) -> Result<()> {
    shared.set_time().await?;
    sweep(shared).await?;
    sweep_checkouts(shared).await?;
    shared.note_position().await
}

async fn claim(shared: &Shared, free: usize) -> Result<Vec<ClaimedJob>> {
    shared.queue.claim(&shared.config.owner, free, shared.config.lease).await
}

/// Counts what waits.
async fn count(shared: &Shared) {
    if let Ok(depth) = shared.queue.depth().await {
        shared.metrics.record(Metric::QueueDepth(i64::try_from(depth.ready).unwrap_or(i64::MAX)));
    }
}

/// Waits without asking the queue.
async fn rest(shared: &Shared, duration: Duration) {
    tokio::select! {
        biased;
        () = shared.stopping.cancelled() => {}
        () = shared.clock.sleep(duration) => {}
    }
}

async fn wait(shared: &Shared) {
    tokio::select! {
        biased;
        () = shared.stopping.cancelled() => {}
        () = shared.queue.wait(LOOK) => {}
        // The queue's own wait may be a hint that never comes.
        () = shared.clock.sleep(LOOK) => {}
    }
}

/// Drives one job and tells the queue what became of it.
async fn handle(shared: &Arc<Shared>, claimed: ClaimedJob) {
    let deployment = claimed.job.deployment;
    let token = claimed.token;
    let driven = Box::pin(drive(shared, &claimed.job.app, deployment, claimed.job.kind, Some(token)));
    let told = match driven.await {
        Ok(Burst::HandedBack) if shared.store.queues_jobs() => return,
        Ok(Burst::Finished | Burst::HandedBack) => shared.queue.ack(token).await,
        Ok(Burst::Parked(until)) => {
            let delay = until.since(shared.now());
            shared.queue.nack(token, delay, false, "waiting").await
        }
        Ok(Burst::Interrupted) => shared.queue.nack(token, Duration::ZERO, false, "the engine stopped").await,
        Err(error) => {
            let held = error.code() == "lease_held";
            if !held {
                tracing::warn!(%deployment, report = error.report(), "work on a deployment was broken off");
            }
            let passing = held || matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Unavailable);
            // At least a moment: the end of a lease may be nearer than a clock can tell.
            let delay = error.retry_after().unwrap_or(LOOK).clamp(MOMENT, LOOK);
            shared.queue.nack(token, delay, !passing, error.message()).await
        }
    };
    match told {
        Ok(Claim::Held) => {}
        Ok(Claim::Lost) => tracing::debug!(%deployment, "the claim had run out; another worker goes on"),
        // The claim runs out by itself.
        Err(error) => tracing::warn!(%deployment, report = error.report(), "the queue could not be told"),
    }
}

/// Goes on at once with a deployment whose job waits for a later time: people
/// have decided about it. If this fails, or the engine dies, its job goes on.
pub(super) fn go_on(shared: &Arc<Shared>, app: &AppName, id: DeploymentId) {
    let (engine, app) = (Arc::clone(shared), app.clone());
    shared.spawn(async move {
        // By then its job has come.
        let wakes = engine.clock.monotonic().saturating_add(WATCH);
        loop {
            match Box::pin(drive(&engine, &app, id, JobKind::Deploy, None)).await {
                Ok(Burst::Parked(until)) if engine.clock.monotonic() < wakes => {
                    rest(&engine, until.since(engine.now())).await;
                }
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(deployment = %id, report = error.report(), "what was decided waits for its job");
                    return;
                }
            }
            if engine.stopping.is_cancelled() {
                return;
            }
        }
    });
}

/// Works on a deployment until nothing is left to do now; `token` is the claim
/// of its job, if it has one.
pub(super) async fn drive(
    shared: &Arc<Shared>,
    app: &AppName,
    id: DeploymentId,
    kind: JobKind,
    token: Option<ClaimToken>,
) -> Result<Burst> {
    shared.until_free(app, TIDYING).await;
    let mut hold = Hold::take(shared, app, id, token).await?;
    let burst = match shared.store.snapshot(id).await {
        Ok(None) => Ok(Burst::Finished),
        Ok(Some(snapshot)) => {
            let driver = hold.driver(&snapshot.deployment);
            let burst = driver.run(kind, snapshot).await;
            if burst.is_err() {
                shared.break_off(id);
            }
            burst
        }
        Err(error) => Err(error),
    };
    if let Ok(Burst::HandedBack) = burst {
        hold.let_go().await;
        return burst;
    }
    hold.release(burst).await
}
