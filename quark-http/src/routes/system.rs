//! The server itself.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use quark_core::{Error, ErrorKind};

use super::ApiState;
use crate::dto::ProblemBody;
use crate::problem::Problem;

/// Whether the server runs.
#[utoipa::path(get, path = "/health/live", tag = "system", security(()), responses((status = 200, body = String)))]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the server can do its work: its store answers.
#[utoipa::path(
    get, path = "/health/ready", tag = "system", security(()),
    responses((status = 200, body = String), (status = 503, body = ProblemBody))
)]
pub(super) async fn ready(State(state): State<ApiState>) -> Result<&'static str, Problem> {
    state.engine.ready().await?;
    Ok("ok\n")
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
