//! `Liveness`: what was seen of a version while it is live.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::DeploymentId;
use super::record::Failure;
use crate::app::LivenessPolicy;
use crate::clock::Timestamp;
use crate::planted::planted;

/// What was seen of a version while it is live, and done about it. Looks that
/// change nothing write nothing: how often in a row it was found unwell is known
/// to each engine for itself, until that is often enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Liveness {
    /// When it was restarted, the earliest first: those that count still.
    pub restarts: Vec<Timestamp>,
    /// When it was found unwell often enough to say so; while it is unwell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwell_since: Option<Timestamp>,
    /// What was wrong then, or when it died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Since when it has needed more restarts than it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looping_since: Option<Timestamp>,
    /// The deployment by which the engine has gone back from it, or tried to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<DeploymentId>,
    /// Why the engine cannot go back from it, if it shall and cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Failure>,
}

/// Why a process is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestartReason {
    /// It ran, and was not well.
    Unhealthy,
    /// It did not run any more.
    Exited,
}

impl RestartReason {
    /// The name in APIs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unhealthy => "unhealthy",
            Self::Exited => "exited",
        }
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Liveness {
    /// The restarts that count at this time.
    fn counted(&self, policy: &LivenessPolicy, now: Timestamp) -> impl DoubleEndedIterator<Item = Timestamp> {
        self.restarts.iter().copied().filter(move |at| at.after(policy.window) > now)
    }

    /// Whether there were as many restarts as there may be.
    #[must_use]
    pub fn is_used_up(&self, policy: &LivenessPolicy, now: Timestamp) -> bool {
        self.counted(policy, now).count() >= policy.restarts as usize
    }

    /// Whether no restart counts any more.
    #[must_use]
    pub fn is_unused(&self, policy: &LivenessPolicy, now: Timestamp) -> bool {
        self.counted(policy, now).next().is_none()
    }

    /// Since when it dies again and again, if it still does: one that has run for
    /// a whole window does not any more, even if it is not well.
    #[must_use]
    pub fn loops_since(&self, policy: &LivenessPolicy, now: Timestamp) -> Option<Timestamp> {
        self.looping_since.filter(|_| !self.is_unused(policy, now))
    }

    /// When it may be restarted: the first time at once, then after a wait that
    /// doubles each time, and never more often than its policy allows in any window.
    #[must_use]
    pub fn restarts_at(&self, policy: &LivenessPolicy, now: Timestamp) -> Timestamp {
        let most = policy.restarts as usize;
        let counted: Vec<Timestamp> = self.counted(policy, now).collect();
        let Some(last) = counted.last().filter(|_| !planted!(RestartsWithoutEnd)) else { return now };
        match counted.len().checked_sub(most).and_then(|over| counted.get(over)) {
            Some(oldest) => oldest.after(policy.window),
            None => {
                let halves = u32::try_from(most + 1 - counted.len()).unwrap_or(u32::MAX);
                last.after(policy.window.checked_div(2_u32.saturating_pow(halves)).unwrap_or(Duration::ZERO))
            }
        }
    }

    /// Counts a restart.
    pub(crate) fn restarted(&mut self, policy: &LivenessPolicy, now: Timestamp) {
        self.restarts = self.counted(policy, now).collect();
        self.restarts.push(now);
        let over = self.restarts.len().saturating_sub(policy.restarts as usize);
        self.restarts.drain(..over);
    }

    /// Whether people are to be told of something that lasts.
    #[must_use]
    pub fn is_alarming(&self) -> bool {
        self.unwell_since.is_some() || self.looping_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000).after(Duration::from_secs(second))
    }

    #[test]
    fn the_wait_doubles_and_no_window_has_more_than_the_policy_says() {
        let policy = LivenessPolicy::default();
        let mut liveness = Liveness::default();
        let (mut now, mut restarts) = (at(0), Vec::new());
        // It dies again at once, each time.
        for _ in 0..40 {
            now = now.max(liveness.restarts_at(&policy, now));
            liveness.restarted(&policy, now);
            restarts.push(now);
        }
        let waits: Vec<u64> = restarts.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
        assert_eq!(&waits[..5], [18, 37, 75, 150, 318]);
        for (first, at) in restarts.iter().enumerate() {
            let within = restarts[first..].iter().filter(|later| later.since(*at) < policy.window).count();
            assert!(within <= 5, "{within} restarts in one window, from {first}");
        }
    }

    #[test]
    fn one_restart_is_allowed_at_once_and_counts_for_the_window() {
        let policy = LivenessPolicy::default().with_restarts(1, Duration::from_secs(60));
        let mut liveness = Liveness::default();
        assert_eq!(liveness.restarts_at(&policy, at(0)), at(0));
        assert!(!liveness.is_used_up(&policy, at(0)));
        liveness.restarted(&policy, at(0));
        assert_eq!(liveness.restarts_at(&policy, at(1)), at(60));
        assert!(liveness.is_used_up(&policy, at(59)) && !liveness.is_used_up(&policy, at(60)));
        assert_eq!(liveness.restarts_at(&policy, at(61)), at(61));
    }

    #[test]
    fn what_has_run_for_a_window_does_not_loop_any_more() {
        let policy = LivenessPolicy::default().with_restarts(1, Duration::from_secs(60));
        let mut liveness = Liveness { looping_since: Some(at(5)), ..Liveness::default() };
        liveness.restarted(&policy, at(10));
        assert_eq!(liveness.loops_since(&policy, at(69)), Some(at(5)));
        assert_eq!(liveness.loops_since(&policy, at(70)), None);
    }

    #[test]
    fn a_clock_that_was_ahead_holds_restarts_back_for_a_window_at_most_longer() {
        let policy = LivenessPolicy::default().with_restarts(100, Duration::from_secs(60));
        let mut liveness = Liveness::default();
        liveness.restarted(&policy, at(100));
        assert!(liveness.restarts_at(&policy, at(0)) <= at(160));
    }
}
