//! The whole API on one screen.

mod approvals;
mod apps;
mod deployments;
mod plans;
mod projects;
mod system;

use std::sync::Arc;

use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use quark_core::DeploymentEngine;
use quark_core::metrics::PrometheusMetrics;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::require_token;
use crate::problem::Problem;
use crate::token::TokenHash;

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    token: TokenHash,
    metrics: Option<Arc<PrometheusMetrics>>,
}

impl ApiConfig {
    /// An API that this token opens.
    #[must_use]
    pub fn new(token: TokenHash) -> Self {
        Self { token, metrics: None }
    }

    /// Shows these numbers at `/metrics`; give the same to the engine.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<PrometheusMetrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }
}

#[derive(Clone)]
struct ApiState {
    engine: DeploymentEngine,
    metrics: Option<Arc<PrometheusMetrics>>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "QUARK", description = "Deploys apps: from a git commit or an image to a running, routed application."),
    security(("token" = []))
)]
struct Document;

fn guarded() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(apps::create, apps::list))
        .routes(routes!(apps::read, apps::remove))
        .routes(routes!(apps::explain))
        .routes(routes!(apps::log))
        .routes(routes!(plans::make))
        .routes(routes!(plans::apply))
        .routes(routes!(deployments::create, deployments::list))
        .routes(routes!(deployments::rollback))
        .routes(routes!(deployments::read))
        .routes(routes!(deployments::cancel))
        .routes(routes!(deployments::leftovers))
        .routes(routes!(deployments::retry))
        .routes(routes!(deployments::abandon))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::answer))
        .routes(routes!(deployments::steps))
        .routes(routes!(deployments::events))
        .routes(routes!(deployments::log))
        .routes(routes!(system::safe_mode))
        .routes(routes!(system::resume))
        .routes(routes!(system::garbage))
        .routes(routes!(system::collect_garbage))
        .routes(routes!(system::metrics))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::read, projects::update, projects::remove))
        .routes(routes!(projects::deploy))
        .routes(routes!(projects::push))
}

fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(system::live)).routes(routes!(system::ready))
}

/// The API as a router, to be served or mounted.
pub fn api(engine: DeploymentEngine, config: ApiConfig) -> axum::Router {
    let state = ApiState { engine, metrics: config.metrics };
    let guarded: axum::Router<ApiState> = guarded().into();
    let guarded = guarded.layer(middleware::from_fn_with_state(config.token, require_token));
    let open: axum::Router<ApiState> = open().into();
    let document = openapi();
    open.route("/api/v1/openapi.json", get(move || async move { axum::Json(document) }))
        .merge(guarded)
        .fallback(|| async { Problem::no_such_path().into_response() })
        .layer(axum::extract::DefaultBodyLimit::max(LONGEST_BODY))
        .layer(CatchPanicLayer::new())
        .with_state(state)
}

/// The OpenAPI document of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) =
        OpenApiRouter::with_openapi(Document::openapi()).merge(open()).merge(guarded()).split_for_parts();
    let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme("token", scheme);
    document
}
