//! What the API refuses, and how.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn everything_but_health_and_the_document_needs_the_token() {
    let world = World::new().await;
    let ask = async |authorization: Option<&str>, path: &str| {
        let mut request = Request::builder().uri(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        world.send(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/health/live", "/health/ready", "/api/v1/openapi.json"] {
        assert!(ask(None, path).await.status.is_success(), "{path}");
    }
    for path in ["/metrics", "/api/v1/apps", "/api/v1/apps/shop", "/api/v1/deployments/x/logs"] {
        assert_eq!(ask(None, path).await.problem(), (401, "token_missing".to_owned()), "{path}");
        for wrong in ["Bearer quark_00", "Bearer ", "Basic eA==", "quark"] {
            assert_eq!(ask(Some(wrong), path).await.problem(), (401, "token_invalid".to_owned()), "{path} {wrong}");
        }
    }
    let leaked = format!("/api/v1/apps?token={}", world.token.expose());
    assert_eq!(ask(None, &leaked).await.problem().1, "token_in_query");
}

#[tokio::test]
async fn hostile_values_have_a_code_and_a_field_and_nothing_is_made() {
    let world = World::new().await;
    let git = |url: &str, branch: &str| json!({"type": "git", "repository": url, "branch": branch});
    let image = json!({"type": "image", "image": "shop:1"});
    let with = |key: &str, value: Value| {
        let mut body = json!({"name": "shop", "source": image.clone()});
        body[key] = value;
        body
    };
    let cases = [
        (with("name", json!("a;b")), "invalid_app_name", "app.name"),
        (with("source", git("ext::sh -c x", "main")), "invalid_repo_url", "app.source.repository"),
        (with("source", git("--upload-pack=x", "main")), "invalid_repo_url", "app.source.repository"),
        (with("source", git("https://u:p@h.test/a/b", "main")), "repo_url_has_credentials", "app.source.repository"),
        (with("source", git("https://h.test/a/b\n", "main")), "invalid_repo_url", "app.source.repository"),
        (with("source", git("file:///etc", "main")), "repo_scheme_not_allowed", "app.source.repository"),
        (with("source", git("https://h.test/a/b", "$(id)")), "invalid_branch", "branch"),
        (with("source", git("https://h.test/a/b", "-h")), "invalid_branch", "branch"),
        (with("source", json!({"type": "image", "image": "a; id"})), "invalid_image", "app.source.image"),
        (with("domains", json!(["a.test; }"])), "invalid_domain", "app.domains"),
        (with("domains", json!(["a.test\n"])), "invalid_domain", "app.domains"),
        (with("domains", json!(["other.localhost"])), "domain_reserved", "app.domains"),
        (with("health", json!({"path": "/up\r\nHost: evil"})), "invalid_health_path", "app.health.path"),
        (with("health", json!({"successes": 0})), "invalid_health_check", "app.health.successes"),
        (with("env", json!({"A=B": "x"})), "invalid_env_key", "app.env"),
        (with("env", json!({"A": "x\u{0}"})), "invalid_env_value", "app.env"),
        (
            with("resources", json!({"cpu_millis": 0, "memory_bytes": 1, "pids": 1})),
            "invalid_limit",
            "app.resources.cpu_millis",
        ),
        (with("port", json!(0)), "invalid_port", "app.port"),
        (with("command", json!([])), "invalid_command", "app.command"),
        (with("dockerfile", json!("../Dockerfile")), "invalid_path", "app.dockerfile"),
        (with("timing", json!({"drain_ms": 99_999_999_999_u64})), "invalid_duration", "app.timing.drain_ms"),
    ];
    for (body, code, field) in cases {
        let answer = world.post("/api/v1/apps", &body).await;
        assert_eq!(answer.problem(), (422, code.to_owned()), "{body}");
        assert_eq!(answer.json()["field"], field, "{body}");
        assert!(!answer.text.contains("u:p@"), "credentials are echoed");
    }
    assert_eq!(world.get("/api/v1/apps").await.json()["items"], json!([]));
}

#[tokio::test]
async fn bodies_that_are_not_what_they_should_be() {
    let world = World::new().await;
    let good = r#"{"name":"shop","source":{"type":"image","image":"shop:1"}}"#;
    let cases = [
        ("application/json", "{\"name\":\"a\",\"privileged\":true}".to_owned(), (400, "unknown_field")),
        ("application/json", "{\"name\":\"a\",\"name\":\"b\"}".to_owned(), (400, "invalid_json")),
        ("application/json", "{".to_owned(), (400, "invalid_json")),
        ("application/json", "[".repeat(10_000), (400, "invalid_json")),
        ("text/plain", good.to_owned(), (415, "not_json")),
        ("application/json", " ".repeat(2 << 20), (413, "body_too_large")),
    ];
    for (kind, body, (status, code)) in cases {
        let request = world.request(Method::POST, "/api/v1/apps").header(header::CONTENT_TYPE, kind);
        let answer = world.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.problem(), (status, code.to_owned()));
    }
}

#[tokio::test]
async fn paths_queries_and_states_that_do_not_fit() {
    let world = World::new().await;
    world.create_shop().await;
    let long = format!("/api/v1/apps/{}", "a".repeat(3000));
    for (path, expected) in [
        ("/api/v1/apps/none", (404, "app_not_found")),
        ("/api/v1/apps/..%2Fetc", (404, "app_not_found")),
        (long.as_str(), (404, "app_not_found")),
        ("/api/v1/apps/none/deployments", (404, "app_not_found")),
        ("/api/v1/deployments/1%20OR%201=1", (404, "deployment_not_found")),
        ("/api/v1/deployments/0190f5a2-7c3e-7b1a-9d4e-2f6a8b0c1d2e", (404, "deployment_not_found")),
        ("/api/v1/deployments/0190f5a2-7c3e-7b1a-9d4e-2f6a8b0c1d2e/logs", (404, "deployment_not_found")),
        ("/api/v1/apps/shop/deployments?limit=0", (400, "invalid_page")),
        ("/api/v1/apps/shop/deployments?limit=1000", (400, "invalid_page")),
        ("/api/v1/apps/shop/deployments?limit=-1", (400, "invalid_query")),
        ("/api/v1/apps/shop/deployments?sort=name;drop", (400, "invalid_query")),
        ("/api/v1/apps/shop/logs", (404, "not_live")),
        ("/nowhere", (404, "no_such_path")),
    ] {
        let (status, code) = expected;
        assert_eq!(world.get(path).await.problem(), (status, code.to_owned()), "{path}");
    }
    let rollback = world.post("/api/v1/apps/shop/rollback", &json!({})).await;
    assert_eq!(rollback.problem(), (409, "nothing_to_roll_back_to".to_owned()));
    let deployed = world.deploy("shop:1").await;
    let cancel = format!("/api/v1/deployments/{}/cancel", deployed["id"].as_str().unwrap());
    assert_eq!(world.post(&cancel, &json!({})).await.problem(), (409, "too_late".to_owned()));
    let commit = world.post("/api/v1/apps/shop/deployments", &json!({"commit": "HEAD"})).await;
    assert_eq!(commit.problem(), (422, "invalid_commit".to_owned()));
}
