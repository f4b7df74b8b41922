//! Stop and remove what a deployment made; for an app that is removed, all of it.

use super::{StepContext, count_cut, dispose, hook};
use crate::Result;
use crate::app::Source;
use crate::backend::{
    BuildKey, Call, ContainerState, EffectiveRoute, ObservedContainer, Snapshot, container_runtime::label,
};
use crate::deployment::{DeploymentKind, Instance, StepName, StepOutput};
use crate::engine::decide::{last, may_be_routed};
use crate::engine::route::take_away;
use crate::planted::planted;

/// The code of a deployment that was live before its store went back in time.
pub(super) const SERVES_ALREADY: &str = "serves_already";

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let shared = &context.shared;
    let removes_app = deployment.kind == DeploymentKind::Remove;
    let timing = deployment.release.timing;
    let seen = doubt_if_ahead(context, snapshot, call).await?;
    // It may have been given requests, if only for a moment.
    let was_routed = removes_app || may_be_routed(snapshot);
    hook::tidy(context, snapshot, call).await?;
    let begun_again = deployment.failure.as_ref().is_some_and(|failure| failure.code == SERVES_ALREADY);
    for instance in &snapshot.instances {
        let foreign = !removes_app && instance.deployment != deployment.id;
        if foreign || begun_again && spared(context, instance, seen.as_ref()).await? {
            continue;
        }
        if was_routed {
            let drained = shared.router.drained(&deployment.app, instance.slot, &instance.endpoint, timing.drain);
            count_cut(shared, call.bound("router.drained", drained).await?);
        }
        dispose(context, instance, call, timing.stop).await?;
    }
    if let (Source::Git { .. }, Some(commit)) = (&deployment.release.source, &deployment.revision.commit)
        && last(snapshot, StepName::Build).is_some()
    {
        shared.builder()?.discard(&BuildKey::of(&deployment.app, commit, &deployment.release.dockerfile)).await?;
    }
    shared.discard_checkout(deployment.id).await;
    Ok(StepOutput::default())
}

pub(super) async fn unroute(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    take_away(context.shared.router.as_ref(), call, &snapshot.deployment.app).await?;
    context.log.say("the app has no route any more");
    Ok(StepOutput::default())
}

/// A router that has seen more changes than the store has counted shows that
/// the store went back in time: what looks unfinished may be what serves.
/// Otherwise what the router says, if it says anything.
pub(super) async fn doubt_if_ahead(
    context: &StepContext,
    snapshot: &Snapshot,
    call: &Call,
) -> Result<Option<EffectiveRoute>> {
    let shared = &context.shared;
    let name = &snapshot.deployment.app;
    let Some(app) = &snapshot.app else { return Ok(None) };
    // Without an answer the clean-up goes on: it must not depend on a router
    // that it does not need. The comparison with the world doubts again.
    let Ok(Some(seen)) = call.bound("router.observe", shared.router.observe(name)).await else { return Ok(None) };
    if seen.generation <= app.serving.generation || planted!(DoubtIgnored) {
        return Ok(Some(seen));
    }
    let (seen, known) = (seen.generation.0, app.serving.generation.0);
    shared.enter_safe_mode(&format!("the route of `{name}` is generation {seen}, the store knows {known}"));
    shared.refuse_in_safe_mode()?;
    Ok(None)
}

/// Whether requests are sent to a container, although the store has it that it
/// was never promoted: after a person has resumed an engine whose store went back
/// in time, a deployment may be begun for a second time that was live before.
pub(super) fn serves(seen: Option<&EffectiveRoute>, observed: &ObservedContainer) -> bool {
    let slot = observed.labels.get(label::SLOT).map(String::as_str);
    let gets_requests = |seen: &EffectiveRoute| {
        slot == Some(seen.active.as_str()) || seen.canary.is_some() && slot == Some(seen.active.other().as_str())
    };
    observed.state == ContainerState::Running && seen.is_some_and(gets_requests)
}

/// Whether an instance is left to people, because it serves.
async fn spared(context: &StepContext, instance: &Instance, seen: Option<&EffectiveRoute>) -> Result<bool> {
    let Some(observed) = context.shared.runtime.inspect(&instance.name).await? else { return Ok(false) };
    if !serves(seen, &observed) {
        return Ok(false);
    }
    tracing::error!(container = %instance.name, "it was never promoted, as far as the store knows, and serves; it is left");
    context.log.say(&format!("{} serves, although it was never promoted; it is left to you", instance.name));
    Ok(true)
}
