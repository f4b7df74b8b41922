//! What is done about a version that falls ill while it serves, on the wire.

use std::time::Duration;

use quark_core::deployment::Liveness;
use quark_core::{LivenessAction, LivenessPolicy};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::FailureView;

/// How what is live is asked for its health for as long as it serves, and what
/// is done when it is not well any more. What is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LivenessBody {
    /// Time between two looks, 1000 to 3600000. Default 30000.
    pub interval_ms: Option<u64>,
    /// How many looks in a row must find it unwell, 1 to 100. Default 3.
    pub failures: Option<u32>,
    /// What is done then. Default `restart`.
    pub action: Option<LivenessActionBody>,
    /// How many restarts there may be in any window, 1 to 100. Default 5.
    pub restarts: Option<u32>,
    /// How long a restart counts, 10000 to 86400000. Default 600000, ten minutes.
    pub window_ms: Option<u64>,
}

/// What is done about a version that is not well any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LivenessActionBody {
    /// Its process is started again, in its place.
    Restart,
    /// The version before is brought back, once.
    RollBack,
    /// People are told.
    Alert,
}

impl From<LivenessActionBody> for LivenessAction {
    fn from(body: LivenessActionBody) -> Self {
        match body {
            LivenessActionBody::Restart => Self::Restart,
            LivenessActionBody::RollBack => Self::RollBack,
            LivenessActionBody::Alert => Self::Alert,
        }
    }
}

fn action(action: LivenessAction) -> Option<LivenessActionBody> {
    match action {
        LivenessAction::Restart => Some(LivenessActionBody::Restart),
        LivenessAction::RollBack => Some(LivenessActionBody::RollBack),
        LivenessAction::Alert => Some(LivenessActionBody::Alert),
        _ => None,
    }
}

impl From<LivenessBody> for LivenessPolicy {
    fn from(body: LivenessBody) -> Self {
        let mut policy = Self::default();
        policy.interval = body.interval_ms.map_or(policy.interval, Duration::from_millis);
        policy.failures = body.failures.unwrap_or(policy.failures);
        policy.action = body.action.map_or(policy.action, Into::into);
        policy.restarts = body.restarts.unwrap_or(policy.restarts);
        policy.window = body.window_ms.map_or(policy.window, Duration::from_millis);
        policy
    }
}

impl From<LivenessPolicy> for LivenessBody {
    fn from(policy: LivenessPolicy) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        Self {
            interval_ms: millis(policy.interval),
            failures: Some(policy.failures),
            action: action(policy.action),
            restarts: Some(policy.restarts),
            window_ms: millis(policy.window),
        }
    }
}

/// What was seen of a version while it is live, and done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LivenessView {
    /// When it was restarted, in RFC 3339, the earliest first: those that count still.
    pub restarts: Vec<String>,
    /// When it was found unwell often enough to say so, in RFC 3339; while it is unwell.
    pub unwell_since: Option<String>,
    /// What was wrong then, or when it died.
    pub failure: Option<FailureView>,
    /// Since when it has needed more restarts than it may have, in RFC 3339.
    pub looping_since: Option<String>,
    /// The deployment by which the engine has gone back from it, or tried to.
    pub rollback: Option<String>,
    /// Why the engine cannot go back from it, if it shall and cannot.
    pub held: Option<FailureView>,
}

impl From<Liveness> for LivenessView {
    fn from(liveness: Liveness) -> Self {
        Self {
            restarts: liveness.restarts.iter().map(ToString::to_string).collect(),
            unwell_since: liveness.unwell_since.map(|at| at.to_string()),
            failure: liveness.failure.map(Into::into),
            looping_since: liveness.looping_since.map(|at| at.to_string()),
            rollback: liveness.rollback.map(|id| id.to_string()),
            held: liveness.held.map(Into::into),
        }
    }
}
