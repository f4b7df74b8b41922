//! `Traffic`: what users get from a version.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the requests to a version have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "sources make it")]
pub struct Traffic {
    /// The requests that have ended.
    pub requests: u64,
    /// Those of them that failed: answered with 500 to 599, or not at all.
    pub failed: u64,
    /// What 95 % of the answers took at most, from the arrival of the request to
    /// the first byte of its answer; `None` without an answer.
    #[serde(rename = "p95_ms", with = "crate::app::millis::optional")]
    pub p95: Option<Duration>,
}
