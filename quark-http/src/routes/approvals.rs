//! What people are asked before a version serves.

use axum::Json;
use axum::extract::State;

use super::ApiState;
use crate::body::{DeploymentPath, JsonBody};
use crate::dto::{AnswerApproval, ApprovalList, DeploymentView, ProblemBody};
use crate::problem::Problem;

/// The deployments that wait for people, with what one needs to know to decide.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "approvals", responses((status = 200, body = ApprovalList)))]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<ApprovalList>, Problem> {
    let items = state.engine.approvals().await?.into_iter().map(Into::into).collect();
    Ok(Json(ApprovalList { items }))
}

/// Answers whether a deployment may serve users. Once enough people agree it is
/// probed again and promoted; one who does not agree ends it.
#[utoipa::path(
    post, path = "/api/v1/deployments/{id}/approval", tag = "approvals", params(("id" = String, Path)),
    request_body = AnswerApproval,
    responses(
        (status = 200, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It asks about something else by now, or this person has no say", body = ProblemBody),
        (status = 422, description = "A value is not acceptable", body = ProblemBody),
    )
)]
pub(super) async fn answer(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
    JsonBody(body): JsonBody<AnswerApproval>,
) -> Result<Json<DeploymentView>, Problem> {
    Ok(Json(state.engine.answer_approval(id, body.into()).await?.into()))
}
