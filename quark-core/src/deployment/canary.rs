//! `Canary`: what was seen of a version while it got a share of the requests.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bake::in_a_row;
use super::record::Failure;
use super::share::Share;
use crate::app::{CanaryPolicy, CanaryStep};
use crate::clock::Timestamp;

/// The way of a version through the steps of its app's [`CanaryPolicy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// When it began.
    pub began_at: Timestamp,
    /// The number of the step that it is at, from 0.
    #[serde(default)]
    pub step: usize,
    /// The share that it was last meant to have; `None` before the first step
    /// was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Since when it has the share of its step; `None` while the route is being
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_since: Option<Timestamp>,
    /// When that is over, if the version is well then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// How long it has held the shares of the steps that are over, together.
    #[serde(default, rename = "held_ms", with = "crate::app::millis")]
    pub held: Duration,
    /// How often in a row the version was found unwell, up to what the policy asks for.
    #[serde(default)]
    pub unwell: u32,
    /// When it was found unwell for the last time, if it is unwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwell_at: Option<Timestamp>,
    /// How often in a row it could not be looked at, up to [`Bake::UNSEEN`](super::Bake::UNSEEN).
    #[serde(default)]
    pub unseen: u32,
    /// What was wrong when it was found unwell for the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How it ended; `None` also of one that never got a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CanaryOutcome>,
}

/// How the way of a version through its steps ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CanaryOutcome {
    /// It was well at the end of each step.
    Passed,
    /// Its share was taken back. Why, its deployment's failure says, or who
    /// asked it to stop.
    TakenBack,
}

impl CanaryOutcome {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::TakenBack => "taken_back",
        }
    }
}

impl fmt::Display for CanaryOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Canary {
    /// Before the first step.
    #[must_use]
    pub fn begin(at: Timestamp) -> Self {
        Self {
            began_at: at,
            step: 0,
            share: None,
            held_since: None,
            ends_at: None,
            held: Duration::ZERO,
            unwell: 0,
            unwell_at: None,
            unseen: 0,
            failure: None,
            outcome: None,
        }
    }

    /// Whether the route is being changed for its step, or is about to be.
    #[must_use]
    pub fn is_shifting(&self) -> bool {
        self.held_since.is_none()
    }

    /// What it has got at its step: from now on the share is held.
    pub fn hold(&mut self, step: CanaryStep, at: Timestamp) {
        self.held_since = Some(at);
        self.ends_at = Some(at.after(step.hold));
        (self.unwell, self.unwell_at, self.unseen, self.failure) = (0, None, 0, None);
    }

    /// Its step is over: on to the next one.
    pub fn pass(&mut self, at: Timestamp) {
        if let Some(since) = self.held_since.take() {
            self.held = self.held.saturating_add(at.since(since));
        }
        self.ends_at = None;
        self.step += 1;
    }

    /// How often in a row it is unwell, if it is found so at this time. Two
    /// looks in one interval count as one.
    #[must_use]
    pub fn unwell_by(&self, at: Timestamp, policy: &CanaryPolicy) -> u32 {
        in_a_row(self.unwell, self.unwell_at, at, policy.interval, policy.failures)
    }

    /// When its step is over whatever was seen.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<Timestamp> {
        let (since, ends_at) = (self.held_since?, self.ends_at?);
        Some(ends_at.after(ends_at.since(since)))
    }
}
