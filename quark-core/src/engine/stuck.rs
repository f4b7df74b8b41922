//! What a person can do about a deployment that could not be cleaned up.

use std::sync::Arc;
use std::time::Duration;

use super::decide::is_live;
use super::draft::Draft;
use super::hold::Hold;
use super::settle;
use super::shared::Shared;
use super::sweep::job;
use crate::app::{AppName, check_person};
use crate::backend::Snapshot;
use crate::backend::store::refusal;
use crate::clock::Timestamp;
use crate::deployment::{
    BakeOutcome, Conclusion, Deployment, DeploymentId, DeploymentKind, EventKind, Failure, Instance, InstanceState,
    State, StepName, StepPhase, StepRecord,
};
use crate::{Error, ErrorKind, Result};

/// What is left of a deployment that could not be cleaned up.
///
/// Two things can be done about it: [`retry`](super::DeploymentEngine::retry)
/// when the cause was mended, and [`abandon`](super::DeploymentEngine::abandon)
/// to go on without: what is left is then collected as garbage when it can be.
#[derive(Clone, Debug)]
pub struct Leftovers {
    /// What could not be done.
    pub step: StepName,
    /// Why not.
    pub failure: Failure,
    /// The instances that may still be there. None of a deployment that was to be
    /// rolled back by itself: it serves on, whatever is done about it.
    pub instances: Vec<Instance>,
    /// Whether requests may go to the deployment.
    pub maybe_routed: bool,
}

/// The step that could not be done. What serves is mended in the same journal.
fn failed(snapshot: &Snapshot) -> Option<&StepRecord> {
    let upkeep = |step: &StepRecord| matches!(step.name, StepName::Mend | StepName::Collect | StepName::Restart);
    snapshot.steps.iter().rev().find(|step| step.phase == StepPhase::Failed && !upkeep(step))
}

fn not_stuck(id: DeploymentId) -> Error {
    Error::new(ErrorKind::Conflict, format!("deployment `{id}` is not stuck")).with_code("not_stuck")
}

/// What is left of a stuck deployment.
pub(super) async fn leftovers(shared: &Shared, id: DeploymentId) -> Result<Leftovers> {
    let snapshot = shared.store.snapshot(id).await?.ok_or_else(|| refusal::deployment_not_found(id))?;
    let Some((step, failure)) = failed(&snapshot).and_then(|step| Some((step.name, step.failure.clone()?))) else {
        return Err(not_stuck(id));
    };
    if snapshot.deployment.state != State::Stuck {
        return Err(not_stuck(id));
    }
    let serves = is_live(&snapshot);
    let own = |instance: &Instance| instance.deployment == id && !serves;
    let instances = snapshot.instances.into_iter().filter(own).collect();
    let maybe_routed = matches!(step, StepName::Revert | StepName::Unroute);
    Ok(Leftovers { step, failure, instances, maybe_routed })
}

/// Sets a stuck deployment on its way again, because a person said so.
pub(super) async fn retry(shared: &Arc<Shared>, id: DeploymentId) -> Result<()> {
    let now = shared.now();
    change(shared, id, |draft, failed| {
        let to = match failed {
            _ if is_live(draft.snapshot()) => State::Reverting,
            Some(StepName::Revert) => State::Reverting,
            Some(StepName::Unroute) => State::Promoting,
            _ => State::Unwinding,
        };
        draft.go(to);
        let job = job(&draft.snapshot().deployment, now);
        draft.queue(job);
        Ok(())
    })
    .await?;
    // The worker that saw it get stuck may not have ended its job yet: this one is a duplicate then.
    let engine = Arc::clone(shared);
    shared.spawn(async move {
        tokio::select! {
            biased;
            () = engine.stopping.cancelled() => return,
            () = engine.clock.sleep(AGAIN) => {}
        }
        if let Ok(Some(deployment)) = engine.store.deployment(id).await
            && !deployment.state.is_terminal()
            && deployment.state != State::Stuck
        {
            engine.enqueue(job(&deployment, now)).await;
        }
    });
    Ok(())
}

/// Ends a stuck deployment and leaves what is left to the collection of garbage.
pub(super) async fn abandon(shared: &Arc<Shared>, id: DeploymentId, by: &str) -> Result<()> {
    check_person(by)?;
    let now = shared.now();
    change(shared, id, |draft, _| {
        if draft.snapshot().deployment.kind == DeploymentKind::Remove {
            // From its first row on the app takes no deployments; half a removal is no state to be in.
            return Err(Error::new(ErrorKind::Conflict, "the removal of an app cannot be abandoned")
                .with_code("too_late")
                .with_hint("mend what keeps it from being cleaned up, then retry"));
        }
        // What serves is not left to anybody.
        let leaves = |instance: &&Instance| instance.deployment == id && !is_live(draft.snapshot());
        let own: Vec<Instance> = draft.snapshot().instances.iter().filter(leaves).cloned().collect();
        for instance in own {
            // Nothing refers to it any more: garbage.
            draft.instance(Instance { state: InstanceState::Removed, ..instance });
        }
        give_up(draft, by, now);
        Ok(())
    })
    .await
}

/// Ends a stuck deployment as it is.
pub(super) fn give_up(draft: &mut Draft, by: &str, now: Timestamp) {
    if is_live(draft.snapshot()) {
        // It could not be rolled back; the comparison with the world sets its route right.
        draft.tell(EventKind::Abandoned { by: by.to_owned() });
        draft.go(State::Reverting);
        return settle::baked(draft, BakeOutcome::Held, now);
    }
    let deployment = &draft.snapshot().deployment;
    let conclusion = match (&deployment.failure, &deployment.cancel) {
        (None, Some(cancel)) => cancel.conclusion(),
        _ => Conclusion::Failed,
    };
    draft.tell(EventKind::Abandoned { by: by.to_owned() });
    draft.go(State::Unwinding);
    draft.finish(conclusion, now);
}

/// When a job is queued again that may have been queued too early.
const AGAIN: Duration = Duration::from_secs(1);
/// How long somebody who waits for the app is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes the app for what a person wants. Those that wait behind a stuck
/// deployment, and looks at one that waits, take it for moments.
pub(super) async fn take(shared: &Arc<Shared>, app: &AppName, id: DeploymentId) -> Result<Hold> {
    let until = shared.now().after(PATIENCE);
    loop {
        match Hold::take(shared, app, id, None).await {
            Err(error) if error.code() == "lease_held" && shared.now() < until => {
                shared.clock.sleep(Duration::from_millis(50)).await;
            }
            taken => return taken,
        }
    }
}

async fn change(
    shared: &Arc<Shared>,
    id: DeploymentId,
    change: impl FnOnce(&mut Draft, Option<StepName>) -> Result<()>,
) -> Result<()> {
    shared.refuse_in_safe_mode()?;
    let not_found = || refusal::deployment_not_found(id);
    let deployment: Deployment = shared.store.deployment(id).await?.ok_or_else(not_found)?;
    let hold = take(shared, &deployment.app, id).await?;
    let lease = hold.lease.clone();
    let changed = async {
        let snapshot = shared.store.snapshot(id).await?.ok_or_else(not_found)?;
        if snapshot.deployment.state != State::Stuck {
            return Err(not_stuck(id));
        }
        let failed = failed(&snapshot).map(|step| step.name);
        let mut draft = Draft::of(snapshot);
        change(&mut draft, failed)?;
        shared.write(&mut draft, &lease).await
    };
    let changed = changed.await;
    hold.release(changed).await
}
