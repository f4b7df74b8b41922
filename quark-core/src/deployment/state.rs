//! Where a deployment stands, and where it may go from there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a deployment stands. The names are public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Written down; no worker has it yet.
    #[serde(alias = "pending")]
    Queued,
    /// It is the app's one active deployment.
    Admitted,
    /// The source is being resolved and fetched.
    #[serde(alias = "cloning")]
    Fetching,
    /// The image is being built or pulled.
    Building,
    /// The idle slot is being made ready and the container created.
    Preparing,
    /// The container is being started.
    #[serde(alias = "deploying")]
    Starting,
    /// The container must show that it is healthy.
    #[serde(alias = "health_checking")]
    Probing,
    /// It is healthy, and people must agree before it serves. It holds no worker.
    AwaitingApproval,
    /// It gets a growing share of the requests, and is watched meanwhile.
    Canary,
    /// The route is being pointed at it.
    #[serde(alias = "switching")]
    Promoting,
    /// It serves, and is watched for a while, or its hook for then runs.
    Baking,
    /// It serves and is not well: users are being sent back to the version before.
    RollingBack,
    /// The router refused; the route is being put back.
    Reverting,
    /// What was made for it is being taken away again.
    #[serde(alias = "cleaning")]
    Unwinding,
    /// Undoing keeps failing; a person must look.
    Stuck,
    /// It has ended; see the conclusion.
    Completed,
}

impl State {
    /// All states in the order of a deployment's life.
    pub const ALL: [Self; 16] = [
        Self::Queued,
        Self::Admitted,
        Self::Fetching,
        Self::Building,
        Self::Preparing,
        Self::Starting,
        Self::Probing,
        Self::AwaitingApproval,
        Self::Canary,
        Self::Promoting,
        Self::Baking,
        Self::RollingBack,
        Self::Reverting,
        Self::Unwinding,
        Self::Stuck,
        Self::Completed,
    ];

    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Admitted => "admitted",
            Self::Fetching => "fetching",
            Self::Building => "building",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Probing => "probing",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Canary => "canary",
            Self::Promoting => "promoting",
            Self::Baking => "baking",
            Self::RollingBack => "rolling_back",
            Self::Reverting => "reverting",
            Self::Unwinding => "unwinding",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
        }
    }

    /// Whether it has ended and never changes again.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        self == Self::Completed
    }

    /// Whether it is the one deployment of its app that may act.
    #[must_use]
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Queued | Self::Completed)
    }

    /// Whether a cancel is still honoured: the route was not pointed at it.
    #[must_use]
    pub fn can_cancel(self) -> bool {
        matches!(
            self,
            Self::Queued
                | Self::Admitted
                | Self::Fetching
                | Self::Building
                | Self::Preparing
                | Self::Starting
                | Self::Probing
                | Self::AwaitingApproval
                | Self::Canary
        )
    }

    /// Whether a deployment may go from this state to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Admitted | Self::Completed),
            Self::Admitted => matches!(
                next,
                Self::Fetching | Self::Building | Self::Preparing | Self::Probing | Self::Promoting | Self::Unwinding
            ),
            Self::Fetching => matches!(next, Self::Building | Self::Preparing | Self::Unwinding),
            Self::Building => matches!(next, Self::Preparing | Self::Unwinding),
            // Back when somebody has pruned the image.
            Self::Preparing => matches!(next, Self::Starting | Self::Fetching | Self::Building | Self::Unwinding),
            // Back to preparing when somebody else has the address.
            Self::Starting => matches!(next, Self::Probing | Self::Preparing | Self::Unwinding),
            // Likewise, and when the standby of a rollback turns out to be dead.
            Self::Probing => {
                matches!(
                    next,
                    Self::AwaitingApproval | Self::Canary | Self::Promoting | Self::Preparing | Self::Unwinding
                )
            }
            // Probed once more when people have agreed.
            Self::AwaitingApproval => matches!(next, Self::Probing | Self::Unwinding),
            // Its share is taken back before anything else, once it may have one.
            Self::Canary => matches!(next, Self::Promoting | Self::Reverting | Self::Unwinding),
            Self::Promoting => {
                matches!(next, Self::Baking | Self::Completed | Self::Reverting | Self::Unwinding | Self::Stuck)
            }
            Self::Baking => matches!(next, Self::Completed | Self::RollingBack),
            Self::RollingBack => matches!(next, Self::Completed | Self::Reverting),
            // What was live before it was to be rolled back goes on serving.
            Self::Reverting => matches!(next, Self::Completed | Self::Unwinding | Self::Stuck),
            Self::Unwinding => matches!(next, Self::Completed | Self::Stuck),
            Self::Stuck => matches!(next, Self::Unwinding | Self::Reverting | Self::Promoting),
            Self::Completed => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Conclusion {
    /// It serves, or did.
    #[serde(alias = "success")]
    Succeeded,
    /// It was stopped by a failure; what served before still does.
    Failed,
    /// A person stopped it.
    #[serde(alias = "canceled")]
    Cancelled,
    /// A newer deployment took its place before it was promoted.
    Superseded,
    /// It served, was not well, and the version before was brought back.
    RolledBack,
}

impl Conclusion {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_the_end() {
        assert!(State::ALL.iter().all(|next| !State::Completed.may_become(*next)));
    }

    #[test]
    fn every_state_leads_to_the_end() {
        for state in State::ALL {
            let mut reached = vec![state];
            let mut at = 0;
            while let Some(current) = reached.get(at).copied() {
                at += 1;
                let next = State::ALL.into_iter().filter(|next| current.may_become(*next));
                let new: Vec<_> = next.filter(|next| !reached.contains(next)).collect();
                reached.extend(new);
            }
            assert!(reached.contains(&State::Completed), "{state} leads nowhere");
        }
    }

    #[test]
    fn names_of_other_systems_are_understood() {
        let state: State = serde_json::from_str("\"health_checking\"").unwrap();
        assert_eq!(state, State::Probing);
    }
}
