//! An engine whose store went back in time, as its API shows it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn it_is_shown_refuses_what_writes_and_is_ended_by_a_person() {
    let world = World::paused().await;
    world.create_shop().await;
    world.deploy("shop:1").await;
    assert_eq!(world.get("/api/v1/safe-mode").await.json(), json!({"on": false, "reason": null}));
    let backup = world.store.backup();
    world.deploy("shop:2").await;
    world.store.restore(&backup);
    world.clock.sleep(Duration::from_secs(61)).await;

    let shown = world.get("/api/v1/safe-mode").await.json();
    assert_eq!(shown["on"], true);
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("`shop`"), "{reason}");
    let ready = world.get("/health/ready").await;
    assert_eq!(ready.problem(), (503, "safe_mode".to_owned()));
    assert!(!ready.text.contains("shop"), "whoever has no token learns the name of an app");
    assert!(world.get("/health/live").await.status.is_success(), "a restart mends nothing");

    for (path, body) in [
        ("/api/v1/apps/shop/deployments", json!({})),
        ("/api/v1/apps/shop/rollback", json!({})),
        ("/api/v1/apps", json!({"name": "other", "source": {"type": "image", "image": "shop:1"}})),
    ] {
        let refused = world.post(path, &body).await;
        assert_eq!(refused.problem(), (503, "safe_mode".to_owned()), "{path}");
        assert!(refused.json()["hint"].as_str().unwrap().contains("resume"));
    }
    assert!(world.get("/api/v1/apps/shop").await.status.is_success());
    assert_eq!(world.runtime.containers().len(), 2, "nothing was taken away");

    let unasked = Request::builder().method(Method::POST).uri("/api/v1/resume");
    let unasked = world.send(unasked.body(Body::empty()).unwrap()).await;
    assert_eq!(unasked.problem(), (401, "token_missing".to_owned()));
    let resumed = world.post("/api/v1/resume", &Value::Null).await;
    assert_eq!(resumed.json(), json!({"on": false, "reason": null}));
    assert!(world.get("/health/ready").await.status.is_success());
    assert_eq!(world.deploy("shop:2").await["conclusion"], "succeeded");
}
