//! Looks for what has no job: the queue is a hint, the store knows. Takes away
//! what nobody needs any more.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use crate::Result;
use crate::backend::{JobKind, Metric, NewJob, Priority};
use crate::clock::Timestamp;
use crate::deployment::{Deployment, DeploymentKind, State};
use crate::planted::planted;

/// Queues what has no job.
pub(super) async fn sweep(shared: &Shared) -> Result<()> {
    let now = shared.now();
    for deployment in shared.store.unfinished(None).await? {
        if deployment.state != State::Stuck && !planted!(JobsNotRebuilt) {
            shared.queue.enqueue(job(&deployment, now)).await?;
        }
    }
    for app in shared.store.apps().await? {
        if let Some(standby) = app.serving.standby.as_ref().filter(|_| !planted!(GraceForgotten)) {
            let name = app.spec.name.clone();
            let id = standby.occupant.deployment;
            let job = NewJob::new(JobKind::Retire, id, name, Priority::RETIRE, standby.retire_at);
            shared.queue.enqueue(NewJob { max_attempts: u32::MAX, ..job }).await?;
        }
    }
    Ok(())
}

/// How often what waits is counted.
const COUNT: Duration = Duration::from_secs(30);

/// Counts what waits, and for whom, until the engine stops: also while all
/// workers are busy, and in safe mode, when people want to know.
pub(super) async fn count_waiting(shared: Arc<Shared>) {
    loop {
        match shared.store.unfinished(None).await {
            Ok(unfinished) => count(&shared, &unfinished),
            Err(error) => tracing::warn!(report = error.report(), "what waits could not be counted"),
        }
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(COUNT) => {}
        }
    }
}

fn count(shared: &Shared, unfinished: &[Deployment]) {
    let of = |state| {
        let count = unfinished.iter().filter(|deployment| deployment.state == state).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    };
    shared.metrics.record(Metric::QueuedDeployments(of(State::Queued)));
    shared.metrics.record(Metric::PendingApprovals(of(State::AwaitingApproval)));
    shared.metrics.record(Metric::StuckDeployments(of(State::Stuck)));
}

/// The job that brings a deployment to its end.
pub(super) fn job(deployment: &Deployment, now: Timestamp) -> NewJob {
    let priority = match deployment.kind {
        DeploymentKind::Rollback { .. } => Priority::ROLLBACK,
        _ => Priority::DEPLOY,
    };
    let job = NewJob::new(JobKind::Deploy, deployment.id, deployment.app.clone(), priority, now);
    // Attempts are counted to find jobs that engines die of, not to give up:
    // what such a deployment has made must still be taken away.
    NewJob { max_attempts: u32::MAX, ..job }
}

/// Logs that are forgotten at once: others write in between.
const LOGS_AT_ONCE: usize = 10;

/// How often old logs are looked for: no log stays much longer than it shall,
/// and nobody looks all the time.
pub(super) fn forgets_every(keep: Duration) -> Duration {
    (keep / 24).clamp(Duration::from_secs(30), Duration::from_secs(3600))
}

/// Forgets the logs whose time is over.
pub(super) async fn forget_logs(shared: &Shared) -> Result<()> {
    let before = shared.now().before(shared.config.keep_logs);
    while !shared.stopping.is_cancelled() && !shared.safe_mode.is_on() {
        if shared.store.forget_logs(before, LOGS_AT_ONCE).await? < LOGS_AT_ONCE {
            break;
        }
    }
    Ok(())
}

/// Removes checkouts that no unfinished deployment needs.
pub(super) async fn sweep_checkouts(shared: &Shared) -> Result<()> {
    // The store is asked after the folder was seen: a deployment is written down before it has one.
    for id in shared.workspace.checkouts(&shared.installation).await? {
        let deployment = shared.store.deployment(id).await?;
        if deployment.is_none_or(|deployment| deployment.state.is_terminal()) {
            shared.discard_checkout(id).await;
        }
    }
    Ok(())
}
