//! The watch over what was just promoted, on the wire.

use std::time::Duration;

use quark_core::BakePolicy;
use quark_core::deployment::Bake;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FailureView;

/// How long a version is watched after it was promoted, and when it is rolled
/// back by itself. What is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BakeBody {
    /// How long, 1000 to 86400000, or 0 for not at all. Default 60000, one minute.
    pub duration_ms: Option<u64>,
    /// Time between two looks, 100 to 600000. Default 5000.
    pub interval_ms: Option<u64>,
    /// How many looks in a row must find it unwell, 1 to 100. Default 3.
    pub failures: Option<u32>,
    /// The requests of the last minute before anything is made of how they were
    /// answered. Default 50.
    pub min_requests: Option<u64>,
    /// How many requests of a thousand may fail, or three times as many as before
    /// if that is more. Default 50, 5 %.
    pub errors_permille: Option<u32>,
    /// How long the slowest answers but 5 % may take, in hundredths of what they
    /// took with the version before. Default 300, three times as long.
    pub slowdown_percent: Option<u32>,
}

impl From<BakeBody> for BakePolicy {
    fn from(body: BakeBody) -> Self {
        let mut policy = Self::default();
        policy.duration = body.duration_ms.map_or(policy.duration, Duration::from_millis);
        policy.interval = body.interval_ms.map_or(policy.interval, Duration::from_millis);
        policy.failures = body.failures.unwrap_or(policy.failures);
        policy.min_requests = body.min_requests.unwrap_or(policy.min_requests);
        policy.errors_permille = body.errors_permille.unwrap_or(policy.errors_permille);
        policy.slowdown_percent = body.slowdown_percent.unwrap_or(policy.slowdown_percent);
        policy
    }
}

impl From<BakePolicy> for BakeBody {
    fn from(policy: BakePolicy) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        Self {
            duration_ms: millis(policy.duration),
            interval_ms: millis(policy.interval),
            failures: Some(policy.failures),
            min_requests: Some(policy.min_requests),
            errors_permille: Some(policy.errors_permille),
            slowdown_percent: Some(policy.slowdown_percent),
        }
    }
}

/// What was seen of a version since it was promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BakeView {
    /// When it began, in RFC 3339.
    pub began_at: String,
    /// When it is over, if the version is well then, in RFC 3339.
    pub ends_at: String,
    /// How often in a row the version was found unwell.
    pub unwell: u32,
    /// What was wrong when it was found unwell for the last time.
    pub failure: Option<FailureView>,
    /// How it ended: `passed`, `rolled_back`, `held`, `unverified` or `interrupted`.
    pub outcome: Option<String>,
}

impl From<Bake> for BakeView {
    fn from(bake: Bake) -> Self {
        Self {
            began_at: bake.began_at.to_string(),
            ends_at: bake.ends_at.to_string(),
            unwell: bake.unwell,
            failure: bake.failure.map(Into::into),
            outcome: bake.outcome.map(|outcome| outcome.to_string()),
        }
    }
}
