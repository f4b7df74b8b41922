//! Deployments.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quark_core::{Deployment, Error, ErrorKind};
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use crate::body::{AppPath, DeploymentPath, JsonBody, WishKey};
use crate::dto::{
    CreateDeployment, CreateRollback, DeploymentList, DeploymentView, LeftoversView, LogLineView, ProblemBody, StepView,
};
use crate::problem::Problem;
use crate::stream;

/// Deployments on one page, at most.
const LONGEST_PAGE: usize = 200;

pub(super) fn invalid_query() -> Problem {
    let error = Error::new(ErrorKind::InvalidInput, "a query parameter is unknown or not acceptable")
        .with_code("invalid_query");
    Problem::new(StatusCode::BAD_REQUEST, error)
}

/// The answer to a wish that takes time: 202 and where to look.
pub(super) fn accepted(deployment: Deployment) -> Response {
    let location = HeaderValue::from_str(&format!("/api/v1/deployments/{}", deployment.id)).ok();
    let mut response = (StatusCode::ACCEPTED, Json(DeploymentView::from(deployment))).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Asks for a version of the app to be brought into service. The same wish
/// under the same key is the same deployment, however often it is sent.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/deployments", tag = "deployments",
    params(("app" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "Names the wish")),
    request_body = CreateDeployment,
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "Another one is under way and the app refuses a second", body = ProblemBody),
        (status = 422, body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    AppPath(app): AppPath,
    key: WishKey,
    JsonBody(body): JsonBody<CreateDeployment>,
) -> Result<Response, Problem> {
    let mut request = body.into_request()?;
    request.key = key.or(request.key)?;
    Ok(accepted(state.engine.deploy(&app, request).await?))
}

/// Asks for an earlier version to be brought back, exactly as it was.
#[utoipa::path(
    post, path = "/api/v1/apps/{app}/rollback", tag = "deployments",
    params(("app" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "Names the wish")),
    request_body = CreateRollback,
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "There is nothing to roll back to", body = ProblemBody),
        (status = 422, body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn rollback(
    State(state): State<ApiState>,
    AppPath(app): AppPath,
    key: WishKey,
    JsonBody(body): JsonBody<CreateRollback>,
) -> Result<Response, Problem> {
    let mut request = body.into_request()?;
    request.key = key.or(request.key)?;
    Ok(accepted(state.engine.rollback(&app, request).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Only those with a lower sequence.
    before: Option<u64>,
    /// At most so many; 50 by default, 200 at most.
    limit: Option<usize>,
}

/// The deployments of an app, newest first.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/deployments", tag = "deployments", params(("app" = String, Path), PageQuery),
    responses((status = 200, body = DeploymentList), (status = 404, body = ProblemBody))
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    AppPath(app): AppPath,
    query: Result<Query<PageQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<DeploymentList>, Problem> {
    let Query(query) = query.map_err(|_| invalid_query())?;
    let limit = query.limit.unwrap_or(50);
    if !(1..=LONGEST_PAGE).contains(&limit) || query.before.is_some_and(|before| i64::try_from(before).is_err()) {
        let error = Error::new(ErrorKind::InvalidInput, "`limit` must be 1 to 200 and `before` a sequence")
            .with_code("invalid_page");
        return Err(Problem::new(StatusCode::BAD_REQUEST, error));
    }
    let mut found = state.engine.deployments(&app, query.before, limit + 1).await?;
    if found.is_empty() {
        // Tells an app without deployments from one that does not exist.
        state.engine.app(&app).await?;
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.sequence);
    Ok(Json(DeploymentList { items: found.into_iter().map(Into::into).collect(), has_more, next }))
}

/// A deployment.
#[utoipa::path(
    get, path = "/api/v1/deployments/{id}", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, body = DeploymentView), (status = 404, body = ProblemBody))
)]
pub(super) async fn read(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<DeploymentView>, Problem> {
    Ok(Json(state.engine.deployment(id).await?.into()))
}

/// Asks a deployment to stop. What serves is not touched.
#[utoipa::path(
    post, path = "/api/v1/deployments/{id}/cancel", tag = "deployments", params(("id" = String, Path)),
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It is being promoted or has ended", body = ProblemBody),
    )
)]
pub(super) async fn cancel(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Response, Problem> {
    state.engine.cancel(id, "api").await?;
    Ok(accepted(state.engine.deployment(id).await?))
}

/// What is left of a stuck deployment, and why.
#[utoipa::path(
    get, path = "/api/v1/deployments/{id}/leftovers", tag = "deployments", params(("id" = String, Path)),
    responses(
        (status = 200, body = LeftoversView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It is not stuck", body = ProblemBody),
    )
)]
pub(super) async fn leftovers(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<LeftoversView>, Problem> {
    Ok(Json(state.engine.leftovers(id).await?.into()))
}

/// Tries once more to clean up after a stuck deployment.
#[utoipa::path(
    post, path = "/api/v1/deployments/{id}/retry", tag = "deployments", params(("id" = String, Path)),
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It is not stuck", body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn retry(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Response, Problem> {
    state.engine.retry(id).await?;
    Ok(accepted(state.engine.deployment(id).await?))
}

/// Ends a stuck deployment as it is. What is left of it is taken away once that
/// can be done.
#[utoipa::path(
    post, path = "/api/v1/deployments/{id}/abandon", tag = "deployments", params(("id" = String, Path)),
    responses(
        (status = 200, body = DeploymentView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It is not stuck, or removes its app", body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn abandon(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<DeploymentView>, Problem> {
    state.engine.abandon(id, "api").await?;
    Ok(Json(state.engine.deployment(id).await?.into()))
}

/// The steps of a deployment, in the order in which they were begun.
#[utoipa::path(
    get, path = "/api/v1/deployments/{id}/steps", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, body = Vec<StepView>), (status = 404, body = ProblemBody))
)]
pub(super) async fn steps(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
) -> Result<Json<Vec<StepView>>, Problem> {
    Ok(Json(state.engine.steps(id).await?.into_iter().map(Into::into).collect()))
}

/// What happens to a deployment, as server-sent events, up to its end. Send
/// `Last-Event-ID` to go on where you left off.
#[utoipa::path(
    get, path = "/api/v1/deployments/{id}/events", tag = "deployments", params(("id" = String, Path)),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = ProblemBody))
)]
pub(super) async fn events(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
    headers: HeaderMap,
) -> Result<stream::Events, Problem> {
    let after = stream::last_event_id(&headers)?;
    state.engine.deployment(id).await?;
    Ok(stream::events(state.engine.watch(id, after), "deployment", |event| (event.sequence, event)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct FollowQuery {
    /// Whether to go on up to the end of the deployment; true by default.
    follow: Option<bool>,
}

/// What was said while a deployment was made, as server-sent events named
/// `log`. Send `Last-Event-ID` to go on where you left off.
#[utoipa::path(
    get, path = "/api/v1/deployments/{id}/logs", tag = "deployments", params(("id" = String, Path), FollowQuery),
    responses((status = 200, content_type = "text/event-stream", body = LogLineView), (status = 404, body = ProblemBody))
)]
pub(super) async fn log(
    State(state): State<ApiState>,
    DeploymentPath(id): DeploymentPath,
    query: Result<Query<FollowQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<stream::Events, Problem> {
    let Query(query) = query.map_err(|_| invalid_query())?;
    let after = stream::last_event_id(&headers)?;
    state.engine.deployment(id).await?;
    let lines = state.engine.log(id, after, query.follow.unwrap_or(true));
    Ok(stream::events(lines, "log", |line| (line.sequence, LogLineView::from(line))))
}
