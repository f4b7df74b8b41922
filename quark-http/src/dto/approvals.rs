//! What people are asked before a version serves, on the wire.

use std::time::Duration;

use quark_core::deployment::Answer;
use quark_core::engine::PendingApproval;
use quark_core::{ApprovalPolicy, ApprovalRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who must agree before a version serves users. What is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalBody {
    /// How many different people must approve. Default 1.
    pub quorum: Option<u32>,
    /// Whether whoever asked for the deployment counts, too. Default false.
    pub author_counts: Option<bool>,
    /// How long the question stands. Default 86400000, 24 hours.
    pub expires_ms: Option<u64>,
    /// Approve by itself after this time, unless somebody rejects before.
    pub auto_approve_ms: Option<u64>,
}

impl From<ApprovalBody> for ApprovalPolicy {
    fn from(body: ApprovalBody) -> Self {
        let mut policy = Self::default();
        policy.quorum = body.quorum.unwrap_or(policy.quorum);
        policy.author_counts = body.author_counts.unwrap_or(policy.author_counts);
        policy.expires = body.expires_ms.map_or(policy.expires, Duration::from_millis);
        policy.auto_approve = body.auto_approve_ms.map(Duration::from_millis);
        policy
    }
}

impl From<ApprovalPolicy> for ApprovalBody {
    fn from(policy: ApprovalPolicy) -> Self {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        Self {
            quorum: Some(policy.quorum),
            author_counts: Some(policy.author_counts),
            expires_ms: millis(policy.expires),
            auto_approve_ms: policy.auto_approve.and_then(millis),
        }
    }
}

/// An answer to the question whether a deployment may serve users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerApproval {
    /// Whether it may.
    pub decision: DecisionBody,
    /// Who says so; the holder of the token is trusted to know.
    pub by: String,
    /// The image that was looked at, from the question.
    pub artifact: String,
    /// The nonce, from the question.
    pub nonce: String,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Whether a deployment may serve users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "one may agree or not")]
pub enum DecisionBody {
    /// It may.
    Approve,
    /// It may not.
    Reject,
}

impl From<AnswerApproval> for ApprovalRequest {
    fn from(body: AnswerApproval) -> Self {
        let approve = body.decision == DecisionBody::Approve;
        Self { approve, by: body.by, artifact: body.artifact, nonce: body.nonce, comment: body.comment }
    }
}

/// A deployment that waits for people, and what they need to know to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PendingApprovalView {
    /// The deployment.
    pub deployment: String,
    /// Its app.
    pub app: String,
    /// Who asked for it.
    pub created_by: String,
    /// The commit, for an app that is built.
    pub commit: Option<String>,
    /// The image that would serve; an answer must repeat it.
    pub artifact: String,
    /// What people call that image.
    pub image: String,
    /// Names the question; an answer must repeat it.
    pub nonce: String,
    /// When it was asked.
    pub asked_at: String,
    /// When it expires.
    pub expires_at: String,
    /// When it is approved by itself, if that is the policy.
    pub auto_approve_at: Option<String>,
    /// How many must agree.
    pub quorum: u32,
    /// How many of them are missing.
    pub missing: u32,
    /// Where the version can be looked at, from the machine that it runs on.
    pub preview: Option<String>,
    /// What is different from what serves now, in words; no value is shown.
    pub changes: Vec<String>,
    /// What people have answered.
    pub answers: Vec<AnswerView>,
}

/// What a person has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerView {
    /// Who.
    pub by: String,
    /// When.
    pub at: String,
    /// Whether they agree.
    pub decision: DecisionBody,
    /// What they said about it.
    pub comment: Option<String>,
}

/// The deployments that wait for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApprovalList {
    /// The oldest question first.
    pub items: Vec<PendingApprovalView>,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        let decision = if answer.approved { DecisionBody::Approve } else { DecisionBody::Reject };
        Self { by: answer.by, at: answer.at.to_string(), decision, comment: answer.comment }
    }
}

impl From<PendingApproval> for PendingApprovalView {
    fn from(pending: PendingApproval) -> Self {
        let (deployment, policy, asked) = (pending.deployment, pending.policy, pending.approval);
        let auto_approve_at = policy.auto_approve.map(|after| asked.asked_at.after(after).to_string());
        Self {
            deployment: deployment.id.to_string(),
            app: deployment.app.into(),
            created_by: deployment.created_by,
            commit: deployment.revision.commit.map(Into::into),
            artifact: asked.artifact.id,
            image: asked.artifact.label,
            nonce: asked.nonce,
            asked_at: asked.asked_at.to_string(),
            expires_at: asked.asked_at.after(policy.expires).to_string(),
            auto_approve_at,
            quorum: policy.quorum,
            missing: pending.missing,
            preview: pending.preview.map(|preview| preview.to_string()),
            changes: pending.changes.iter().map(ToString::to_string).collect(),
            answers: asked.answers.into_iter().map(Into::into).collect(),
        }
    }
}
