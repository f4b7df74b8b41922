//! `LivenessPolicy`: what is done about a version that falls ill while it serves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How what is live is asked for its health for as long as it serves, and what
/// is done when it is not well any more.
///
/// A process that has died is started again without this, too: at the next look
/// at the world, however often. With this, restarts are counted: the wait before
/// each one grows, and there are no more than [`restarts`](Self::restarts) in
/// any [`window`](Self::window), whatever they are for.
///
/// Nothing is done while a deployment of the app is at work, nor while a new
/// version is watched ([`BakePolicy`](crate::BakePolicy) does that). A process
/// that was just started is given the time of its
/// [health check](crate::HealthCheck::deadline) before it counts as unwell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LivenessPolicy {
    /// Time between two looks, 1 s to 1 h. 30 s by default.
    #[serde(rename = "interval_ms", with = "crate::app::millis")]
    pub interval: Duration,
    /// How many looks in a row must find it unwell, 1 to 100. 3 by default.
    pub failures: u32,
    /// What is done then. A restart by default.
    pub action: LivenessAction,
    /// How many restarts there may be in any window, 1 to 100; who needs more is
    /// in a crash loop. 5 by default.
    pub restarts: u32,
    /// How long a restart counts, 10 s to 24 h. 10 min by default.
    #[serde(rename = "window_ms", with = "crate::app::millis")]
    pub window: Duration,
}

/// What is done about a version that is not well any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LivenessAction {
    /// Its process is started again, in its place.
    #[default]
    Restart,
    /// The version before is brought back, once: the standby if that is well,
    /// else its release, which is started anew and probed first. Where there is
    /// none, or it is not well either, it stays and people are told.
    RollBack,
    /// People are told.
    Alert,
}

impl LivenessAction {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::RollBack => "roll_back",
            Self::Alert => "alert",
        }
    }
}

impl Default for LivenessPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            failures: 3,
            action: LivenessAction::default(),
            restarts: 5,
            window: Duration::from_secs(600),
        }
    }
}

impl LivenessPolicy {
    /// Does this about what is not well; see the fields for the rest.
    #[must_use]
    pub fn that(action: LivenessAction) -> Self {
        Self { action, ..Self::default() }
    }

    /// Sets the time between two looks.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many looks in a row must find it unwell.
    #[must_use]
    pub fn with_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets how many restarts there may be in any window of this length.
    #[must_use]
    pub fn with_restarts(mut self, most: u32, window: Duration) -> Self {
        (self.restarts, self.window) = (most, window);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.interval < Duration::from_secs(1) || self.interval > Duration::from_secs(3600) {
            let text = "it is looked at every 1 s to 1 h";
            return Err(Error::invalid("app.liveness.interval_ms", "invalid_duration", text));
        }
        if !(1..=100).contains(&self.failures) {
            let text = "1 to 100 looks can be asked for";
            return Err(Error::invalid("app.liveness.failures", "invalid_failures", text));
        }
        if !(1..=100).contains(&self.restarts) {
            let text = "1 to 100 restarts can be allowed";
            return Err(Error::invalid("app.liveness.restarts", "invalid_restarts", text));
        }
        if self.window < Duration::from_secs(10) || self.window > Duration::from_secs(24 * 3600) {
            let text = "restarts count for 10 s to 24 h";
            return Err(Error::invalid("app.liveness.window_ms", "invalid_duration", text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_makes_no_sense() {
        let usual = LivenessPolicy::default;
        assert!(usual().check().is_ok());
        let field = |policy: LivenessPolicy| policy.check().unwrap_err().field().map(str::to_owned);
        let spinning = usual().with_interval(Duration::from_millis(999));
        assert_eq!(field(spinning).as_deref(), Some("app.liveness.interval_ms"));
        assert_eq!(field(usual().with_failures(0)).as_deref(), Some("app.liveness.failures"));
        let endless = usual().with_restarts(101, usual().window);
        assert_eq!(field(endless).as_deref(), Some("app.liveness.restarts"));
        let forgetful = usual().with_restarts(5, Duration::from_secs(9));
        assert_eq!(field(forgetful).as_deref(), Some("app.liveness.window_ms"));
    }

    #[test]
    fn is_written_as_people_would() {
        let policy: LivenessPolicy = serde_json::from_str(r#"{"action":"roll_back","interval_ms":5000}"#).unwrap();
        let same = LivenessPolicy::that(LivenessAction::RollBack).with_interval(Duration::from_secs(5));
        assert_eq!(policy, same);
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<LivenessPolicy>(&again).unwrap(), policy);
        assert!(serde_json::from_str::<LivenessPolicy>(r#"{"acton":"alert"}"#).is_err());
    }
}
