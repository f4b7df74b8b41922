//! What the API does when it is asked well.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn an_app_is_made_deployed_rolled_back_and_removed() {
    let world = World::new().await;
    world.create_shop().await;
    let one = world.deploy("shop:1").await;
    assert_eq!((&one["status"], &one["conclusion"]), (&json!("completed"), &json!("succeeded")));
    let two = world.deploy("shop:2").await;
    let app = world.get("/api/v1/apps/shop").await.json();
    assert_eq!(app["live"]["deployment"], two["id"]);
    assert_eq!(app["standby"]["deployment"], one["id"]);
    assert_eq!(app["reachable_at"], json!(["shop.localhost"]));

    let back = world.post("/api/v1/apps/shop/rollback", &json!({})).await;
    assert_eq!(back.status, StatusCode::ACCEPTED);
    let id = back.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(back.location, Some(format!("/api/v1/deployments/{id}")));
    let ended = world.engine.wait(id.parse().unwrap()).await.unwrap();
    assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Succeeded));
    assert_eq!(back.json()["restores"], one["id"]);

    let removal = world.send(world.request(Method::DELETE, "/api/v1/apps/shop").body(Body::empty()).unwrap()).await;
    assert_eq!(removal.status, StatusCode::ACCEPTED);
    world.engine.wait(removal.json()["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(world.get("/api/v1/apps/shop").await.problem(), (404, "app_not_found".to_owned()));
    assert!(world.runtime.containers().is_empty());
}

#[tokio::test]
async fn no_answer_shows_a_value_of_a_variable() {
    let world = World::new().await;
    world.create_shop().await;
    world.deploy("shop:1").await;
    for path in [
        "/api/v1/apps",
        "/api/v1/apps/shop",
        "/api/v1/apps/shop/deployments",
        "/api/v1/apps/shop/explanation",
        "/metrics",
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!answer.text.contains("hunter2"), "{path}");
    }
    assert_eq!(world.get("/api/v1/apps/shop").await.json()["env_keys"], json!(["TOKEN"]));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    world.create_shop().await;
    for image in ["shop:1", "shop:2", "shop:1"] {
        world.deploy(image).await;
    }
    let page = world.get("/api/v1/apps/shop/deployments?limit=2").await.json();
    let sequences = |page: &serde_json::Value| {
        page["items"].as_array().unwrap().iter().map(|item| item["sequence"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((sequences(&page), &page["has_more"], &page["next"]), (vec![3, 2], &json!(true), &json!(2)));
    let rest = world.get("/api/v1/apps/shop/deployments?limit=2&before=2").await.json();
    assert_eq!((sequences(&rest), &rest["has_more"], &rest["next"]), (vec![1], &json!(false), &json!(null)));
}

#[tokio::test]
async fn a_failure_says_what_happened_and_what_to_do() {
    let world = World::new().await;
    world.create_shop().await;
    let bad = world.deploy("shop:bad").await;
    assert_eq!(bad["failure"]["code"], "exited");
    assert_eq!(bad["failure"]["step"], "probe");
    assert!(bad["failure"]["hint"].is_string());
    let steps = world.get(&format!("/api/v1/deployments/{}/steps", bad["id"].as_str().unwrap())).await.json();
    assert!(steps.as_array().unwrap().iter().any(|step| step["phase"] == "failed"));
}

#[tokio::test]
async fn the_numbers_count_deployments() {
    let world = World::new().await;
    world.create_shop().await;
    world.deploy("shop:1").await;
    let answer = world.get("/metrics").await;
    assert!(answer.kind.starts_with("text/plain; version=0.0.4"));
    assert!(answer.text.contains("quark_deployments_completed_total{conclusion=\"succeeded\",kind=\"deploy\"} 1"));
}

#[tokio::test]
async fn the_document_names_every_route_and_the_token() {
    let document = serde_json::to_value(quark_http::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/v1/apps",
        "/api/v1/apps/{app}",
        "/api/v1/apps/{app}/deployments",
        "/api/v1/apps/{app}/rollback",
        "/api/v1/apps/{app}/explanation",
        "/api/v1/apps/{app}/logs",
        "/api/v1/apps/{app}/plan",
        "/api/v1/apps/{app}/plan/apply",
        "/api/v1/approvals",
        "/api/v1/deployments/{id}/approval",
        "/api/v1/deployments/{id}",
        "/api/v1/deployments/{id}/cancel",
        "/api/v1/deployments/{id}/leftovers",
        "/api/v1/deployments/{id}/retry",
        "/api/v1/deployments/{id}/abandon",
        "/api/v1/safe-mode",
        "/api/v1/resume",
        "/api/v1/garbage",
        "/api/v1/garbage/collect",
        "/api/v1/deployments/{id}/steps",
        "/api/v1/deployments/{id}/events",
        "/api/v1/deployments/{id}/logs",
        "/api/v1/projects",
        "/api/v1/projects/{project}",
        "/api/v1/projects/{project}/deployments",
        "/api/v1/pushes",
    ] {
        assert!(paths.contains_key(path), "{path} is not documented");
    }
    assert_eq!(paths.len(), 29, "this test does not know a route");
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

#[tokio::test(start_paused = true)]
async fn an_app_is_explained() {
    let world = World::paused().await;
    world.create_shop().await;
    let live = world.deploy("shop:1").await;
    let failed = world.deploy("shop:bad").await;
    assert_eq!(failed["conclusion"], "failed");
    let told = world.get("/api/v1/apps/shop/explanation").await.json();
    assert_eq!((&told["live"]["deployment"], &told["live"]["version"]), (&live["id"], &json!("image shop:1")));
    assert_eq!((&told["findings"][0]["code"], &told["work"]), (&json!("last_failed"), &json!([])));
    assert_eq!(told["next"][0]["automatic"], false);
    let path = "/api/v1/apps/shop/explanation";
    let text = world.request(Method::GET, path).header("accept", "text/plain").body(Body::empty()).unwrap();
    let text = world.send(text).await;
    assert_eq!(text.kind, "text/plain; charset=utf-8");
    assert!(text.text.contains("#2, the newest deployment, failed and changed nothing"), "{}", text.text);
    assert_eq!(world.get("/api/v1/apps/nobody/explanation").await.problem(), (404, "app_not_found".to_owned()));
}
