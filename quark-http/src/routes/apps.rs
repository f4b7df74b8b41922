//! Apps.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quark_core::backend::LogSelection;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiState;
use crate::body::{AppPath, JsonBody};
use crate::dto::{AppList, AppView, CreateApp, DeploymentView, ExplanationView, LogLineView, ProblemBody};
use crate::problem::Problem;
use crate::stream;

/// Makes an app known. Nothing runs yet.
#[utoipa::path(
    post, path = "/api/v1/apps", tag = "apps", request_body = CreateApp,
    responses(
        (status = 201, body = AppView),
        (status = 409, description = "Name or host name is taken", body = ProblemBody),
        (status = 422, description = "A value is not acceptable", body = ProblemBody),
    )
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<CreateApp>,
) -> Result<Response, Problem> {
    let record = state.engine.create_app(body.into_app()?).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/apps/{}", record.spec.name)).ok();
    let mut response = (StatusCode::CREATED, Json(AppView::from(record))).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// All apps, by name.
#[utoipa::path(get, path = "/api/v1/apps", tag = "apps", responses((status = 200, body = AppList)))]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<AppList>, Problem> {
    let items = state.engine.apps().await?.into_iter().map(AppView::from).collect();
    Ok(Json(AppList { items }))
}

/// What is known of an app.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = AppView), (status = 404, body = ProblemBody))
)]
pub(super) async fn read(State(state): State<ApiState>, AppPath(name): AppPath) -> Result<Json<AppView>, Problem> {
    Ok(Json(state.engine.app(&name).await?.into()))
}

/// What an app is, what it should be, why it is not, and what comes next; with
/// `Accept: text/plain` as a text for people.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/explanation", tag = "apps", params(("app" = String, Path)),
    responses((status = 200, body = ExplanationView), (status = 404, body = ProblemBody))
)]
pub(super) async fn explain(
    State(state): State<ApiState>,
    AppPath(name): AppPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let explanation = state.engine.explain(&name).await?;
    let accepted = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepted.starts_with("text/plain") {
        return Ok(explanation.to_string().into_response());
    }
    Ok(Json(ExplanationView::from(explanation)).into_response())
}

/// Takes an app out of service for good: its route, its instances, then itself.
#[utoipa::path(
    delete, path = "/api/v1/apps/{app}", tag = "apps", params(("app" = String, Path)),
    responses((status = 202, body = DeploymentView), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody))
)]
pub(super) async fn remove(
    State(state): State<ApiState>,
    AppPath(name): AppPath,
) -> Result<(StatusCode, Json<DeploymentView>), Problem> {
    let deployment = state.engine.remove_app(&name, "api").await?;
    Ok((StatusCode::ACCEPTED, Json(deployment.into())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    /// Only so many lines from the end.
    tail: Option<usize>,
    /// Whether to go on with what is printed later; true by default.
    follow: Option<bool>,
}

/// What the live version prints, as server-sent events named `log`.
#[utoipa::path(
    get, path = "/api/v1/apps/{app}/logs", tag = "apps", params(("app" = String, Path), LogQuery),
    responses((status = 200, content_type = "text/event-stream", body = LogLineView), (status = 404, body = ProblemBody))
)]
pub(super) async fn log(
    State(state): State<ApiState>,
    AppPath(name): AppPath,
    query: Result<Query<LogQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<stream::Events, Problem> {
    let Query(query) = query.map_err(|_| super::deployments::invalid_query())?;
    let selection = LogSelection { tail: query.tail, follow: query.follow.unwrap_or(true) };
    let lines = state.engine.runtime_log(&name, selection).await?;
    let mut sequence = 0;
    Ok(stream::events(lines, "log", move |chunk| {
        sequence += 1;
        // No id: these lines are counted per connection and cannot be resumed.
        let at = chunk.at.map(|at| at.to_string()).unwrap_or_default();
        (0, LogLineView { sequence, at, stream: chunk.stream.as_str().to_owned(), text: chunk.text })
    }))
}
