//! What a wish would lead to, before it is made.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::deployments::accepted;
use crate::body::{AppPath, JsonBody};
use crate::dto::{ApplyPlan, DeploymentView, PlanView, ProblemBody, WishBody};
use crate::problem::Problem;

/// Says what a wish would lead to, step by step, and what stands in its way.
/// Nothing is done. With `Accept: text/plain` as a text for people.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/plan", tag = "plans", params(("app" = String, Path)), request_body = WishBody,
    responses(
        (status = 200, body = PlanView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "The wish would be refused", body = ProblemBody),
        (status = 422, body = ProblemBody),
    )
)]
pub(super) async fn make(
    State(state): State<ApiState>,
    AppPath(app): AppPath,
    headers: HeaderMap,
    JsonBody(body): JsonBody<WishBody>,
) -> Result<Response, Problem> {
    let plan = state.engine.plan(&app, body.into_planned()?).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.starts_with("text/plain") {
        return Ok(plan.to_string().into_response());
    }
    Ok(Json(PlanView::from(plan)).into_response())
}

/// Does what was planned, if what the plan was made from is still so. The same
/// plan sent twice is one deployment.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/plan/apply", tag = "plans", params(("app" = String, Path)),
    request_body = ApplyPlan,
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "Something has changed since: make a new plan", body = ProblemBody),
        (status = 422, body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn apply(
    State(state): State<ApiState>,
    AppPath(app): AppPath,
    JsonBody(body): JsonBody<ApplyPlan>,
) -> Result<Response, Problem> {
    Ok(accepted(state.engine.apply(body.into_plan(app)?).await?))
}
