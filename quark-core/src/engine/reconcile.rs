//! Compares the world with what the store says: when the engine starts, when
//! the runtime has come back, and every minute. What differs is brought back by
//! steps under the write-ahead protocol, like everything else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::draft::Draft;
use super::drift::{Drift, Garbage, drift, epoch, orphans};
use super::driver::Driver;
use super::hold::Hold;
use super::hooks;
use super::route::take_away;
use super::shared::{NO_ANSWER, Shared};
use super::step::{is_down, is_paid, may_start};
use crate::Result;
use crate::app::AppName;
use crate::backend::{Call, EffectiveRoute, ObservedContainer, Snapshot, container_runtime::label};
use crate::deployment::{
    AppRecord, Canary, Deployment, DeploymentId, Instance, InstanceState, State, StepName, StepPhase,
};
use crate::planted::planted;

/// How often the world is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How often, while the runtime cannot be asked or something is not mended: so
/// its return is noticed.
const SOON: Duration = Duration::from_secs(5);

/// How long it may take to take a route away.
const UNROUTE: Duration = Duration::from_secs(30);

/// Looks at the world again and again until the engine stops.
pub(super) async fn watch(shared: Arc<Shared>, mut settled: bool) {
    loop {
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(if settled { EVERY } else { SOON + jitter(&shared) }) => {}
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

/// Some part of a second, another one each time. A deployment that waits for its
/// turn holds its app in a rhythm of its own: whoever comes in step with that
/// would find the app held for ever.
fn jitter(shared: &Shared) -> Duration {
    let millis = u16::try_from(shared.platform.unique().as_u128() % 1000).unwrap_or_default();
    Duration::from_millis(millis.into())
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
    let containers = shared.ask("the runtime", shared.runtime.list(&shared.labels())).await?;
    let mut unsettled = BTreeSet::new();
    let mut known = hooks_under_way(shared, &containers).await?;
    for app in shared.store.apps().await? {
        known.extend(shared.store.instances(&app.spec.name).await?.into_iter().map(|instance| instance.name));
        if shared.stopping.is_cancelled() || shared.safe_mode.is_on() {
            return Ok(false);
        }
        if !mended(shared, &app, &containers).await? {
            unsettled.insert(app.spec.name);
        }
    }
    // What is not as it shall be may still be sent requests: it is no garbage yet.
    let mut others = containers;
    others.retain(|container| {
        let app = container.labels.get(label::APP);
        !app.is_some_and(|app| unsettled.iter().any(|name| name.as_str() == app))
    });
    collect(shared, &others, known).await?;
    Ok(unsettled.is_empty())
}

/// Brings an app back to what it shall be; whether it is now.
async fn mended(shared: &Arc<Shared>, app: &AppRecord, containers: &[ObservedContainer]) -> Result<bool> {
    let name = &app.spec.name;
    match mend(shared, app, containers).await {
        Ok(done) => Ok(done),
        // Another engine, or a deployment, is at work on the app; the latter mends it.
        Err(error) if error.code() == "lease_held" => Ok(false),
        // What hangs for one app would hang for every app.
        Err(error) if error.code() == NO_ANSWER => Err(error),
        Err(error) => {
            tracing::error!(app = %name, report = error.report(), "the app could not be mended; trying again");
            Ok(false)
        }
    }
}

async fn mend(shared: &Arc<Shared>, app: &AppRecord, containers: &[ObservedContainer]) -> Result<bool> {
    let name = &app.spec.name;
    let instances = shared.store.instances(name).await?;
    let route = shared.ask("the router", shared.router.observe(name)).await?;
    if drift(app, &instances, containers, route, false).is_empty() {
        return Ok(true);
    }
    let Some(deployment) = journal(shared, app).await? else { return unroute(shared, name).await };
    // One that serves and is stuck on its way back waits for a person, and users do not.
    let serves = app.serving.live.as_ref().is_some_and(|live| live.deployment == deployment.id);
    let waits = serves && deployment.state == State::Stuck;
    if !deployment.state.is_terminal() && !waits {
        // What is under way, or stuck, decides about its own traces.
        return Ok(false);
    }
    let mut hold = Hold::take(shared, &deployment.app, deployment.id, None).await?;
    let done = Box::pin(mend_under(&hold.driver(&deployment), &deployment)).await;
    hold.release(done).await
}

/// Mends what is live, or was, in the journal of `deployment`, under the lease
/// of `driver`; whether all is as it shall be now.
pub(super) async fn mend_under(driver: &Driver, deployment: &Deployment) -> Result<bool> {
    let shared = &driver.shared;
    // Read under the lease: what was read before may have been replaced meanwhile.
    let Some(snapshot) = shared.store.snapshot(deployment.id).await? else { return Ok(true) };
    let found = found(shared, &snapshot).await?;
    if found.is_empty() {
        return Ok(true);
    }
    tracing::warn!(app = %deployment.app, ?found, "what is live is not as it shall be");
    perform(driver, &mut Draft::of(snapshot), StepName::Mend).await
}

/// Takes away the route of an app that was never deployed, as far as the store
/// knows. There is no journal to write that in: the lease keeps others away, and
/// what the route shall be is written down already.
async fn unroute(shared: &Arc<Shared>, name: &AppName) -> Result<bool> {
    let nobody = DeploymentId::from(shared.platform.unique());
    let hold = Hold::take(shared, name, nobody, None).await?;
    let done = async {
        if !shared.store.deployments(name, None, 1).await?.is_empty() {
            // It is deployed by now; the next pass looks at that.
            return Ok(false);
        }
        tracing::warn!(app = %name, "a route is taken away: the store knows of nothing that it could lead to");
        let call = Call::new(format!("unroute:{name}"), hold.lease.fence, UNROUTE);
        let call = call.with_clock(Arc::clone(&shared.clock));
        take_away(shared.router.as_ref(), &call, name).await?;
        Ok(true)
    };
    let done = done.await;
    hold.release(done).await
}

/// The deployment in whose journal it is written what is mended: the live one,
/// or the last one where nothing is live.
async fn journal(shared: &Shared, app: &AppRecord) -> Result<Option<Deployment>> {
    match &app.serving.live {
        Some(live) => shared.store.deployment(live.deployment).await,
        None => Ok(shared.store.deployments(&app.spec.name, None, 1).await?.pop()),
    }
}

/// What is not as it shall be now and may be mended now, with the eyes of the
/// holder of the lease.
pub(super) async fn found(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<Drift>> {
    let mut found = compare(shared, snapshot).await?;
    if !may_start(&snapshot.deployment, shared.now()) && !is_paid(snapshot) {
        // It has been started so often that the next time waits.
        found.retain(|drift| !matches!(drift, Drift::Stopped(_)));
    }
    Ok(found)
}

/// What is not as it shall be now, with the eyes of the holder of the lease.
pub(super) async fn compare(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<Drift>> {
    let Some(app) = &snapshot.app else { return Ok(Vec::new()) };
    if app.serving.live.as_ref().is_some_and(|live| live.deployment != snapshot.deployment.id) {
        // Another one is live by now; the next pass looks at that.
        return Ok(Vec::new());
    }
    let name = &app.spec.name;
    let (containers, route) = look_at_live(shared, app, &snapshot.instances).await?;
    let unfinished = shared.store.unfinished(Some(name)).await?;
    let mut found = drift(
        app,
        &snapshot.instances,
        &containers,
        route,
        !planted!(MendsDuringSwitch) && unfinished.iter().any(is_switching),
    );
    if !may_bring_back(&snapshot.deployment) {
        found.retain(|drift| !matches!(drift, Drift::Stopped(_) | Drift::Missing(_)));
    }
    Ok(found)
}

/// Whether what has died may be brought back. A version that is watched must
/// have been seen to be dead: started again between two looks, it would pass
/// for one that has never died. Who stands by answers meanwhile.
fn may_bring_back(deployment: &Deployment) -> bool {
    let Some(bake) = deployment.bake.as_ref().filter(|_| deployment.state == State::Baking) else { return true };
    let seen = bake.failure.as_ref().filter(|_| bake.unwell > 0);
    bake.outcome.is_some() || seen.is_some_and(|failure| is_down(&failure.code)) || planted!(DeathUnseen)
}

/// The containers and the route of what is live of an app, as they are.
pub(super) async fn look_at_live(
    shared: &Shared,
    app: &AppRecord,
    instances: &[Instance],
) -> Result<(Vec<ObservedContainer>, Option<EffectiveRoute>)> {
    let mut containers = Vec::new();
    let live = app.serving.live.as_ref().map(|live| live.slot);
    for instance in instances.iter().filter(|instance| Some(instance.slot) == live) {
        containers.extend(shared.ask("the runtime", shared.runtime.inspect(&instance.name)).await?);
    }
    let route = shared.ask("the router", shared.router.observe(&app.spec.name)).await?;
    Ok((containers, route))
}

/// The hooks among these containers that belong to what is under way: they are
/// no sign that the store is wrong.
async fn hooks_under_way(shared: &Shared, containers: &[ObservedContainer]) -> Result<BTreeSet<crate::ContainerName>> {
    let mut found = BTreeSet::new();
    for container in containers.iter().filter(|container| container.labels.contains_key(label::HOOK)) {
        let id = container.labels.get(label::DEPLOYMENT).and_then(|id| id.parse().ok());
        let Some(id) = id else { continue };
        let snapshot = shared.store.snapshot(id).await?;
        if snapshot.is_some_and(|snapshot| hooks::awaited(&snapshot).contains(&container.name)) {
            found.insert(container.name.clone());
        }
    }
    Ok(found)
}

/// Whether a deployment is changing the route, and will go on.
pub(super) fn is_switching(deployment: &Deployment) -> bool {
    match deployment.state {
        State::Promoting | State::RollingBack | State::Reverting => true,
        State::Canary => deployment.canary.as_ref().is_none_or(Canary::is_shifting),
        _ => false,
    }
}

/// Does one step for a deployment that has ended, and writes what became of it.
async fn perform(driver: &Driver, draft: &mut Draft, step: StepName) -> Result<bool> {
    driver.step(draft, step).await?;
    // In safe mode nothing was done, and nothing is written.
    if !draft.is_empty() {
        driver.shared.write(draft, &driver.lease).await?;
    }
    let last = super::decide::last(draft.snapshot(), step);
    Ok(last.is_some_and(|record| record.phase == StepPhase::Done && record.fence == driver.lease.fence))
}

/// Removes containers that carry our labels and that nothing refers to, unless
/// they are so many that the store is more likely to be wrong.
async fn collect(
    shared: &Arc<Shared>,
    containers: &[ObservedContainer],
    known: BTreeSet<crate::ContainerName>,
) -> Result<()> {
    if planted!(YoungIsGarbage) {
        return collect_the_young(shared, containers).await;
    }
    let garbage = garbage_of(shared, containers, &known).await?;
    if garbage.is_suspicious() {
        let (count, managed) = (garbage.orphans.len(), garbage.managed);
        tracing::error!(
            count,
            managed,
            "so many containers look orphaned that none is removed; is this the right store? `collect_garbage` removes them"
        );
        return Ok(());
    }
    let pass = shared.passes.fetch_add(1, Ordering::Relaxed);
    dispose_of(shared, garbage.of_pass(pass)).await
}

async fn garbage_of(
    shared: &Shared,
    containers: &[ObservedContainer],
    known: &BTreeSet<crate::ContainerName>,
) -> Result<Garbage> {
    // What was there before a person resumed, and the store does not know, is that person's to remove.
    let epoch = epoch(shared.store.position().await?);
    let orphans = orphans(containers, known).into_iter().filter(|orphan| orphan.epoch == epoch).collect();
    Ok(Garbage { orphans, managed: containers.len() })
}

/// What carries our labels and nothing refers to, now.
pub(super) async fn survey(shared: &Shared) -> Result<Garbage> {
    // Read before the store: see `orphans`.
    let containers = shared.runtime.list(&shared.labels()).await?;
    let mut known = hooks_under_way(shared, &containers).await?;
    for app in shared.store.apps().await? {
        known.extend(shared.store.instances(&app.spec.name).await?.into_iter().map(|instance| instance.name));
    }
    garbage_of(shared, &containers, &known).await
}

/// Removes what a person has looked at, however much it is.
pub(super) async fn collect_all(shared: &Arc<Shared>) -> Result<Garbage> {
    shared.refuse_in_safe_mode()?;
    let garbage = survey(shared).await?;
    dispose_of(shared, garbage.orphans.iter().map(|orphan| orphan.deployment).collect()).await?;
    Ok(garbage)
}

async fn dispose_of(shared: &Arc<Shared>, deployments: BTreeSet<crate::DeploymentId>) -> Result<()> {
    for id in deployments {
        if shared.safe_mode.is_on() {
            return Ok(());
        }
        // Deployments are never deleted: a store that does not know one went back in time.
        let Some(deployment) = shared.store.deployment(id).await? else {
            shared
                .enter_safe_mode(&format!("a container of deployment `{id}` is there, which the store does not know"));
            return Ok(());
        };
        match Box::pin(collect_from(shared, &deployment)).await {
            Err(error) if error.code() == "lease_held" => {}
            done => done?,
        }
    }
    Ok(())
}

/// The mistake of [`planted`](crate::planted): what is not live is garbage.
async fn collect_the_young(shared: &Shared, containers: &[ObservedContainer]) -> Result<()> {
    for container in containers.iter().filter(|container| container.state == crate::backend::ContainerState::Created) {
        let call = Call::new("garbage", crate::deployment::Fence(u64::MAX), SOON);
        shared.runtime.remove(&call, &container.id, &shared.labels()).await?;
    }
    Ok(())
}

async fn collect_from(shared: &Arc<Shared>, deployment: &Deployment) -> Result<()> {
    if !deployment.state.is_terminal() {
        // It knows its own containers, and takes them away itself.
        return Ok(());
    }
    let mut hold = Hold::take(shared, &deployment.app, deployment.id, None).await?;
    let done = async {
        let Some(snapshot) = shared.store.snapshot(deployment.id).await? else { return Ok(()) };
        if strays(shared, &snapshot).await?.is_empty() {
            return Ok(());
        }
        perform(&hold.driver(deployment), &mut Draft::of(snapshot), StepName::Collect).await.map(|_| ())
    };
    let done = done.await;
    hold.release(done).await
}

/// The containers of a deployment that no instance refers to, as they are now.
pub(super) async fn strays(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<ObservedContainer>> {
    let mut labels = shared.labels();
    let id = snapshot.deployment.id.to_string();
    labels.insert(label::DEPLOYMENT.to_owned(), id);
    let containers = shared.runtime.list(&labels).await?;
    let awaited = hooks::awaited(snapshot);
    let known = |container: &ObservedContainer| {
        if awaited.contains(&container.name) || planted!(HookLeftBehind) && container.labels.contains_key(label::HOOK) {
            return true;
        }
        let same = |instance: &crate::deployment::Instance| {
            instance.name == container.name && instance.state != InstanceState::Removed
        };
        snapshot.instances.iter().any(same)
    };
    Ok(containers.into_iter().filter(|container| !known(container)).collect())
}
