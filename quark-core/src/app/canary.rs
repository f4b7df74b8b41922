//! `CanaryPolicy`: how a new version gets its first users, a few at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::watch::Watch;
use crate::deployment::Share;
use crate::{Error, Result};

/// How a new version gets its first users: a growing share of the requests,
/// while the version before gets the rest.
///
/// Each step gives it a share and holds it for a while; it is looked at
/// meanwhile. If it dies, or is found unwell too often in a row, the share is
/// taken back and the deployment fails: what was live serves on, and was never
/// out of service. Where the engine has an [`AnalysisSource`](crate::backend::AnalysisSource), a version
/// is unwell, too, that answers too many requests with errors, or too slowly,
/// compared with what the live one answers in the same time. After the last
/// step it is promoted as any other, and [watched](super::BakePolicy) if that is said.
///
/// Which request is one of the share is decided for each request by itself: a
/// user may see both versions. First versions and rollbacks get all requests
/// at once: there is nothing, or nothing better, to give the rest to. A router
/// that cannot split requests refuses such an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CanaryPolicy {
    /// The shares, each larger than the one before; 1 to 10. 5 %, 25 % and
    /// 50 % for a minute each by default.
    pub steps: Vec<CanaryStep>,
    /// Time between two looks, 100 ms to 10 min. 5 s by default.
    #[serde(rename = "interval_ms", with = "crate::app::millis")]
    pub interval: Duration,
    /// How many looks in a row must find it unwell, 1 to 100; from one that
    /// does not run any more the share is taken back at once. 3 by default.
    pub failures: u32,
    /// The requests to it, since its share was given and in the last five
    /// minutes, before anything is made of how they were answered. 20 by default.
    pub min_requests: u64,
    /// How many requests of a thousand may fail, 0 to 1000; or three times as many
    /// as fail with the live version, if that is more. 50 (5 %) by default.
    pub errors_permille: u32,
    /// How long the slowest answers but 5 % may take, in hundredths of what they
    /// take with the live version, 100 to 100000; 50 ms longer is always
    /// allowed. 300 (three times as long) by default.
    pub slowdown_percent: u32,
}

/// A share of the requests, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// How many requests of a hundred the new version gets, 1 to 99.
    pub percent: u8,
    /// For how long, 1 s to 24 h; twice as long while nothing can be said about it.
    #[serde(rename = "hold_ms", with = "crate::app::millis")]
    pub hold: Duration,
}

impl CanaryStep {
    /// So many requests of a hundred, for so long.
    #[must_use]
    pub fn new(percent: u8, hold: Duration) -> Self {
        Self { percent, hold }
    }
}

impl Default for CanaryPolicy {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            steps: [5, 25, 50].map(|percent| CanaryStep::new(percent, minute)).to_vec(),
            interval: Duration::from_secs(5),
            failures: 3,
            min_requests: 20,
            errors_permille: 50,
            slowdown_percent: 300,
        }
    }
}

impl CanaryPolicy {
    /// The most steps that there may be.
    const STEPS: usize = 10;

    /// The longest time that a share may be held.
    const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// These steps; see the fields for the rest.
    #[must_use]
    pub fn of(steps: impl IntoIterator<Item = CanaryStep>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
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

    /// Sets how many requests of a thousand may fail.
    #[must_use]
    pub fn with_errors_permille(mut self, most: u32) -> Self {
        self.errors_permille = most;
        self
    }

    /// Sets how much slower answers may be, in hundredths.
    #[must_use]
    pub fn with_slowdown_percent(mut self, most: u32) -> Self {
        self.slowdown_percent = most;
        self
    }

    /// Sets how many requests there must be before anything is made of them.
    #[must_use]
    pub fn with_min_requests(mut self, least: u64) -> Self {
        self.min_requests = least;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.steps.is_empty() || self.steps.len() > Self::STEPS {
            return Err(Error::invalid("app.canary.steps", "invalid_steps", "1 to 10 steps can be asked for"));
        }
        let mut before = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let field = |name: &str| format!("app.canary.steps[{index}].{name}");
            Share::of_hundred(step.percent).map_err(|error| error.with_field(field("percent")))?;
            if step.percent <= before {
                let text = format!("{} % after {before} %: each step has more than the one before", step.percent);
                return Err(Error::invalid("app", "invalid_steps", text).with_field(field("percent")));
            }
            before = step.percent;
            if step.hold < Duration::from_secs(1) || step.hold > Self::LONGEST {
                let text = "a share is held for 1 s to 24 h";
                return Err(Error::invalid("app", "invalid_duration", text).with_field(field("hold_ms")));
            }
        }
        let Self { interval, failures, errors_permille, slowdown_percent, .. } = *self;
        Watch { interval, failures, errors_permille, slowdown_percent }.check("app.canary")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(percents: &[u8]) -> CanaryPolicy {
        CanaryPolicy::of(percents.iter().map(|percent| CanaryStep::new(*percent, Duration::from_secs(1))))
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(CanaryPolicy::default().check().is_ok());
        assert!(steps(&[1, 2, 99]).check().is_ok());
        let refused = |policy: CanaryPolicy| {
            let error = policy.check().unwrap_err();
            (error.field().unwrap().to_owned(), error.code().to_owned())
        };
        let told = |field: &str, code: &str| (format!("app.canary.{field}"), code.to_owned());
        assert_eq!(refused(steps(&[])), told("steps", "invalid_steps"));
        assert_eq!(refused(steps(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])), told("steps", "invalid_steps"));
        assert_eq!(refused(steps(&[5, 0])), told("steps[1].percent", "invalid_share"));
        assert_eq!(refused(steps(&[100])), told("steps[0].percent", "invalid_share"));
        assert_eq!(refused(steps(&[5, 5])), told("steps[1].percent", "invalid_steps"));
        let held = |hold| CanaryPolicy::of([CanaryStep::new(5, hold)]);
        assert_eq!(refused(held(Duration::ZERO)), told("steps[0].hold_ms", "invalid_duration"));
        assert_eq!(refused(held(Duration::from_secs(90_000))), told("steps[0].hold_ms", "invalid_duration"));
        let policy = CanaryPolicy::default;
        assert_eq!(refused(policy().with_interval(Duration::ZERO)), told("interval_ms", "invalid_duration"));
        assert_eq!(refused(policy().with_failures(0)), told("failures", "invalid_failures"));
        assert_eq!(refused(policy().with_errors_permille(1001)), told("errors_permille", "invalid_share"));
        assert_eq!(refused(policy().with_slowdown_percent(99)), told("slowdown_percent", "invalid_share"));
    }

    #[test]
    fn is_written_as_people_would() {
        let policy: CanaryPolicy = serde_json::from_str(r#"{"steps":[{"percent":10,"hold_ms":30000}]}"#).unwrap();
        assert_eq!(policy, CanaryPolicy::of([CanaryStep::new(10, Duration::from_secs(30))]));
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<CanaryPolicy>(&again).unwrap(), policy);
        assert_eq!(serde_json::from_str::<CanaryPolicy>("{}").unwrap(), CanaryPolicy::default());
        assert!(serde_json::from_str::<CanaryPolicy>(r#"{"step":[]}"#).is_err());
    }
}
