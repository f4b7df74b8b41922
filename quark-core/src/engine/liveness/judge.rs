//! What is done about what is live, by what was seen of it: pure.

use std::time::Duration;

use crate::app::{LivenessAction, LivenessPolicy};
use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, Failure, Liveness};

/// What one look has shown.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// All of it runs and is well. When its process was started.
    Well(Option<Timestamp>),
    /// It runs and is not well. When its process was started.
    Unwell(Option<Timestamp>, Failure),
    /// It does not run.
    Down,
    /// It could not be looked at, which says nothing about it.
    Nothing,
}

/// What an engine has seen of an app in a row. It is not written down: an engine
/// that is started anew begins to count anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// What was live.
    deployment: Option<DeploymentId>,
    /// Its process, by its start.
    process: Option<Timestamp>,
    /// Until when the process may be unwell because it is being started.
    starts_until: Option<Timestamp>,
    /// How often in a row it was found unwell.
    pub(super) unwell: u32,
}

impl Row {
    /// Takes a look into account. `deadline` is how long a process may take to
    /// become healthy.
    pub(super) fn note(&mut self, deployment: DeploymentId, seen: &Seen, deadline: Duration, now: Timestamp) {
        let process = match seen {
            Seen::Well(process) | Seen::Unwell(process, _) => *process,
            Seen::Down => None,
            Seen::Nothing => return,
        };
        if self.deployment != Some(deployment) || self.process != process {
            let starts_until = Some(now.after(deadline));
            *self = Self { deployment: Some(deployment), process, starts_until, unwell: 0 };
        }
        match seen {
            Seen::Well(_) => (self.unwell, self.starts_until) = (0, None),
            Seen::Unwell(..) if self.starts_until.is_none_or(|until| until <= now) => {
                self.unwell = self.unwell.saturating_add(1);
            }
            _ => {}
        }
    }

    /// Whether this is of the process whose looks are counted.
    pub(super) fn is_of(&self, seen: &Seen) -> bool {
        match seen {
            Seen::Well(process) | Seen::Unwell(process, _) => self.process == *process,
            Seen::Down => self.process.is_none(),
            Seen::Nothing => false,
        }
    }

    /// Nothing of what was seen counts any more.
    pub(super) fn forget(&mut self) {
        self.unwell = 0;
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Nothing,
    /// Say that it is unwell.
    Tell(Failure),
    /// Start its process again.
    Restart,
    /// Say that it needs more restarts than it may have.
    TellLoop,
    /// Bring the version before back.
    GoBack,
    /// Say that it is well again.
    Recover,
}

/// What follows from a look, with what is written down already.
pub(super) fn judge(policy: &LivenessPolicy, known: &Liveness, row: &Row, seen: &Seen, now: Timestamp) -> Act {
    let may_go_back = policy.action == LivenessAction::RollBack && known.rollback.is_none() && known.held.is_none();
    let waits = known.restarts_at(policy, now) > now && known.is_used_up(policy, now);
    match seen {
        Seen::Nothing => Act::Nothing,
        Seen::Well(_) if known.unwell_since.is_some() => Act::Recover,
        // What dies now and then is well in between.
        Seen::Well(_) if known.looping_since.is_some() && known.is_unused(policy, now) => Act::Recover,
        Seen::Well(_) => Act::Nothing,
        Seen::Down if !waits => Act::Nothing,
        Seen::Down if known.looping_since.is_none() => Act::TellLoop,
        Seen::Down if may_go_back => Act::GoBack,
        Seen::Down => Act::Nothing,
        Seen::Unwell(..) if row.unwell < policy.failures => Act::Nothing,
        Seen::Unwell(_, failure) if known.unwell_since.is_none() => Act::Tell(failure.clone()),
        Seen::Unwell(..) => match policy.action {
            LivenessAction::Restart if known.restarts_at(policy, now) <= now => Act::Restart,
            LivenessAction::Restart if waits && known.looping_since.is_none() => Act::TellLoop,
            LivenessAction::RollBack if may_go_back => Act::GoBack,
            _ => Act::Nothing,
        },
    }
}
