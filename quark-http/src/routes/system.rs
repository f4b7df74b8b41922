//! The server itself.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use quark_core::{Error, ErrorKind};

use super::ApiState;
use crate::dto::{ProblemBody, SafeModeView};
use crate::problem::Problem;

/// Whether the server runs.
#[utoipa::path(get, path = "/health/live", tag = "system", security(()), responses((status = 200, body = String)))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the server can do its work: its store answers, and the engine is not
/// in safe mode.
#[utoipa::path(
    get, path = "/health/ready", tag = "system", security(()),
    responses((status = 200, body = String), (status = 503, body = ProblemBody))
)]
pub(super) async fn ready(State(state): State<ApiState>) -> Result<&'static str, Problem> {
    state.engine.ready().await?;
    if state.engine.safe_mode().is_some() {
        // Why is for those who have the token: it names apps.
        return Err(Error::new(ErrorKind::Unavailable, "the engine is in safe mode")
            .with_code("safe_mode")
            .with_hint("`GET /api/v1/safe-mode` says why; `POST /api/v1/resume` ends it")
            .into());
    }
    Ok("ok\n")
}

/// Whether the engine only looks, and why: its store seems to have gone back in
/// time, as after the restore of a backup. What serves is not touched meanwhile.
#[utoipa::path(get, path = "/api/v1/safe-mode", tag = "system", responses((status = 200, body = SafeModeView)))]
pub(super) async fn safe_mode(State(state): State<ApiState>) -> Json<SafeModeView> {
    let reason = state.engine.safe_mode();
    Json(SafeModeView { on: reason.is_some(), reason })
}

/// Leaves safe mode: the engine goes on from what the store says. Compare it
/// with what runs before: containers that the store does not know are left
/// alone, everything else is brought to what it says.
#[utoipa::path(
    post, path = "/api/v1/resume", tag = "system",
    responses((status = 200, body = SafeModeView), (status = 503, body = ProblemBody))
)]
pub(super) async fn resume(state: State<ApiState>) -> Result<Json<SafeModeView>, Problem> {
    state.engine.resume().await?;
    Ok(safe_mode(state).await)
}

/// Numbers about the engine, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, content_type = "text/plain", body = String), (status = 404, body = ProblemBody))
)]
pub(super) async fn metrics(State(state): State<ApiState>) -> Result<Response, Problem> {
    let metrics = state.metrics.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "this server was built without metrics").with_code("no_metrics")
    })?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, metrics.render()?).into_response())
}
