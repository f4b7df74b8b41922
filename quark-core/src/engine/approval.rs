//! What people are asked, and what they answer.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::draft::Draft;
use super::shared::Shared;
use super::stuck::take;
use super::worker::go_on;
use crate::app::{ApprovalPolicy, Change, check_note, check_person};
use crate::backend::store::refusal;
use crate::deployment::{
    Answer, Approval, ApprovalVerdict, Deployment, DeploymentId, Endpoint, EventKind, InstanceState, State,
};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result, Timestamp};

/// A deployment that waits for people, and what they need to know to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PendingApproval {
    /// The deployment.
    pub deployment: Deployment,
    /// Who must agree.
    pub policy: ApprovalPolicy,
    /// The question, with the answers so far.
    pub approval: Approval,
    /// How many more people must agree.
    pub missing: u32,
    /// Where the version can be looked at, from the machine that it runs on.
    pub preview: Option<Endpoint>,
    /// What is different from the release that serves now; empty for the first.
    pub changes: Vec<Change>,
}

/// An answer to the question whether a deployment may serve users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Whether it may.
    pub approve: bool,
    /// Who says so: 1 to 100 visible characters.
    pub by: String,
    /// The image that was looked at: [`Artifact::id`](crate::app::Artifact::id) of the question.
    pub artifact: String,
    /// The nonce of the question.
    pub nonce: String,
    /// What there is to say about it, at most 1000 characters.
    #[serde(default)]
    pub comment: Option<String>,
}

impl ApprovalRequest {
    /// `by` agrees with what `pending` asks.
    #[must_use]
    pub fn approve(pending: &PendingApproval, by: impl Into<String>) -> Self {
        Self::answer(&pending.approval, by, true)
    }

    /// `by` does not agree.
    #[must_use]
    pub fn reject(pending: &PendingApproval, by: impl Into<String>) -> Self {
        Self::answer(&pending.approval, by, false)
    }

    /// The answer of `by` to a question.
    #[must_use]
    pub fn answer(question: &Approval, by: impl Into<String>, approve: bool) -> Self {
        let (artifact, nonce) = (question.artifact.id.clone(), question.nonce.clone());
        Self { approve, by: by.into(), artifact, nonce, comment: None }
    }

    /// Says something about it.
    #[must_use]
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    fn check(&self) -> Result<()> {
        check_person(&self.by)?;
        self.comment.as_deref().map_or(Ok(()), |comment| check_note("comment", comment, 1000))
    }
}

/// The deployments that wait for people, the oldest question first.
pub(super) async fn pending(shared: &Shared) -> Result<Vec<PendingApproval>> {
    let mut found = Vec::new();
    for deployment in shared.store.unfinished(None).await? {
        if deployment.state != State::AwaitingApproval {
            continue;
        }
        let (Some(approval), Some(policy)) = (deployment.approval.clone(), deployment.release.approval.clone()) else {
            // It is about to be asked.
            continue;
        };
        let instances = shared.store.instances(&deployment.app).await?;
        let own = instances.iter().find(|own| own.deployment == deployment.id && own.state != InstanceState::Removed);
        found.push(PendingApproval {
            missing: approval.missing(&policy, &deployment.created_by),
            preview: own.map(|own| own.endpoint.clone()),
            changes: changes(shared, &deployment).await?,
            policy,
            approval,
            deployment,
        });
    }
    found.sort_by_key(|pending| pending.approval.asked_at);
    Ok(found)
}

async fn changes(shared: &Shared, deployment: &Deployment) -> Result<Vec<Change>> {
    let app = shared.store.app(&deployment.app).await?;
    let Some(live) = app.and_then(|app| app.serving.live) else { return Ok(Vec::new()) };
    let live = shared.store.deployment(live.deployment).await?;
    Ok(live.map(|live| deployment.release.changes_since(&live.release)).unwrap_or_default())
}

/// Writes an answer down, and goes on if it decides.
pub(super) async fn answer(shared: &Arc<Shared>, id: DeploymentId, request: ApprovalRequest) -> Result<Deployment> {
    shared.refuse_in_safe_mode()?;
    request.check()?;
    let not_found = || refusal::deployment_not_found(id);
    let app = shared.store.deployment(id).await?.ok_or_else(not_found)?.app;
    let hold = take(shared, &app, id).await?;
    let lease = hold.lease.clone();
    let answered = async {
        let snapshot = shared.store.snapshot(id).await?.ok_or_else(not_found)?;
        let mut draft = Draft::of(snapshot);
        let decides = write_down(&mut draft, request, shared.now())?;
        shared.write(&mut draft, &lease).await?;
        Ok((draft.snapshot().deployment.clone(), decides))
    };
    let answered = answered.await;
    let (deployment, decides) = hold.release(answered).await?;
    if decides {
        go_on(shared, &app, id);
    }
    Ok(deployment)
}

/// The answer in the question's list; whether it decides.
fn write_down(draft: &mut Draft, request: ApprovalRequest, now: Timestamp) -> Result<bool> {
    let deployment = &draft.snapshot().deployment;
    let author = deployment.created_by.clone();
    let (Some(question), Some(policy)) = (deployment.approval.clone(), deployment.release.approval.clone()) else {
        return Err(not_awaiting(deployment.id));
    };
    let is_open = |question: &Approval| matches!(question.verdict(&policy, &author, now), ApprovalVerdict::Open(_));
    if deployment.state != State::AwaitingApproval || deployment.cancel.is_some() || !is_open(&question) {
        return Err(not_awaiting(deployment.id));
    }
    refuse(&request, &question, &policy, &author)?;
    let answer = Answer { by: request.by, at: now, approved: request.approve, comment: request.comment };
    draft.tell(EventKind::ApprovalAnswered { by: answer.by.clone(), approved: answer.approved });
    let mut answered = question;
    answered.answers.push(answer);
    let decides = !is_open(&answered);
    draft.deployment().approval = Some(answered);
    Ok(decides)
}

fn conflict(code: &'static str, message: impl Into<String>, hint: &str) -> Error {
    Error::new(ErrorKind::Conflict, message).with_code(code).with_hint(hint)
}

fn not_awaiting(id: DeploymentId) -> Error {
    let message = format!("deployment `{id}` does not wait for an approval");
    conflict("not_awaiting_approval", message, "it may have been decided, cancelled or superseded meanwhile")
}

/// Refuses an answer of somebody who has not seen this question, or has no say.
fn refuse(request: &ApprovalRequest, question: &Approval, policy: &ApprovalPolicy, author: &str) -> Result<()> {
    let about = request.nonce == question.nonce && request.artifact == question.artifact.id;
    if !about && !planted!(OtherImageApproved) {
        let hint = "look at the question again: its image and its nonce";
        return Err(conflict("other_question", "the answer is to another question", hint));
    }
    if question.answers.iter().any(|answer| answer.by == request.by) {
        let message = format!("`{}` has answered already", request.by);
        return Err(conflict("answered_already", message, "somebody else must answer, or cancel the deployment"));
    }
    if request.approve && request.by == author && !policy.author_counts {
        let hint = "ask somebody else, or set `author_counts` in the app's policy";
        return Err(conflict("own_deployment", "whoever asked for a deployment cannot approve it", hint));
    }
    Ok(())
}
