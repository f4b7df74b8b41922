//! Compares the world with what the store says: when the engine starts, when
//! the runtime has come back, and every minute. What differs is brought back by
//! steps under the write-ahead protocol, like everything else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::drift::{Drift, drift, orphans, to_collect};
use super::hold::Hold;
use super::shared::Shared;
use crate::Result;
use crate::backend::{ObservedContainer, Snapshot};
use crate::deployment::{AppRecord, Deployment, DeploymentId, InstanceState, State, StepName, StepPhase};
use crate::planted::planted;

/// How often the world is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How often, while the runtime cannot be asked or something is not mended: so
/// its return is noticed.
const SOON: Duration = Duration::from_secs(5);

/// Looks at the world again and again until the engine stops.
pub(super) async fn watch(shared: Arc<Shared>, mut settled: bool) {
    loop {
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(if settled { EVERY } else { SOON }) => {}
        }
        settled = match pass(&shared).await {
            Ok(settled) => settled,
            Err(error) => {
                tracing::warn!(report = error.report(), "the world could not be compared with the store");
                false
            }
        };
    }
}

/// Looks once; whether all is as it shall be, or is being worked on.
pub(super) async fn pass(shared: &Arc<Shared>) -> Result<bool> {
    if shared.safe_mode.is_on() {
        return Ok(true);
    }
    if let Some(doubt) = shared.doubt().await? {
        shared.enter_safe_mode(&doubt);
        return Ok(true);
    }
    // Read before the store: see `orphans`.
    let containers = shared.runtime.list(&shared.labels()).await?;
    let mut settled = true;
    let mut known = BTreeSet::new();
    for app in shared.store.apps().await? {
        known.extend(shared.store.instances(&app.spec.name).await?.into_iter().map(|instance| instance.name));
        if shared.stopping.is_cancelled() {
            return Ok(false);
        }
        settled &= mended(shared, &app, &containers).await;
    }
    collect(shared, &containers, known).await?;
    Ok(settled)
}

/// Brings an app back to what it shall be; whether it is now.
async fn mended(shared: &Arc<Shared>, app: &AppRecord, containers: &[ObservedContainer]) -> bool {
    let Some(live) = app.serving.live.as_ref().map(|live| live.deployment) else { return true };
    let name = &app.spec.name;
    match mend(shared, app, live, containers).await {
        Ok(done) => done,
        // Another engine, or a deployment, is at work on the app.
        Err(error) if error.code() == "lease_held" => false,
        Err(error) => {
            tracing::error!(app = %name, report = error.report(), "the app could not be mended; trying again");
            false
        }
    }
}

async fn mend(
    shared: &Arc<Shared>,
    app: &AppRecord,
    live: DeploymentId,
    containers: &[ObservedContainer],
) -> Result<bool> {
    let name = &app.spec.name;
    let instances = shared.store.instances(name).await?;
    let route = shared.router.observe(name).await?;
    if drift(app, &instances, containers, route, false).is_empty() {
        return Ok(true);
    }
    let Some(deployment) = shared.store.deployment(live).await? else { return Ok(true) };
    let hold = Hold::take(shared, &deployment, None).await?;
    let done = async {
        // Read under the lease: what was read before may have been replaced meanwhile.
        let Some(snapshot) = shared.store.snapshot(live).await? else { return Ok(true) };
        let found = found(shared, &snapshot).await?;
        if found.is_empty() {
            return Ok(true);
        }
        tracing::warn!(app = %name, ?found, "what is live is not as it shall be");
        let mut draft = Draft::of(snapshot);
        perform(&hold, shared, &mut draft, StepName::Mend).await
    };
    let done = done.await;
    hold.release(done).await
}

/// What is not as it shall be now, with the eyes of the holder of the lease.
pub(super) async fn found(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<Drift>> {
    let Some(app) = &snapshot.app else { return Ok(Vec::new()) };
    let is_live = |live: &crate::deployment::Occupant| live.deployment == snapshot.deployment.id;
    if !app.serving.live.as_ref().is_some_and(is_live) {
        return Ok(Vec::new());
    }
    let name = &app.spec.name;
    let mut containers = Vec::new();
    for instance in &snapshot.instances {
        containers.extend(shared.runtime.inspect(&instance.name).await?);
    }
    let route = shared.router.observe(name).await?;
    let unfinished = shared.store.unfinished().await?;
    let switching = |other: &Deployment| other.app == *name && is_switching(other.state);
    Ok(drift(
        app,
        &snapshot.instances,
        &containers,
        route,
        !planted!(MendsDuringSwitch) && unfinished.iter().any(switching),
    ))
}

/// Whether a deployment in this state is changing the route, and will go on.
fn is_switching(state: State) -> bool {
    matches!(state, State::Promoting | State::Reverting)
}

/// Does one step for a deployment that has ended, and writes what became of it.
async fn perform(hold: &Hold, shared: &Shared, draft: &mut Draft, step: StepName) -> Result<bool> {
    hold.driver(false).step(draft, step).await?;
    shared.write(draft, &hold.lease).await?;
    let last = super::decide::last(draft.snapshot(), step);
    Ok(last.is_some_and(|record| record.phase == StepPhase::Done))
}

/// Removes containers that carry our labels and that nothing refers to.
async fn collect(
    shared: &Arc<Shared>,
    containers: &[ObservedContainer],
    known: BTreeSet<crate::ContainerName>,
) -> Result<()> {
    if planted!(YoungIsGarbage) {
        return collect_the_young(shared, containers).await;
    }
    let chosen = match to_collect(orphans(containers, &known), containers.len()) {
        Ok(chosen) => chosen,
        Err(count) => {
            let managed = containers.len();
            tracing::error!(
                count,
                managed,
                "so many containers look orphaned that none is removed; is this the right store?"
            );
            return Ok(());
        }
    };
    for id in chosen.into_keys() {
        // Deployments are never deleted: a store that does not know one went back in time.
        let Some(deployment) = shared.store.deployment(id).await? else {
            shared
                .enter_safe_mode(&format!("a container of deployment `{id}` is there, which the store does not know"));
            return Ok(());
        };
        match collect_from(shared, &deployment).await {
            Err(error) if error.code() == "lease_held" => {}
            done => done?,
        }
    }
    Ok(())
}

/// The mistake of [`planted`](crate::planted): what is not live is garbage.
async fn collect_the_young(shared: &Shared, containers: &[ObservedContainer]) -> Result<()> {
    for container in containers.iter().filter(|container| container.state == crate::backend::ContainerState::Created) {
        let call = crate::backend::Call::new("garbage", crate::deployment::Fence(u64::MAX), SOON);
        shared.runtime.remove(&call, &container.id, &shared.labels()).await?;
    }
    Ok(())
}

async fn collect_from(shared: &Arc<Shared>, deployment: &Deployment) -> Result<()> {
    if !deployment.state.is_terminal() {
        // It knows its own containers, and takes them away itself.
        return Ok(());
    }
    let hold = Hold::take(shared, deployment, None).await?;
    let done = async {
        let Some(snapshot) = shared.store.snapshot(deployment.id).await? else { return Ok(()) };
        if strays(shared, &snapshot).await?.is_empty() {
            return Ok(());
        }
        let mut draft = Draft::of(snapshot);
        perform(&hold, shared, &mut draft, StepName::Collect).await.map(|_| ())
    };
    let done = done.await;
    hold.release(done).await
}

/// The containers of a deployment that no instance refers to, as they are now.
pub(super) async fn strays(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<ObservedContainer>> {
    let mut labels = shared.labels();
    let id = snapshot.deployment.id.to_string();
    labels.insert(crate::backend::container_runtime::label::DEPLOYMENT.to_owned(), id);
    let containers = shared.runtime.list(&labels).await?;
    let known = |container: &ObservedContainer| {
        let same = |instance: &crate::deployment::Instance| {
            instance.name == container.name && instance.state != InstanceState::Removed
        };
        snapshot.instances.iter().any(same)
    };
    Ok(containers.into_iter().filter(|container| !known(container)).collect())
}
