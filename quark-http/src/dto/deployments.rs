//! Deployments on the wire.

use quark_core::deployment::{Failure, IdempotencyKey, StepRecord, Trigger};
use quark_core::{
    BranchName, CommitSha, DeployRequest, Deployment, DeploymentKind, EnvVars, ImageRef, LogLine, Result,
    RollbackRequest,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BakeView, CanaryView, LivenessView, VariablesBody};

/// Which version to deploy; the head of the app's branch if nothing is said.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateDeployment {
    /// Another branch.
    pub branch: Option<String>,
    /// This very commit, all 40 digits.
    pub commit: Option<String>,
    /// Another image, for an app that is an image.
    pub image: Option<String>,
    /// What made somebody want it; `request` by default.
    pub trigger: Option<TriggerBody>,
    /// Names the wish, as the header `Idempotency-Key` does: whoever wishes again
    /// under the same key gets the same deployment. 1 to 255 visible ASCII characters.
    pub key: Option<String>,
    /// On whose behalf, 1 to 100 characters; `api` by default. Who asks cannot
    /// approve, unless the app's policy says so.
    pub by: Option<String>,
    /// Variables of this deployment alone, besides and instead of the app's.
    /// Values are never shown again.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub env: VariablesBody,
}

/// What made somebody want a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TriggerBody {
    /// Somebody asked for it.
    Request,
    /// The branch moved. Pushes are told late, twice and out of order: one that
    /// is older than what the branch points at does not go live.
    Push,
    /// What is live was not well, and the engine goes back from it. Not for requests.
    Unwell,
}

impl From<TriggerBody> for Trigger {
    fn from(body: TriggerBody) -> Self {
        match body {
            TriggerBody::Request => Self::Request,
            TriggerBody::Push => Self::Push,
            TriggerBody::Unwell => Self::Unwell,
        }
    }
}

/// `None` for a trigger of a later version of quark-core, which has no word here yet.
pub(super) fn trigger(trigger: Trigger) -> Option<TriggerBody> {
    match trigger {
        Trigger::Request => Some(TriggerBody::Request),
        Trigger::Push => Some(TriggerBody::Push),
        Trigger::Unwell => Some(TriggerBody::Unwell),
        _ => None,
    }
}

impl CreateDeployment {
    /// The request that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_request(self) -> Result<DeployRequest> {
        Ok(DeployRequest {
            branch: self.branch.map(BranchName::parse).transpose()?,
            commit: self.commit.map(CommitSha::parse).transpose()?,
            image: self.image.map(ImageRef::parse).transpose()?,
            by: Some(self.by.unwrap_or_else(|| "api".to_owned())),
            trigger: self.trigger.map(Into::into).unwrap_or_default(),
            key: self.key.map(IdempotencyKey::parse).transpose()?,
            env: variables(self.env)?,
        })
    }
}

/// Variables; `env` is the field of one that is not acceptable.
pub(super) fn variables(env: VariablesBody) -> Result<EnvVars> {
    env.into_vars().map_err(|error| error.with_field("env"))
}

/// What to roll back to; the version before if nothing is said.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateRollback {
    /// This deployment.
    pub to: Option<String>,
    /// Names the wish, as the header `Idempotency-Key` does.
    pub key: Option<String>,
}

impl CreateRollback {
    /// The request that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_request(self) -> Result<RollbackRequest> {
        let to = self.to.map(|id| id.parse()).transpose()?;
        let key = self.key.map(IdempotencyKey::parse).transpose()?;
        Ok(RollbackRequest { to, by: Some("api".to_owned()), key })
    }
}

/// Why a deployment failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FailureView {
    /// The step that failed.
    pub step: Option<String>,
    /// What kind of failure it is.
    pub kind: String,
    /// The stable name of this very failure.
    pub code: String,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> Self {
        Self {
            step: failure.step.map(|step| step.to_string()),
            kind: failure.kind.to_string(),
            code: failure.code,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentView {
    /// Its id.
    pub id: String,
    /// Of which app.
    pub app: String,
    /// Counts the deployments of the app, from 1.
    pub sequence: u64,
    /// `deploy`, `rollback` or `remove`.
    pub kind: String,
    /// What a rollback restores.
    pub restores: Option<String>,
    /// Where it stands: `queued` to `completed`.
    pub status: String,
    /// How it ended: `succeeded`, `failed`, `cancelled`, `superseded` or `rolled_back`.
    pub conclusion: Option<String>,
    /// The branch it was asked for with.
    pub branch: Option<String>,
    /// The commit, once it is known.
    pub commit: Option<String>,
    /// The image, once there is one.
    pub image: Option<String>,
    /// The slot, once it has one.
    pub slot: Option<String>,
    /// Why it failed.
    pub failure: Option<FailureView>,
    /// What was seen of it since it was promoted, if it is watched.
    pub bake: Option<BakeView>,
    /// What was seen of it while it is live, if that was worth a word.
    pub liveness: Option<LivenessView>,
    /// Its way through the shares of the requests that it gets before it is
    /// promoted, if its app asks for that.
    pub canary: Option<CanaryView>,
    /// Whether somebody asked it to stop.
    pub cancel_requested: bool,
    /// The newer deployment because of which it was asked to stop.
    pub superseded_by: Option<String>,
    /// What made somebody want it.
    pub trigger: Option<TriggerBody>,
    /// Who wanted it.
    pub created_by: String,
    /// In RFC 3339.
    pub created_at: String,
    /// In RFC 3339.
    pub started_at: Option<String>,
    /// In RFC 3339.
    pub finished_at: Option<String>,
}

impl From<Deployment> for DeploymentView {
    fn from(deployment: Deployment) -> Self {
        Self {
            id: deployment.id.to_string(),
            app: deployment.app.to_string(),
            sequence: deployment.sequence,
            kind: deployment.kind.as_str().to_owned(),
            restores: match deployment.kind {
                DeploymentKind::Rollback { to } => Some(to.to_string()),
                _ => None,
            },
            status: deployment.state.to_string(),
            conclusion: deployment.conclusion.map(|conclusion| conclusion.to_string()),
            branch: deployment.revision.branch.map(Into::into),
            commit: deployment.revision.commit.map(Into::into),
            image: deployment.artifact.map(|artifact| artifact.label),
            slot: deployment.slot.map(|slot| slot.to_string()),
            failure: deployment.failure.map(Into::into),
            bake: deployment.bake.map(Into::into),
            liveness: deployment.liveness.map(Into::into),
            canary: deployment.canary.map(Into::into),
            cancel_requested: deployment.cancel.is_some(),
            superseded_by: deployment.cancel.and_then(|cancel| cancel.superseded_by).map(|newer| newer.to_string()),
            trigger: trigger(deployment.trigger),
            created_by: deployment.created_by,
            created_at: deployment.created_at.to_string(),
            started_at: deployment.started_at.map(|at| at.to_string()),
            finished_at: deployment.finished_at.map(|at| at.to_string()),
        }
    }
}

/// Deployments of an app, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentList {
    /// Newest first.
    pub items: Vec<DeploymentView>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// To be given as `before` to get them.
    pub next: Option<u64>,
}

/// A step of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepView {
    /// Which.
    pub name: String,
    /// From 1.
    pub attempt: u32,
    /// `intent`, `done` or `failed`.
    pub phase: String,
    /// In RFC 3339.
    pub started_at: String,
    /// In RFC 3339.
    pub finished_at: Option<String>,
    /// What it has to say about itself.
    pub note: Option<String>,
    /// How the program of a hook ended, if it did by itself.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub failure: Option<FailureView>,
}

impl From<StepRecord> for StepView {
    fn from(step: StepRecord) -> Self {
        use quark_core::deployment::StepPhase;
        let phase = match step.phase {
            StepPhase::Intent => "intent",
            StepPhase::Done => "done",
            StepPhase::Failed => "failed",
        };
        Self {
            name: step.name.to_string(),
            attempt: step.attempt,
            phase: phase.to_owned(),
            started_at: step.started_at.to_string(),
            finished_at: step.finished_at.map(|at| at.to_string()),
            exit_code: step.output.as_ref().and_then(|output| output.exit_code),
            note: step.output.and_then(|output| output.note),
            failure: step.failure.map(Into::into),
        }
    }
}

/// A line of a deployment's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLineView {
    /// From 1, without gaps.
    pub sequence: u64,
    /// In RFC 3339.
    pub at: String,
    /// `system`, `stdout` or `stderr`.
    pub stream: String,
    /// The text. It may come from a user's program and hold anything.
    pub text: String,
}

impl From<LogLine> for LogLineView {
    fn from(line: LogLine) -> Self {
        Self {
            sequence: line.sequence,
            at: line.at.to_string(),
            stream: line.stream.as_str().to_owned(),
            text: line.text,
        }
    }
}
