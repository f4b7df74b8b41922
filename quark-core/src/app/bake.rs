//! `BakePolicy`: how long a new version is watched after it was promoted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::watch::Watch;
use crate::{Error, Result};

/// How long a version is watched after it was promoted, and when it is rolled
/// back by itself.
///
/// The version before stands by meanwhile. If the new one dies, or is found
/// unwell too often in a row, users are sent back to it; but never to one that
/// is not well itself, and once at most. Where the engine has an
/// [`AnalysisSource`](crate::backend::AnalysisSource), a version is unwell, too, that answers too many
/// requests with errors, or too slowly. Rollbacks and first versions are not
/// watched: there is nothing better to go back to.
///
/// A newer deployment waits for the end of this. A rollback or a removal that
/// somebody asks for ends it as soon as it begins, whatever becomes of that: from
/// then on a person decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BakePolicy {
    /// How long it is watched, 1 s to 24 h, or 0 for [not at all](BakePolicy::off);
    /// twice as long while nothing can be said about it. 60 s by default.
    #[serde(rename = "duration_ms", with = "crate::app::millis")]
    pub duration: Duration,
    /// Time between two looks, 100 ms to 10 min. 5 s by default.
    #[serde(rename = "interval_ms", with = "crate::app::millis")]
    pub interval: Duration,
    /// How many looks in a row must find it unwell, 1 to 100; one that does not
    /// run any more is rolled back at once. 3 by default.
    pub failures: u32,
    /// The requests of the last minute before anything is made of how they were
    /// answered. 50 by default.
    pub min_requests: u64,
    /// How many requests of a thousand may fail, 0 to 1000; or three times as many
    /// as failed with the version before, if that is more. 50 (5 %) by default.
    pub errors_permille: u32,
    /// How long the slowest answers but 5 % may take, in hundredths of what they
    /// took with the version before, 100 to 100000; 50 ms longer is always
    /// allowed. 300 (three times as long) by default.
    pub slowdown_percent: u32,
}

impl Default for BakePolicy {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(60),
            interval: Duration::from_secs(5),
            failures: 3,
            min_requests: 50,
            errors_permille: 50,
            slowdown_percent: 300,
        }
    }
}

impl BakePolicy {
    /// The longest time that a version may be watched.
    const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// Watches for so long; see the fields for the rest.
    #[must_use]
    pub fn lasting(duration: Duration) -> Self {
        Self { duration, ..Self::default() }
    }

    /// A version is not watched: its deployment has succeeded as soon as it serves.
    #[must_use]
    pub fn off() -> Self {
        Self::lasting(Duration::ZERO)
    }

    /// Whether versions are not watched.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.duration.is_zero()
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
        let lasts = Duration::from_secs(1)..=Self::LONGEST;
        if !self.is_off() && !lasts.contains(&self.duration) {
            let text = "a version is watched for 1 s to 24 h, or not at all";
            return Err(Error::invalid("app.bake.duration_ms", "invalid_duration", text).with_hint("0 switches it off"));
        }
        let Self { interval, failures, errors_permille, slowdown_percent, .. } = *self;
        Watch { interval, failures, errors_permille, slowdown_percent }.check("app.bake")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(BakePolicy::default().check().is_ok() && BakePolicy::off().check().is_ok());
        let field = |policy: BakePolicy| policy.check().unwrap_err().field().map(str::to_owned);
        for lasts in [Duration::from_millis(999), Duration::from_secs(24 * 3600 + 1)] {
            assert_eq!(field(BakePolicy::lasting(lasts)).as_deref(), Some("app.bake.duration_ms"));
        }
        let never = BakePolicy::default().with_interval(Duration::ZERO);
        assert_eq!(field(never).as_deref(), Some("app.bake.interval_ms"));
        assert_eq!(field(BakePolicy::default().with_failures(0)).as_deref(), Some("app.bake.failures"));
        let all = BakePolicy::default().with_errors_permille(1001);
        assert_eq!(field(all).as_deref(), Some("app.bake.errors_permille"));
        let faster = BakePolicy::default().with_slowdown_percent(99);
        assert_eq!(field(faster).as_deref(), Some("app.bake.slowdown_percent"));
    }

    #[test]
    fn is_written_as_people_would() {
        let policy: BakePolicy = serde_json::from_str(r#"{"duration_ms":30000}"#).unwrap();
        assert_eq!(policy, BakePolicy::lasting(Duration::from_secs(30)));
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<BakePolicy>(&again).unwrap(), policy);
        assert!(serde_json::from_str::<BakePolicy>(r#"{"duraton_ms":1}"#).is_err());
    }
}
