//! `Bake`: what was seen of a version since it was promoted.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::DeploymentId;
use super::record::{Failure, Serving};
use super::traffic::Traffic;
use crate::app::{BakePolicy, Domain};
use crate::clock::Timestamp;

/// The watch over a version that was just promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bake {
    /// When it began.
    pub began_at: Timestamp,
    /// When it is over, if the version is well then.
    pub ends_at: Timestamp,
    /// How often in a row the version was found unwell, up to what the policy asks for.
    #[serde(default)]
    pub unwell: u32,
    /// When it was found unwell for the last time, if it is unwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell_at: Option<Timestamp>,
    /// How often in a row it could not be looked at, up to [`Bake::UNSEEN`].
    #[serde(default)]
    pub unseen: u32,
    /// What was wrong when it was found unwell for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What users got from the version before in its last ten minutes, if that
    /// is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_before: Option<Traffic>,
    /// What [`Serving::previous`] was before: it is that again if this version
    /// is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<DeploymentId>,
    /// The names that the route answered to before.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<BakeOutcome>,
}

/// How often in a row something is unwell that was so `unwell` times, at last
/// at `last`, and is found so at `at`; `most` at most.
pub(super) fn in_a_row(unwell: u32, last: Option<Timestamp>, at: Timestamp, interval: Duration, most: u32) -> u32 {
    let again = last.is_some_and(|last| at.since(last) < interval / 10 * 9);
    if again { unwell } else { (unwell + 1).min(most) }
}

/// How the watch over a version ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BakeOutcome {
    /// It was well in the end.
    Passed,
    /// It was not well, and users were sent back to the version before.
    RolledBack,
    /// It was not well, and could not be rolled back: the version before was not
    /// well either, or the router refused. It serves.
    Held,
    /// Nothing could be said about it in twice the time: it serves.
    Unverified,
    /// Somebody asked for a rollback, or for the removal of the app.
    Interrupted,
}

impl BakeOutcome {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::RolledBack => "rolled_back",
            Self::Held => "held",
            Self::Unverified => "unverified",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for BakeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Bake {
    /// The watch over a version that takes the place of what `before` says.
    #[must_use]
    pub fn begin(policy: &BakePolicy, before: &Serving, at: Timestamp) -> Self {
        Self {
            began_at: at,
            ends_at: at.after(policy.duration),
            unwell: 0,
            unwell_at: None,
            unseen: 0,
            failure: None,
            traffic_before: None,
            previous: before.previous,
            domains: before.domains.clone(),
            outcome: None,
        }
    }

    /// So often in a row it must not have been possible to look at it before
    /// that is all that can be said: an engine that was away starts with its runtime.
    pub const UNSEEN: u32 = 3;

    /// How often in a row it is unwell, if it is found so at this time. Two
    /// looks in one interval count as one.
    #[must_use]
    pub fn unwell_by(&self, at: Timestamp, policy: &BakePolicy) -> u32 {
        in_a_row(self.unwell, self.unwell_at, at, policy.interval, policy.failures)
    }

    /// When it is over whatever was seen.
    #[must_use]
    pub fn gives_up_at(&self) -> Timestamp {
        self.ends_at.after(self.ends_at.since(self.began_at))
    }
}
