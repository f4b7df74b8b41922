//! What an explanation says of a version that falls ill while it serves.

use super::{Finding, Next};
use crate::app::LivenessAction;
use crate::clock::Timestamp;
use crate::deployment::{Deployment, Liveness};

fn restarts(liveness: &Liveness, deployment: &Deployment, now: Timestamp) -> u32 {
    let Some(policy) = &deployment.release.liveness else { return 0 };
    let counted = liveness.restarts.iter().filter(|at| at.after(policy.window) > now).count();
    u32::try_from(counted).unwrap_or(u32::MAX)
}

pub(super) fn findings(deployment: &Deployment, now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let (Some(liveness), Some(policy)) = (&deployment.liveness, &deployment.release.liveness) else { return found };
    let (sequence, restarts) = (deployment.sequence, restarts(liveness, deployment, now));
    if let Some((since, failure)) = liveness.unwell_since.zip(liveness.failure.clone()) {
        found.push(Finding::Unhealthy { sequence, since, restarts, failure, held: liveness.held.clone() });
    }
    if let Some(since) = liveness.loops_since(policy, now) {
        found.push(Finding::CrashLoop { sequence, since, restarts, most: policy.restarts, window: policy.window });
    }
    found
}

pub(super) fn next(deployment: &Deployment, now: Timestamp) -> Vec<Next> {
    let (Some(liveness), Some(policy)) = (&deployment.liveness, &deployment.release.liveness) else {
        return Vec::new();
    };
    let sequence = deployment.sequence;
    let mut next = Vec::new();
    if liveness.loops_since(policy, now).is_some() || policy.action == LivenessAction::Restart && liveness.is_alarming()
    {
        next.push(Next::Restart { sequence, at: liveness.restarts_at(policy, now).max(now) });
    }
    if liveness.is_alarming() {
        next.push(Next::LookAfterLive { sequence });
    }
    next
}
