//! The shares of the requests that a version gets before it is promoted, on the wire.

use std::time::Duration;

use quark_core::deployment::Canary;
use quark_core::{CanaryPolicy, CanaryStep};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FailureView;

/// Which shares of the requests a version gets before it is promoted, and when
/// they are taken back. What is left out keeps its default. Refused where the
/// router cannot split requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CanaryBody {
    /// The shares, each larger than the one before; 1 to 10. Default 5 %, 25 %
    /// and 50 %, for a minute each.
    pub steps: Option<Vec<CanaryStepBody>>,
    /// Time between two looks, 100 to 600000. Default 5000.
    pub interval_ms: Option<u64>,
    /// How many looks in a row must find it unwell, 1 to 100. Default 3.
    pub failures: Option<u32>,
    /// The requests to it, since its share was given and in the last five
    /// minutes, before anything is made of how they were answered. Default 20.
    pub min_requests: Option<u64>,
    /// How many requests of a thousand may fail, or three times as many as with
    /// the live version if that is more. Default 50, 5 %.
    pub errors_permille: Option<u32>,
    /// How long the slowest answers but 5 % may take, in hundredths of what they
    /// take with the live version. Default 300, three times as long.
    pub slowdown_percent: Option<u32>,
}

/// A share of the requests, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStepBody {
    /// How many requests of a hundred, 1 to 99.
    pub percent: u8,
    /// For how long, 1000 to 86400000.
    pub hold_ms: u64,
}

impl From<CanaryBody> for CanaryPolicy {
    fn from(body: CanaryBody) -> Self {
        let mut policy = Self::default();
        if let Some(steps) = body.steps {
            let step = |step: CanaryStepBody| CanaryStep::new(step.percent, Duration::from_millis(step.hold_ms));
            policy.steps = steps.into_iter().map(step).collect();
        }
        policy.interval = body.interval_ms.map_or(policy.interval, Duration::from_millis);
        policy.failures = body.failures.unwrap_or(policy.failures);
        policy.min_requests = body.min_requests.unwrap_or(policy.min_requests);
        policy.errors_permille = body.errors_permille.unwrap_or(policy.errors_permille);
        policy.slowdown_percent = body.slowdown_percent.unwrap_or(policy.slowdown_percent);
        policy
    }
}

impl From<CanaryPolicy> for CanaryBody {
    fn from(policy: CanaryPolicy) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let step = |step: CanaryStep| CanaryStepBody { percent: step.percent, hold_ms: millis(step.hold) };
        Self {
            steps: Some(policy.steps.into_iter().map(step).collect()),
            interval_ms: Some(millis(policy.interval)),
            failures: Some(policy.failures),
            min_requests: Some(policy.min_requests),
            errors_permille: Some(policy.errors_permille),
            slowdown_percent: Some(policy.slowdown_percent),
        }
    }
}

/// The way of a version through the shares of the requests that it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CanaryView {
    /// When it began, in RFC 3339.
    pub began_at: String,
    /// How many requests of a hundred it was last meant to get; nothing before
    /// the first step was begun.
    pub percent: Option<u8>,
    /// When it has held that long enough, if it is well then, in RFC 3339;
    /// nothing while the route is being changed.
    pub ends_at: Option<String>,
    /// How often in a row the version was found unwell.
    pub unwell: u32,
    /// What was wrong when it was found unwell for the last time.
    pub failure: Option<FailureView>,
    /// How it ended: `passed` or `taken_back`.
    pub outcome: Option<String>,
}

impl From<Canary> for CanaryView {
    fn from(canary: Canary) -> Self {
        Self {
            began_at: canary.began_at.to_string(),
            percent: canary.share.map(Into::into),
            ends_at: canary.ends_at.map(|at| at.to_string()),
            unwell: canary.unwell,
            failure: canary.failure.map(Into::into),
            outcome: canary.outcome.map(|outcome| outcome.to_string()),
        }
    }
}
