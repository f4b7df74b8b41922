//! How to tell that an app is well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checked::{checked_text, excerpt};
use crate::{Error, Result};

checked_text! {
    /// The path that a health check asks for: absolute, printable ASCII without
    /// spaces, no `//` at its start (that would name another host).
    HealthPath, check
}

fn check(text: &str) -> Result<String> {
    let ok = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= 1024
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'\\');
    if ok {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("app.health.path", "invalid_health_path", format!("`{}` is not a path", excerpt(text)))
        .with_hint("use an absolute path such as `/healthz`, without spaces, host or line breaks"))
}

/// When an app counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Asked for by HTTP GET; 200 to 399 is well.
    pub path: HealthPath,
    /// Time between two probes.
    #[serde(rename = "interval_ms", with = "crate::app::millis")]
    pub interval: Duration,
    /// Time that one probe may take.
    #[serde(rename = "timeout_ms", with = "crate::app::millis")]
    pub timeout: Duration,
    /// Good answers in a row that make an instance healthy.
    pub successes: u32,
    /// Time from the start of the instance to its health, or the deployment fails.
    #[serde(rename = "deadline_ms", with = "crate::app::millis")]
    pub deadline: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: HealthPath("/".to_owned()),
            interval: Duration::from_millis(250),
            timeout: Duration::from_secs(2),
            successes: 2,
            deadline: Duration::from_secs(120),
        }
    }
}

impl HealthCheck {
    /// A check of `path` with the default times.
    #[must_use]
    pub fn http(path: HealthPath) -> Self {
        Self { path, ..Self::default() }
    }

    /// Sets the time within which the app must become healthy.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks that the numbers can be meant.
    pub(super) fn check(&self) -> Result<()> {
        let bad = |field, why: &str| Err(Error::invalid(field, "invalid_health_check", why));
        if !(10..=60_000).contains(&self.interval.as_millis()) {
            return bad("app.health.interval_ms", "the interval must be 10 ms to 60 s");
        }
        if !(10..=60_000).contains(&self.timeout.as_millis()) {
            return bad("app.health.timeout_ms", "the timeout must be 10 ms to 60 s");
        }
        if !(1..=100).contains(&self.successes) {
            return bad("app.health.successes", "1 to 100 successes can be asked for");
        }
        if !(100..=3_600_000).contains(&self.deadline.as_millis()) {
            return bad("app.health.deadline_ms", "the deadline must be 100 ms to 1 h");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_that_are_more_than_a_path() {
        for bad in ["/up\r\nHost: evil", "//evil.test/", "http://evil/", "/a b", "", "up", "/a\u{e9}"] {
            assert_eq!(HealthPath::parse(bad).unwrap_err().code(), "invalid_health_path", "{bad:?}");
        }
        assert!(HealthPath::parse("/up?full=1").is_ok());
    }
}
