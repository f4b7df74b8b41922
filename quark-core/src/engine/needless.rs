//! Why a deployment whose turn has come is not begun: what it is for is done, or
//! is not what was planned any more. Pure, like `decide`.

use super::liveness::wish;
use super::wish::plan_outdated;
use crate::backend::Snapshot;
use crate::deployment::{Deployment, DeploymentKind, Failure, StepName, Trigger};
use crate::planted::planted;
use crate::{Error, ErrorKind};

/// Why a deployment must not be begun, if it must not.
pub(super) fn needless(snapshot: &Snapshot) -> Option<Failure> {
    let already = is_live_already(snapshot).then(|| already_live(&snapshot.deployment));
    let left = || is_left_already(snapshot).then(left_already);
    already.or_else(left).or_else(|| outdated(snapshot))
}

/// Why a deployment that was planned is not what was planned any more, if it is not.
fn outdated(snapshot: &Snapshot) -> Option<Failure> {
    // From its first row on a removal goes through: the app takes no deployments.
    if planted!(OutdatedPlan) || snapshot.deployment.kind == DeploymentKind::Remove {
        return None;
    }
    let why = snapshot.deployment.expects.as_ref()?.broken_by(&snapshot.app.as_ref()?.serving)?;
    Some(Failure { step: None, ..Failure::from_error(StepName::Promote, &plan_outdated(&why)) })
}

/// Whether what a rollback goes back to is live by now: it was when its turn
/// came, though not when it was asked for.
fn is_live_already(snapshot: &Snapshot) -> bool {
    let DeploymentKind::Rollback { to } = snapshot.deployment.kind else { return false };
    let live = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref());
    live.is_some_and(|live| live.release() == to)
}

fn already_live(deployment: &Deployment) -> Failure {
    let message = match deployment.kind {
        DeploymentKind::Rollback { to } => format!("deployment `{to}` is live by now"),
        _ => "it is live by now".to_owned(),
    };
    let error = Error::new(ErrorKind::Conflict, message).with_code("already_live");
    Failure { step: None, ..Failure::from_error(StepName::Promote, &error) }
}

/// Whether the engine wanted to go back from something else than what is live by now.
fn is_left_already(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    if deployment.trigger != Trigger::Unwell {
        return false;
    }
    let live = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref());
    let of_live = live.map(|live| wish(live.deployment));
    of_live.as_deref() != deployment.key.as_ref().map(|key| key.as_str())
}

fn left_already() -> Failure {
    let error = Error::new(ErrorKind::Conflict, "what it was to go back from is not live any more")
        .with_code("not_live_any_more");
    Failure { step: None, ..Failure::from_error(StepName::Promote, &error) }
}
