//! An API over in-memory backends, asked without a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use quark_core::memory::{Behaviour, Health, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemoryStore};
use quark_core::metrics::PrometheusMetrics;
use quark_core::testing::TokioClock;
use quark_core::{Clock, DeploymentEngine, ImageRef, SystemClock};
use quark_http::{ApiConfig, ApiToken};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) struct World {
    pub(crate) engine: DeploymentEngine,
    pub(crate) api: axum::Router,
    pub(crate) token: ApiToken,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: MemoryStore,
    pub(crate) runtime: MemoryRuntime,
    _folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) kind: String,
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.kind, "application/problem+json", "{}", self.text);
        (self.status.as_u16(), self.json()["code"].as_str().unwrap().to_owned())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::in_the_time_of(Arc::new(SystemClock::new())).await
    }

    /// A world whose time jumps when nothing is left to do. For tests whose
    /// tokio runtime is paused.
    pub(crate) async fn paused() -> Self {
        Self::in_the_time_of(Arc::new(TokioClock::new())).await
    }

    async fn in_the_time_of(clock: Arc<dyn Clock>) -> Self {
        let queue = MemoryQueue::new(Arc::clone(&clock));
        let store = MemoryStore::with_queue(Arc::clone(&clock), queue.clone());
        let runtime = MemoryRuntime::with_clock(Arc::clone(&clock));
        for (image, behaviour) in [
            ("shop:1", Behaviour::healthy().printing(["hello from one"])),
            ("shop:2", Behaviour::healthy()),
            ("shop:silent", Behaviour::with_health(Health::NeverListens)),
            ("shop:bad", Behaviour::with_health(Health::ExitsAtOnce(1)).printing(["no database"])),
        ] {
            runtime.publish(&ImageRef::parse(image).unwrap(), behaviour);
        }
        let metrics = Arc::new(PrometheusMetrics::new().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let router = MemoryRouter::with_clock(Arc::clone(&clock));
        let engine = DeploymentEngine::builder(store.clone(), queue, runtime.clone(), router)
            .with_prober(MemoryProber::new(&runtime))
            .with_metrics(Arc::<PrometheusMetrics>::clone(&metrics))
            .with_work_dir(folder.path())
            .with_clock(Arc::clone(&clock))
            .start()
            .await
            .unwrap();
        let token = ApiToken::generate();
        let api = quark_http::api(engine.clone(), ApiConfig::new(token.hash()).with_metrics(metrics));
        Self { engine, api, token, clock, store, runtime, _folder: folder }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let bearer = format!("Bearer {}", self.token.expose());
        Request::builder().method(method).uri(path).header(header::AUTHORIZATION, bearer)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.api.clone().oneshot(request).await.unwrap();
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, kind, location) =
            (response.status(), header(header::CONTENT_TYPE).unwrap_or_default(), header(header::LOCATION));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, kind, location, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn create_shop(&self) {
        self.create_shop_with("health", json!({"interval_ms": 10, "deadline_ms": 400})).await;
    }

    /// Makes the app with something of it said otherwise.
    pub(crate) async fn create_shop_with(&self, key: &str, value: Value) {
        let mut body = json!({
            "name": "shop",
            "source": {"type": "image", "image": "shop:1"},
            "env": {"TOKEN": "hunter2-hunter2"},
            "bake": {"duration_ms": 0},
        });
        body[key] = value;
        let answer = self.post("/api/v1/apps", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    }

    /// Deploys an image and waits for the end.
    pub(crate) async fn deploy(&self, image: &str) -> Value {
        let answer = self.post("/api/v1/apps/shop/deployments", &json!({"image": image})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        self.engine.wait(id.parse().unwrap()).await.unwrap();
        self.get(&format!("/api/v1/deployments/{id}")).await.json()
    }
}
