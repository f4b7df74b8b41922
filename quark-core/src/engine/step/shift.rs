//! Give a version a share of the requests; what is live gets the rest.

use super::probe::still_healthy;
use super::{StepContext, app};
use crate::backend::{Call, Snapshot};
use crate::deployment::{Share, StepOutput};
use crate::engine::draft::Draft;
use crate::engine::route::{enforce, split_route};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// Writes down which share it is about to have.
pub(in crate::engine) fn plan(draft: &mut Draft) -> Result<()> {
    let deployment = &draft.snapshot().deployment;
    let policy = deployment.release.canary.as_ref();
    let step = deployment.canary.as_ref().zip(policy).and_then(|(canary, policy)| policy.steps.get(canary.step));
    let Some(step) = step else {
        return Err(Error::new(ErrorKind::Internal, "there is no share that it could be given"));
    };
    let share = Share::of_hundred(step.percent)?;
    if let Some(canary) = &mut draft.deployment().canary {
        canary.share = Some(share);
    }
    Ok(())
}

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let app = app(snapshot)?;
    let share = snapshot.deployment.canary.as_ref().and_then(|canary| canary.share);
    let (Some(live), Some(share)) = (&app.serving.live, share) else {
        return Err(Error::new(ErrorKind::Internal, "nothing is live that could serve the rest"));
    };
    still_healthy(context, snapshot).await?;
    let share = if planted!(MoreThanItsShare) { Share::of_hundred(99)? } else { share };
    let began = context.shared.clock.monotonic();
    let generation = app.serving.generation;
    let wanted = split_route(&app.spec.name, &app.serving, &context.lease, generation, live.slot, share)?;
    enforce(context.shared.router.as_ref(), call, &wanted).await?;
    let took = context.shared.clock.monotonic().saturating_sub(began).as_secs_f64() * 1000.0;
    let slot = live.slot.other();
    context.log.say(&format!("{share} of the requests go to the {slot} slot; switching took {took:.1} ms"));
    Ok(StepOutput { note: Some(format!("{share}, switched in {took:.1} ms")), ..StepOutput::default() })
}
