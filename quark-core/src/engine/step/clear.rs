//! Take what is left in the idle slot away: at the end of its grace, or at
//! once when the slot is needed.

use super::{StepContext, app, count_cut, dispose};
use crate::backend::{Call, ContainerState, Drained, Snapshot};
use crate::deployment::{Instance, Slot, StepOutput};
use crate::engine::draft::Draft;
use crate::engine::route::{enforce, route};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// Marks the standby as retiring: from this row on no rollback takes it. That
/// is never taken back, because somebody may be about to stop it.
pub(super) async fn plan(context: &StepContext, draft: &mut Draft) -> Result<()> {
    if let Some(live) = draft.snapshot().app.as_ref().and_then(|app| app.serving.live.as_ref()) {
        refuse_if_needed(context, draft.snapshot(), live.slot).await?;
    }
    draft.serve(|serving| {
        if let Some(standby) = &mut serving.standby {
            standby.retiring = true;
        }
        serving.generation = serving.generation.next();
    });
    Ok(())
}

/// Drains and removes at once.
pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    drain(context, snapshot, call).await?;
    retire(context, snapshot, call).await
}

/// Takes the standby out of the route and waits for its last requests.
pub(super) async fn drain(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let app = app(snapshot)?;
    let slot = idle_slot(snapshot)?;
    let (Some(live), Some(endpoint)) = (&app.serving.live, app.serving.endpoint(slot)) else {
        return Ok(StepOutput::default());
    };
    if planted!(RemoveBeforeDrain) {
        return Ok(StepOutput::default());
    }
    refuse_if_needed(context, snapshot, live.slot).await?;
    let alone = route(&app.spec.name, &app.serving, &context.lease, app.serving.generation, live.slot, false)?;
    enforce(context.shared.router.as_ref(), call, &alone).await?;
    let longest = snapshot.deployment.release.timing.drain;
    let drained =
        call.bound("router.drained", context.shared.router.drained(&app.spec.name, slot, endpoint, longest)).await?;
    count_cut(&context.shared, drained);
    let note = match drained {
        Drained::Fully => format!("the {slot} slot has no request left"),
        Drained::TimedOut { open } => format!("{open} requests of the {slot} slot did not end within {longest:?}"),
    };
    context.log.say(&note);
    Ok(StepOutput { note: Some(note), ..StepOutput::default() })
}

/// Refuses while the standby answers in the place of a live version that does
/// not run: without it nothing would.
async fn refuse_if_needed(context: &StepContext, snapshot: &Snapshot, live: Slot) -> Result<()> {
    let live_runs = runs(context, snapshot, live).await? || planted!(NeededIsRetired);
    if live_runs || !runs(context, snapshot, live.other()).await? {
        return Ok(());
    }
    let name = &snapshot.deployment.app;
    // It may be out of the route already: an earlier try has come that far.
    let route = context.shared.ask("the router", context.shared.router.observe(name)).await?;
    if route.is_none_or(|route| route.active != live || !route.backup) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!("what is live of `{name}` does not run, and the standby answers for it"),
    )
    .with_code("live_is_down")
    .with_hint("roll back, which takes a moment, or mend what keeps the live version from running; then deploy again"))
}

/// Whether what is in a slot runs, all of it.
pub(super) async fn runs(context: &StepContext, snapshot: &Snapshot, slot: Slot) -> Result<bool> {
    let mut any = false;
    for instance in snapshot.instances.iter().filter(|instance| instance.slot == slot) {
        match context.shared.runtime.inspect(&instance.name).await? {
            Some(observed) if observed.state == ContainerState::Running => any = true,
            _ => return Ok(false),
        }
    }
    Ok(any)
}

/// Stops and removes what is in the idle slot.
pub(super) async fn retire(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let slot = idle_slot(snapshot)?;
    let leftover = |instance: &&Instance| {
        instance.slot == slot
            // A retry of this deployment may have made its own instance there already.
            && (instance.deployment != snapshot.deployment.id || snapshot.deployment.state.is_terminal())
    };
    for instance in snapshot.instances.iter().filter(leftover) {
        dispose(context, instance, call, snapshot.deployment.release.timing.stop).await?;
    }
    Ok(StepOutput::default())
}

fn idle_slot(snapshot: &Snapshot) -> Result<Slot> {
    Ok(app(snapshot)?.serving.idle_slot())
}
