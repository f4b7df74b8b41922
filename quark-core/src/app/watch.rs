//! What the policies have in common by which a version is watched.

use std::time::Duration;

use crate::{Error, Result};

/// The fields that say how closely, and what is too bad.
pub(super) struct Watch {
    pub(super) interval: Duration,
    pub(super) failures: u32,
    pub(super) errors_permille: u32,
    pub(super) slowdown_percent: u32,
}

impl Watch {
    /// Checks them; `policy` is the path of the policy they are of, such as `app.bake`.
    pub(super) fn check(&self, policy: &str) -> Result<()> {
        let refused = |field: &str, code: &'static str, text: &str| {
            Err(Error::invalid("app", code, text).with_field(format!("{policy}.{field}")))
        };
        if self.interval < Duration::from_millis(100) || self.interval > Duration::from_secs(600) {
            return refused("interval_ms", "invalid_duration", "it is looked at every 100 ms to 10 min");
        }
        if !(1..=100).contains(&self.failures) {
            return refused("failures", "invalid_failures", "1 to 100 looks can be asked for");
        }
        if self.errors_permille > 1000 {
            return refused("errors_permille", "invalid_share", "at most 1000 of 1000 requests can fail");
        }
        if !(100..=100_000).contains(&self.slowdown_percent) {
            let text = "100, for as fast as before, to 100000 can be asked for";
            return refused("slowdown_percent", "invalid_share", text);
        }
        Ok(())
    }
}
