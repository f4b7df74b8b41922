//! The journal of a deployment: one row per step, written before and after.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::Fence;
use super::record::Failure;
use crate::app::{Artifact, CommitSha, HookPoint};
use crate::clock::Timestamp;

/// What is done to the world, in the order of a deployment. The names are
/// part of the journal's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepName {
    /// Resolve the commit and fetch the source.
    Fetch,
    /// Build or pull the image.
    Build,
    /// Take what is left in the idle slot away.
    Clear,
    /// Create the container.
    Create,
    /// Start the container.
    Start,
    /// Ask the container until it is healthy.
    Probe,
    /// Give the version a share of the requests.
    Shift,
    /// Point the route at the slot.
    Promote,
    /// Point the route back at the version before.
    RollBack,
    /// Put the route back.
    Revert,
    /// Stop and remove what the deployment made.
    Undo,
    /// Let the old version finish its requests.
    Drain,
    /// Stop and remove the old version.
    Retire,
    /// Take the route of the app away.
    Unroute,
    /// Bring what is live back to what it shall be.
    Mend,
    /// Remove a container that nothing refers to.
    Collect,
    /// Stop what is live and not well, and start it again.
    Restart,
    /// Run the hook before anything of the version is created.
    PreDeploy,
    /// Run the hook before the version serves.
    PrePromote,
    /// Run the hook once the version serves.
    PostPromote,
    /// Run the hook once the version before was taken away.
    PostRetire,
    /// Remove the containers of hooks that have ended.
    Tidy,
}

impl StepName {
    /// The name in APIs, stores and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Clear => "clear",
            Self::Create => "create",
            Self::Start => "start",
            Self::Probe => "probe",
            Self::Shift => "shift",
            Self::Promote => "promote",
            Self::RollBack => "roll_back",
            Self::Revert => "revert",
            Self::Undo => "undo",
            Self::Drain => "drain",
            Self::Retire => "retire",
            Self::Unroute => "unroute",
            Self::Mend => "mend",
            Self::Collect => "collect",
            Self::Restart => "restart",
            Self::PreDeploy => "pre_deploy",
            Self::PrePromote => "pre_promote",
            Self::PostPromote => "post_promote",
            Self::PostRetire => "post_retire",
            Self::Tidy => "tidy",
        }
    }

    /// The hook that the step runs, if it runs one.
    #[must_use]
    pub fn hook(self) -> Option<HookPoint> {
        HookPoint::ALL.into_iter().find(|point| Self::from(*point) == self)
    }
}

impl From<HookPoint> for StepName {
    fn from(point: HookPoint) -> Self {
        match point {
            HookPoint::PreDeploy => Self::PreDeploy,
            HookPoint::PrePromote => Self::PrePromote,
            HookPoint::PostPromote => Self::PostPromote,
            HookPoint::PostRetire => Self::PostRetire,
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "intent, done and failed are all there is")]
pub enum StepPhase {
    /// It may have been done or not: only observing the world can tell.
    Intent,
    /// It was done.
    Done,
    /// It was not done, or was undone.
    Failed,
}

/// What a step has yielded, for the steps after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepOutput {
    /// The commit that the source was resolved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitSha>,
    /// The image that was built, found or pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Whether the step found its work done already.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
    /// What people may want to know, such as the time it took to become healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How the program of a hook ended, if it did by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// One step of one deployment. `(deployment, name, attempt)` is unique; all
/// attempts share the idempotency key `<deployment>:<name>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Which step.
    pub name: StepName,
    /// From 1.
    pub attempt: u32,
    /// How far it has come.
    pub phase: StepPhase,
    /// The lease under which it was begun or last gone on with.
    pub fence: Fence,
    /// How often an engine found it begun and not ended, and went on with it.
    #[serde(default)]
    pub resumed: u32,
    /// When the intent was written.
    pub started_at: Timestamp,
    /// When the outcome was written.
    pub finished_at: Option<Timestamp>,
    /// When it counts as failed; does not move when an engine restarts.
    pub deadline: Timestamp,
    /// What it yielded.
    pub output: Option<StepOutput>,
    /// Why it failed.
    pub failure: Option<Failure>,
}
