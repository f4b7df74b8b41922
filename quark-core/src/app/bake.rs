//! `BakePolicy`: how long a new version is watched after it was promoted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How long a version is watched after it was promoted, and when it is rolled
/// back by itself.
///
/// The version before stands by meanwhile. If the new one dies, or is found
/// unwell too often in a row, users are sent back to it; but never to one that
/// is not well itself, and once at most. Rollbacks and first versions are not
/// watched: there is nothing better to go back to.
///
/// A newer deployment waits for the end of this; a rollback or a removal that
/// somebody asks for ends it at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BakePolicy {
    /// How long it is watched, 1 s to 24 h; twice as long while nothing can be
    /// said about it. 60 s by default.
    #[serde(rename = "duration_ms", with = "crate::app::millis")]
    pub duration: Duration,
    /// Time between two looks, 100 ms to 10 min. 5 s by default.
    #[serde(rename = "interval_ms", with = "crate::app::millis")]
    pub interval: Duration,
    /// How many looks in a row must find it unwell, 1 to 100; one that does not
    /// run any more is rolled back at once. 3 by default.
    pub failures: u32,
}

impl Default for BakePolicy {
    fn default() -> Self {
        Self { duration: Duration::from_secs(60), interval: Duration::from_secs(5), failures: 3 }
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

    pub(super) fn check(&self) -> Result<()> {
        if self.duration < Duration::from_secs(1) || self.duration > Self::LONGEST {
            let text = "a version is watched for 1 s to 24 h";
            return Err(Error::invalid("app.bake.duration_ms", "invalid_duration", text));
        }
        if self.interval < Duration::from_millis(100) || self.interval > Duration::from_secs(600) {
            let text = "it is looked at every 100 ms to 10 min";
            return Err(Error::invalid("app.bake.interval_ms", "invalid_duration", text));
        }
        if !(1..=100).contains(&self.failures) {
            let text = "1 to 100 looks can be asked for";
            return Err(Error::invalid("app.bake.failures", "invalid_failures", text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_makes_no_sense() {
        assert!(BakePolicy::default().check().is_ok());
        let field = |policy: BakePolicy| policy.check().unwrap_err().field().map(str::to_owned);
        assert_eq!(field(BakePolicy::lasting(Duration::ZERO)).as_deref(), Some("app.bake.duration_ms"));
        let never = BakePolicy::default().with_interval(Duration::ZERO);
        assert_eq!(field(never).as_deref(), Some("app.bake.interval_ms"));
        assert_eq!(field(BakePolicy::default().with_failures(0)).as_deref(), Some("app.bake.failures"));
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
