//! Wishes that are repeated, overtaken or refused because of others.

use axum::body::Body;
use axum::http::{Method, header};
use serde_json::{Value, json};

use crate::world::{Answer, World};

const DEPLOYMENTS: &str = "/api/v1/apps/shop/deployments";

async fn ask(world: &World, path: &str, keys: &[&str], body: Value) -> Answer {
    let mut request = world.request(Method::POST, path).header(header::CONTENT_TYPE, "application/json");
    for key in keys {
        request = request.header("idempotency-key", *key);
    }
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// Time enough for a deployment that never becomes healthy to be overtaken.
fn patient() -> Value {
    json!({"interval_ms": 10, "deadline_ms": 600_000})
}

#[tokio::test]
async fn a_key_names_the_wish_in_the_header_or_in_the_body() {
    let world = World::new().await;
    world.create_shop().await;
    let first = ask(&world, DEPLOYMENTS, &["one"], json!({})).await.json();
    assert_eq!(first["trigger"], "request");
    world.engine.wait(first["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    for (keys, body) in [(&["one"][..], json!({})), (&[], json!({"key": "one"})), (&["one"], json!({"key": "one"}))] {
        let again = ask(&world, DEPLOYMENTS, keys, body).await;
        assert_eq!((again.status.as_u16(), &again.json()["id"]), (202, &first["id"]));
    }
    let other = ask(&world, DEPLOYMENTS, &["two"], json!({"image": "shop:2", "trigger": "push"})).await.json();
    assert_eq!((&other["sequence"], &other["trigger"]), (&json!(2), &json!("push")));
    world.engine.wait(other["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    let rollback = "/api/v1/apps/shop/rollback";
    let back = ask(&world, rollback, &["back"], json!({})).await.json();
    world.engine.wait(back["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(ask(&world, rollback, &[], json!({"key": "back"})).await.json()["id"], back["id"]);
    assert_eq!(world.get(DEPLOYMENTS).await.json()["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let world = World::new().await;
    world.create_shop().await;
    let long = "k".repeat(256);
    for (keys, body, code, field) in [
        (&["a b"][..], json!({}), "invalid_key", "idempotency-key"),
        (&[""], json!({}), "invalid_key", "idempotency-key"),
        (&[long.as_str()], json!({}), "invalid_key", "idempotency-key"),
        (&["one", "two"], json!({}), "invalid_key", "idempotency-key"),
        (&[], json!({"key": ""}), "invalid_key", "key"),
        (&["one"], json!({"key": "two"}), "key_mismatch", "key"),
    ] {
        for path in [DEPLOYMENTS, "/api/v1/apps/shop/rollback"] {
            let answer = ask(&world, path, keys, body.clone()).await;
            assert_eq!(answer.problem(), (422, code.to_owned()), "{keys:?} {body}");
            assert_eq!(answer.json()["field"], field);
        }
    }
    let unknown = ask(&world, DEPLOYMENTS, &[], json!({"trigger": "cron"})).await;
    assert_eq!(unknown.problem(), (400, "invalid_json".to_owned()));
    assert_eq!(world.get(DEPLOYMENTS).await.json()["items"], json!([]));
}

#[tokio::test]
async fn an_overtaken_wish_says_by_which() {
    let world = World::new().await;
    world.create_shop_with("health", patient()).await;
    assert_eq!(world.get("/api/v1/apps/shop").await.json()["supersede"], "coalesce");
    let silent = ask(&world, DEPLOYMENTS, &[], json!({"image": "shop:silent"})).await.json();
    assert_eq!(silent["superseded_by"], Value::Null);
    let newer = world.deploy("shop:2").await;
    assert_eq!(newer["conclusion"], "succeeded");
    let path = format!("/api/v1/deployments/{}", silent["id"].as_str().unwrap());
    let ended = world.get(&path).await.json();
    assert_eq!((&ended["status"], &ended["conclusion"]), (&json!("completed"), &json!("superseded")));
    assert_eq!((&ended["superseded_by"], &ended["cancel_requested"]), (&newer["id"], &json!(true)));
}

#[tokio::test]
async fn an_app_may_refuse_a_second_wish() {
    let world = World::new().await;
    let body = json!({
        "name": "shop",
        "source": {"type": "image", "image": "shop:silent"},
        "health": patient(),
        "supersede": "reject",
    });
    assert_eq!(world.post("/api/v1/apps", &body).await.json()["supersede"], "reject");
    let first = world.post(DEPLOYMENTS, &json!({})).await.json();
    let second = world.post(DEPLOYMENTS, &json!({})).await;
    assert_eq!(second.problem(), (409, "deployment_under_way".to_owned()));
    assert!(second.json()["detail"].as_str().unwrap().contains(first["id"].as_str().unwrap()));
    let bad = json!({"name": "other", "source": {"type": "image", "image": "shop:1"}, "supersede": "sometimes"});
    assert_eq!(world.post("/api/v1/apps", &bad).await.problem(), (400, "invalid_json".to_owned()));
    let cancel = format!("/api/v1/deployments/{}/cancel", first["id"].as_str().unwrap());
    assert_eq!(world.post(&cancel, &json!({})).await.status.as_u16(), 202);
    let ended = world.engine.wait(first["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Cancelled));
}
