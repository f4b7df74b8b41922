//! Which hooks of a deployment are due, and which have left something: pure, a
//! function of the journal.
//!
//! A hook is a step of its own, so that whoever takes a deployment up finds
//! whether it was begun and how it ended. Its container stays until the outcome
//! is written: an engine that dies in between is followed by one that sees it.
//! Then a step of its own removes it.

use std::collections::BTreeSet;

use super::retry;
use crate::app::HookPoint;
use crate::backend::Snapshot;
use crate::deployment::{ContainerName, Deployment, DeploymentKind, State, StepName, StepPhase, StepRecord};
use crate::planted::planted;

/// Whether a hook of a deployment's own release is due, at the point that the
/// deployment has come to.
pub(super) fn is_due(snapshot: &Snapshot, point: HookPoint) -> bool {
    if planted!(HookSkipped) && point == HookPoint::PrePromote {
        return false;
    }
    let deployment = &snapshot.deployment;
    // Where one that must succeed has failed, the deployment has not come further:
    // it went to its end, or back to the build of an image that was gone.
    let is_behind = if point.must_succeed() { is_done(snapshot, point.into()) } else { is_over(snapshot, point) };
    // What is gone back to was prepared when it was deployed.
    deployment.kind == DeploymentKind::Deploy && deployment.release.hooks.at(point).is_some() && !is_behind
}

/// Whether a hook has ended, well or not, and is not run again.
pub(super) fn is_over(snapshot: &Snapshot, point: HookPoint) -> bool {
    ended(snapshot, point.into())
}

fn is_done(snapshot: &Snapshot, step: StepName) -> bool {
    snapshot.steps.iter().any(|record| record.name == step && record.phase == StepPhase::Done)
}

fn ended(snapshot: &Snapshot, step: StepName) -> bool {
    let last = snapshot.steps.iter().rev().find(|record| record.name == step);
    last.is_some_and(|record| match record.phase {
        StepPhase::Intent => false,
        StepPhase::Done => true,
        StepPhase::Failed => !retry::is_worth_it(&snapshot.steps, record),
    })
}

/// The hooks that a deployment has begun.
pub(super) fn begun(snapshot: &Snapshot) -> impl Iterator<Item = HookPoint> + '_ {
    HookPoint::ALL.into_iter().filter(|point| {
        let step = StepName::from(*point);
        snapshot.steps.iter().any(|record| record.name == step)
    })
}

/// The name of the container of a hook.
pub(super) fn container(deployment: &Deployment, point: HookPoint) -> ContainerName {
    ContainerName::of_hook(&deployment.app, deployment.id, point)
}

/// Whether a hook that has ended has left its container.
pub(super) fn is_untidy(snapshot: &Snapshot) -> bool {
    if planted!(HookLeftBehind) {
        return false;
    }
    let position = |is: &dyn Fn(&StepRecord) -> bool| snapshot.steps.iter().rposition(is);
    let hook = position(&|record| record.name.hook().is_some_and(|point| is_over(snapshot, point)));
    let tidied = position(&|record| record.name == StepName::Tidy);
    match (hook, tidied) {
        (None, _) => false,
        (Some(hook), Some(tidied)) if tidied > hook => !ended(snapshot, StepName::Tidy),
        (Some(_), _) => true,
    }
}

/// The containers of hooks that somebody goes on with: they are no garbage,
/// although no instance refers to them.
pub(super) fn awaited(snapshot: &Snapshot) -> BTreeSet<ContainerName> {
    let deployment = &snapshot.deployment;
    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    let retires = standby.is_some_and(|standby| standby.occupant.deployment == deployment.id);
    let is_awaited = |point: &HookPoint| match point {
        HookPoint::PostRetire => retires && deployment.state == State::Completed,
        _ => !deployment.state.is_terminal(),
    };
    begun(snapshot).filter(is_awaited).map(|point| container(deployment, point)).collect()
}
