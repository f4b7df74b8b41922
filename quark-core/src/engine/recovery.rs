//! What is done once when an engine starts, and looked after from time to time.

use std::sync::Arc;
use std::time::Duration;

use super::route::route;
use super::shared::Shared;
use crate::Result;
use crate::app::AppName;
use crate::backend::store::refusal;
use crate::backend::{Call, ContainerState, JobKind, Lease, NewJob, Priority};
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, Deployment, DeploymentId, DeploymentKind, Slot, State};

/// How long one effect of the recovery may take.
const RESTORE: Duration = Duration::from_secs(30);

/// How long until what could not be restored is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Brings the world to what the store says, before any new work: claims of an
/// earlier process are freed, lost jobs queued again, live instances that have
/// exited started again, routes put back, leftovers removed.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<()> {
    let freed = shared.queue.reclaim(&shared.config.owner).await?;
    if freed > 0 {
        tracing::info!(freed, "going on with jobs that an earlier process left");
    }
    sweep(shared).await?;
    sweep_checkouts(shared).await?;
    let mut later = Vec::new();
    for app in shared.store.apps().await? {
        if !restored(shared, &app.spec.name).await {
            later.push(app.spec.name);
        }
    }
    if !later.is_empty() {
        // One app that cannot be restored now must not keep the others waiting.
        let engine = Arc::clone(shared);
        shared.spawn(async move { restore_later(&engine, later).await });
    }
    Ok(())
}

/// Tries again every second: the lease of an engine that died runs out, a
/// daemon comes back.
async fn restore_later(shared: &Arc<Shared>, mut later: Vec<AppName>) {
    while !later.is_empty() {
        tokio::select! {
            biased;
            () = shared.clock.sleep(AGAIN) => {}
            () = shared.stopping.cancelled() => return,
        }
        let mut left = Vec::new();
        for app in later {
            if !restored(shared, &app).await {
                left.push(app);
            }
        }
        later = left;
    }
}

/// Restores an app; whether that is done.
async fn restored(shared: &Arc<Shared>, app: &AppName) -> bool {
    match restore(shared, app).await {
        Ok(()) => true,
        // Another engine is at work on the app; if it is dead, its lease runs out.
        Err(error) if error.code() == "lease_held" => false,
        Err(error) => {
            tracing::error!(%app, report = error.report(), "the app could not be restored; trying again");
            false
        }
    }
}

/// Queues what has no job: the queue is a hint, the store knows.
pub(super) async fn sweep(shared: &Shared) -> Result<()> {
    let now = shared.clock.now();
    for deployment in shared.store.unfinished().await? {
        if deployment.state != State::Stuck {
            shared.queue.enqueue(job(&deployment, now)).await?;
        }
    }
    for app in shared.store.apps().await? {
        if let Some(standby) = &app.serving.standby {
            let name = app.spec.name.clone();
            let id = standby.occupant.deployment;
            let job = NewJob::new(JobKind::Retire, id, name, Priority::RETIRE, standby.retire_at);
            shared.queue.enqueue(NewJob { max_attempts: 1000, ..job }).await?;
        }
    }
    Ok(())
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
    NewJob { max_attempts: 1000, ..job }
}

async fn restore(shared: &Arc<Shared>, name: &AppName) -> Result<()> {
    let Some(_claim) = shared.claim_app(name) else {
        return Err(refusal::lease_held(name, AGAIN));
    };
    let lease = shared.store.acquire_lease(name, &shared.config.owner, shared.config.lease).await?;
    let restored = async {
        // Read under the lease: what was read before may have been replaced meanwhile.
        let Some(app) = shared.store.app(name).await? else { return Ok(()) };
        match &app.serving.live {
            // An app that is being removed is not brought back to life.
            Some(live) if app.removed_at.is_none() => {
                restore_under(shared, &app, live.deployment, live.slot, &lease).await
            }
            _ => Ok(()),
        }
    };
    let restored = restored.await;
    let released = shared.store.release_lease(&lease).await;
    restored.and(released)
}

async fn restore_under(shared: &Shared, app: &AppRecord, live: DeploymentId, slot: Slot, lease: &Lease) -> Result<()> {
    let call = Call::new(format!("restore:{}", app.spec.name), lease.fence, RESTORE);
    let instances = shared.store.snapshot(live).await?.map(|snapshot| snapshot.instances).unwrap_or_default();
    for instance in instances.iter().filter(|instance| instance.slot == slot) {
        let Some(observed) = shared.runtime.inspect(&instance.name).await? else {
            tracing::error!(app = %app.spec.name, container = %instance.name, "the live container has disappeared");
            continue;
        };
        if observed.state != ContainerState::Running {
            tracing::warn!(app = %app.spec.name, container = %instance.name, "starting the live container again");
            shared.runtime.start(&call, &observed.id).await?;
        }
    }
    let unfinished = shared.store.unfinished().await?;
    let observed = shared.router.observe(&app.spec.name).await?;
    let is_switching =
        |other: &Deployment| other.app == app.spec.name && matches!(other.state, State::Promoting | State::Reverting);
    // A switch that was intended is finished by the deployment itself; only a
    // router that has forgotten the app gets the old route until then.
    if observed.as_ref().is_some_and(|route| route.active == slot)
        || (observed.is_some() && unfinished.iter().any(is_switching))
    {
        return Ok(());
    }
    let backup = app.serving.standby.as_ref().is_some_and(|standby| !standby.retiring)
        && instances.iter().any(|instance| instance.slot == slot.other());
    let wanted = route(&app.spec.name, &app.serving, lease, app.serving.generation, slot, backup)?;
    shared.router.apply(&call, &wanted).await
}

/// Removes checkouts that no unfinished deployment needs.
async fn sweep_checkouts(shared: &Shared) -> Result<()> {
    // The store is asked after the folder was seen: a deployment is written down before it has one.
    for id in shared.workspace.checkouts(&shared.installation).await? {
        let deployment = shared.store.deployment(id).await?;
        if deployment.is_none_or(|deployment| deployment.state.is_terminal()) {
            shared.discard_checkout(id).await;
        }
    }
    Ok(())
}
