//! A version that gets its users by steps.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn its_way_is_told() {
    let world = World::paused().await;
    let steps = json!([{"percent": 10, "hold_ms": 5000}, {"percent": 50, "hold_ms": 5000}]);
    world.create_shop_with("canary", json!({"steps": steps, "interval_ms": 1000})).await;
    let policy = world.get("/api/v1/apps/shop").await.json()["canary"].clone();
    assert_eq!((&policy["steps"], &policy["failures"]), (&steps, &json!(3)));
    assert_eq!(world.deploy("shop:1").await["canary"], Value::Null, "there is nobody to share with");
    let created = world.post("/api/v1/apps/shop/deployments", &json!({"image": "shop:2"})).await.json();
    let path = format!("/api/v1/deployments/{}", created["id"].as_str().unwrap());
    for percent in [10, 50] {
        loop {
            let view = world.get(&path).await.json();
            let canary = &view["canary"];
            if canary["percent"] == percent && !canary["ends_at"].is_null() {
                assert_eq!((&view["status"], &canary["outcome"]), (&json!("canary"), &Value::Null));
                break;
            }
            world.clock.sleep(Duration::from_millis(10)).await;
        }
    }
    world.engine.wait(created["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    let ended = world.get(&path).await.json();
    assert_eq!((&ended["conclusion"], &ended["canary"]["outcome"]), (&json!("succeeded"), &json!("passed")));
}

#[tokio::test]
async fn steps_that_mean_nothing_are_refused() {
    let world = World::new().await;
    let app =
        |canary: Value| json!({"name": "other", "source": {"type": "image", "image": "shop:1"}, "canary": canary});
    let step = |percent: u8, hold: u64| json!({"percent": percent, "hold_ms": hold});
    for (canary, field) in [
        (json!({"steps": []}), "app.canary.steps"),
        (json!({"steps": [step(0, 1000)]}), "app.canary.steps[0].percent"),
        (json!({"steps": [step(5, 1000), step(5, 1000)]}), "app.canary.steps[1].percent"),
        (json!({"steps": [step(5, 10)]}), "app.canary.steps[0].hold_ms"),
        (json!({"interval_ms": 0}), "app.canary.interval_ms"),
        (json!({"failures": 0}), "app.canary.failures"),
        (json!({"errors_permille": 1001}), "app.canary.errors_permille"),
        (json!({"slowdown_percent": 99}), "app.canary.slowdown_percent"),
    ] {
        let refused = world.post("/api/v1/apps", &app(canary)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!(field)));
    }
    let unknown = world.post("/api/v1/apps", &app(json!({"step": []}))).await;
    assert_eq!(unknown.problem(), (400, "unknown_field".to_owned()));
}
