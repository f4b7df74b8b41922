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
    /// How long, 1000 to 86400000. Default 60000, one minute.
    pub duration_ms: Option<u64>,
    /// Time between two looks, 100 to 600000. Default 5000.
    pub interval_ms: Option<u64>,
    /// How many looks in a row must find it unwell, 1 to 100. Default 3.
    pub failures: Option<u32>,
}

impl From<BakeBody> for BakePolicy {
    fn from(body: BakeBody) -> Self {
        let mut policy = Self::default();
        policy.duration = body.duration_ms.map_or(policy.duration, Duration::from_millis);
        policy.interval = body.interval_ms.map_or(policy.interval, Duration::from_millis);
        policy.failures = body.failures.unwrap_or(policy.failures);
        policy
    }
}

impl From<BakePolicy> for BakeBody {
    fn from(policy: BakePolicy) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        let (duration_ms, interval_ms) = (millis(policy.duration), millis(policy.interval));
        Self { duration_ms, interval_ms, failures: Some(policy.failures) }
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
