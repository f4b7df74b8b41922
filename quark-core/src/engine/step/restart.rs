//! Stop what is live and not well, and start it again. What has died is started
//! by `mend`; both are counted here.

use super::{StepContext, app, labels};
use crate::backend::{Call, ContainerState, Metric, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{Deployment, EventKind, RestartReason, StepName, StepOutput, StepPhase};
use crate::engine::draft::Draft;
use crate::engine::drift::Drift;
use crate::engine::reconcile::found;
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// Whether what has died may be started again at this time.
pub(in crate::engine) fn may_start(deployment: &Deployment, now: Timestamp) -> bool {
    let (Some(policy), Some(liveness)) = (&deployment.release.liveness, &deployment.liveness) else { return true };
    liveness.restarts_at(policy, now) <= now
}

/// Whether a restart was counted that has stopped what is live, perhaps, and not
/// started it: its engine died, or it failed. To start it now is the rest of it.
pub(in crate::engine) fn is_paid(snapshot: &Snapshot) -> bool {
    let of = |names: &[StepName]| snapshot.steps.iter().rev().find(|step| names.contains(&step.name));
    let Some(restart) = of(&[StepName::Restart]).filter(|restart| restart.phase != StepPhase::Done) else {
        return false;
    };
    let mended = of(&[StepName::Mend]).filter(|mend| mend.phase == StepPhase::Done);
    mended.is_none_or(|mend| mend.started_at < restart.started_at)
}

/// Whether the last intent to mend has counted a restart, where they are counted.
pub(super) fn is_counted(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    if deployment.release.liveness.is_none() || is_paid(snapshot) || planted!(RestartsWithoutEnd) {
        return true;
    }
    let last = deployment.liveness.as_ref().and_then(|liveness| liveness.restarts.last());
    let intent = snapshot.steps.iter().rev().find(|step| step.name == StepName::Mend);
    last.zip(intent).is_some_and(|(last, intent)| *last >= intent.started_at)
}

/// Counts the restart that is about to be done.
pub(super) fn plan(context: &StepContext, draft: &mut Draft) {
    count(draft, RestartReason::Unhealthy, context.shared.now());
}

/// Counts what is started again while other things are mended, too.
pub(super) async fn plan_mend(context: &StepContext, draft: &mut Draft) -> Result<()> {
    if draft.snapshot().deployment.release.liveness.is_none() || is_paid(draft.snapshot()) {
        return Ok(());
    }
    let found = found(&context.shared, draft.snapshot()).await?;
    if found.iter().any(|drift| matches!(drift, Drift::Stopped(_))) {
        count(draft, RestartReason::Exited, context.shared.now());
    }
    Ok(())
}

fn count(draft: &mut Draft, reason: RestartReason, now: Timestamp) {
    let Some(policy) = draft.snapshot().deployment.release.liveness.clone() else { return };
    let liveness = draft.deployment().liveness.get_or_insert_default();
    liveness.restarted(&policy, now);
    let count = u32::try_from(liveness.restarts.len()).unwrap_or(u32::MAX);
    draft.tell(EventKind::Restarted { reason, count });
}

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let shared = &context.shared;
    let Some(live) = &app(snapshot)?.serving.live else { return Ok(StepOutput::default()) };
    let mut done = Vec::new();
    for instance in snapshot.instances.iter().filter(|instance| instance.slot == live.slot) {
        // One that is gone is made anew by the comparison with the world.
        let Some(observed) = shared.runtime.inspect(&instance.name).await? else { continue };
        let own = labels(&shared.installation, instance.deployment);
        if own.iter().any(|(name, value)| observed.labels.get(name) != Some(value)) {
            return Err(Error::new(ErrorKind::Conflict, format!("{} belongs to somebody else", instance.name))
                .with_code("not_ours"));
        }
        if observed.state == ContainerState::Running {
            context.reassure().await?;
            let grace = snapshot.deployment.release.timing.stop;
            let outcome = shared.runtime.stop(call, &observed.id, grace).await?;
            context.log.say(&format!("stopped {} ({outcome:?})", instance.name));
        }
        shared.runtime.start(call, &observed.id).await?;
        shared.metrics.record(Metric::Restarted { reason: RestartReason::Unhealthy });
        done.push(format!("started {} again", instance.name));
    }
    for line in &done {
        context.log.say(line);
    }
    Ok(StepOutput { note: Some(done.join(", ")), ..StepOutput::default() })
}
