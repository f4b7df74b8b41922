//! What to do next with a version that is being retired; pure, like `decide`.

use std::time::Duration;

use super::decide::{Decision, last, run, tidies};
use super::hooks;
use crate::app::HookPoint;
use crate::backend::Snapshot;
use crate::clock::Timestamp;
use crate::deployment::{StepName, StepPhase};
use crate::planted::planted;

/// The next step of the retirement of the standby that this deployment left.
/// `busy` says that another deployment of the app is active: it may be about
/// to roll back to this very standby.
/// `hooked` says that what is live has a hook for when this is done.
pub(super) fn decide_retirement(snapshot: &Snapshot, now: Timestamp, busy: bool, hooked: bool) -> Decision {
    // Who removes the app takes the standby away too, and the route before.
    let app = snapshot.app.as_ref().filter(|app| app.removed_at.is_none());
    let standby = app.and_then(|app| app.serving.standby.as_ref());
    let Some(standby) = standby.filter(|standby| standby.occupant.deployment == snapshot.deployment.id) else {
        return Decision::Done;
    };
    if !standby.retiring {
        if now < standby.retire_at && !planted!(RetiredBeforeItsTime) {
            return Decision::Wait(standby.retire_at);
        }
        if busy {
            return Decision::Wait(now.after(Duration::from_secs(1)));
        }
    }
    let is_done = |step| last(snapshot, step).is_some_and(|record| record.phase == StepPhase::Done);
    if !is_done(StepName::Retire) {
        return run(snapshot, if is_done(StepName::Drain) { StepName::Retire } else { StepName::Drain });
    }
    // It stays written down as the standby until its hook is over: that is what
    // a lost job is rebuilt from.
    if hooked && !hooks::is_over(snapshot, HookPoint::PostRetire) {
        return run(snapshot, StepName::PostRetire);
    }
    if tidies(snapshot) {
        return run(snapshot, StepName::Tidy);
    }
    Decision::Vacate
}
