//! What a new deployment means for those of the same app that have not ended.

use serde::{Deserialize, Serialize};

use super::record::{Deployment, DeploymentKind, Trigger};
use super::state::State;

/// What happens to unfinished deployments of an app when a newer one is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SupersedePolicy {
    /// Only the newest counts: those that wait end, the one under way is
    /// cancelled unless it is being promoted already.
    #[default]
    Coalesce,
    /// Those that wait end; the one under way is finished first.
    QueuedOnly,
    /// Every one is deployed, in the order in which they were asked for.
    Serial,
    /// The newer one is refused.
    Reject,
}

/// What becomes of an unfinished deployment because of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store must handle each")]
pub enum Superseding {
    /// Nothing.
    Stays,
    /// It ends at once: nothing was done for it.
    Ends,
    /// It is asked to stop.
    Stops,
    /// The newer one is refused.
    Refuses,
}

impl SupersedePolicy {
    /// What becomes of `earlier`, which has not ended, because of `newer`. A
    /// rollback or a removal outranks every policy: it is what a person asks
    /// for when something is wrong. Nothing but a removal or another rollback
    /// outranks them; what the engine wants by itself outranks nothing.
    #[must_use]
    pub fn verdict(self, newer: &Deployment, earlier: &Deployment) -> Superseding {
        if newer.trigger == Trigger::Unwell {
            // It ends nothing that somebody has asked for meanwhile.
            return Superseding::Stays;
        }
        let policy = if newer.kind == DeploymentKind::Deploy { self } else { Self::Coalesce };
        match (&earlier.kind, &newer.kind) {
            (DeploymentKind::Remove, _) => return Superseding::Stays,
            (DeploymentKind::Rollback { .. }, DeploymentKind::Deploy) if policy != Self::Reject => {
                return Superseding::Stays;
            }
            _ => {}
        }
        match (policy, earlier.state) {
            (Self::Reject, _) => Superseding::Refuses,
            (Self::Serial, _) => Superseding::Stays,
            (_, State::Queued) => Superseding::Ends,
            (Self::Coalesce, state) if state.can_cancel() && earlier.cancel.is_none() => Superseding::Stops,
            _ => Superseding::Stays,
        }
    }
}
