//! The wire types. They are not the stored types: what is stored may change
//! without the API changing, and what is secret has no place here.

mod approvals;
mod apps;
mod bake;
mod canary;
mod deployments;
mod explanation;
mod garbage;
mod hooks;
mod leftovers;
mod liveness;
mod plan;
mod projects;
mod variables;

pub use approvals::{AnswerApproval, AnswerView, ApprovalBody, ApprovalList, DecisionBody, PendingApprovalView};
pub use apps::{
    AppList, AppView, CreateApp, HealthBody, OccupantView, ResourcesBody, SourceBody, SupersedeBody, TimingBody,
};
pub use bake::{BakeBody, BakeView};
pub use canary::{CanaryBody, CanaryStepBody, CanaryView};
pub use deployments::{
    CreateDeployment, CreateRollback, DeploymentList, DeploymentView, FailureView, LogLineView, StepView, TriggerBody,
};
pub use explanation::{ExplanationView, FindingView, NextView, ServedView, StandbyView, WorkView};
pub use garbage::{GarbageView, OrphanView};
pub use hooks::{HookBody, HooksBody};
pub use leftovers::{InstanceView, LeftoversView};
pub use liveness::{LivenessActionBody, LivenessBody, LivenessView};
pub use plan::{ApplyPlan, EarlierView, ExpectationBody, PlanView, PlannedStepView, WishBody};
pub use projects::{
    CreateProject, CreatePush, EnvironmentBody, EnvironmentRefView, ProjectAppView, ProjectList, ProjectView,
    PushedList, PushedView, RemovalList, UpdateProject,
};
pub use variables::VariablesBody;

/// Whether the engine only looks, because its store seems to have gone back in
/// time, as after the restore of a backup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct SafeModeView {
    /// Whether it does.
    pub on: bool,
    /// What has shown it.
    pub reason: Option<String>,
}

/// A failure, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ProblemBody {
    /// What kind of failure it is, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, in one sentence.
    pub detail: String,
    /// The stable name of this very failure, for programs.
    pub code: String,
    /// The input at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
