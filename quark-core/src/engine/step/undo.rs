//! Stop and remove what a deployment made; for an app that is removed, all of it.

use super::{StepContext, dispose};
use crate::Result;
use crate::app::Source;
use crate::backend::{BuildKey, Call, Snapshot};
use crate::deployment::{DeploymentKind, StepName, StepOutput};
use crate::engine::decide::{last, may_be_routed};
use crate::engine::route::take_away;
use crate::planted::planted;

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let shared = &context.shared;
    let removes_app = deployment.kind == DeploymentKind::Remove;
    let timing = deployment.release.timing;
    doubt_if_ahead(context, snapshot, call).await?;
    // It may have been given requests, if only for a moment.
    let was_routed = removes_app || may_be_routed(snapshot);
    for instance in &snapshot.instances {
        if !removes_app && instance.deployment != deployment.id {
            continue;
        }
        if was_routed {
            let drained = shared.router.drained(&deployment.app, instance.slot, &instance.endpoint, timing.drain);
            call.bound("router.drained", drained).await?;
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
pub(super) async fn doubt_if_ahead(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<()> {
    let shared = &context.shared;
    let name = &snapshot.deployment.app;
    let Some(app) = &snapshot.app else { return Ok(()) };
    // Without an answer the clean-up goes on: it must not depend on a router
    // that it does not need. The comparison with the world doubts again.
    let Ok(Some(seen)) = call.bound("router.observe", shared.router.observe(name)).await else { return Ok(()) };
    if seen.generation <= app.serving.generation || planted!(DoubtIgnored) {
        return Ok(());
    }
    let (seen, known) = (seen.generation.0, app.serving.generation.0);
    shared.enter_safe_mode(&format!("the route of `{name}` is generation {seen}, the store knows {known}"));
    shared.refuse_in_safe_mode()
}
