//! A version that is watched once it serves.

use std::time::Duration;

use quark_core::memory::Health;
use quark_core::{AppName, ContainerName, DeploymentId};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn what_is_not_well_is_taken_back_and_says_why() {
    let world = World::paused().await;
    world.create_shop_with("bake", json!({"duration_ms": 30000, "interval_ms": 1000})).await;
    let policy = world.get("/api/v1/apps/shop").await.json()["bake"].clone();
    assert_eq!((&policy["duration_ms"], &policy["failures"]), (&json!(30000), &json!(3)));
    assert_eq!(world.deploy("shop:1").await["bake"], Value::Null, "there is nothing to go back to");
    let created = world.post("/api/v1/apps/shop/deployments", &json!({"image": "shop:2"})).await.json();
    let path = format!("/api/v1/deployments/{}", created["id"].as_str().unwrap());
    let id: DeploymentId = created["id"].as_str().unwrap().parse().unwrap();
    let watched = loop {
        let view = world.get(&path).await.json();
        if view["status"] == "baking" {
            break view;
        }
        world.clock.sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&watched["conclusion"], &watched["bake"]["outcome"]), (&Value::Null, &Value::Null));
    let container = ContainerName::of(&AppName::parse("shop").unwrap(), id, 0);
    assert!(world.runtime.set_health(&container, Health::Status(500)));
    world.engine.wait(id).await.unwrap();
    let ended = world.get(&path).await.json();
    assert_eq!((&ended["status"], &ended["conclusion"]), (&json!("completed"), &json!("rolled_back")));
    assert_eq!((&ended["bake"]["outcome"], &ended["bake"]["unwell"]), (&json!("rolled_back"), &json!(3)));
    assert_eq!((&ended["failure"]["code"], &ended["failure"]), (&json!("unhealthy"), &ended["bake"]["failure"]));
    let live = world.get("/api/v1/apps/shop").await.json()["live"]["deployment"].clone();
    assert_ne!(live, created["id"]);
}

#[tokio::test]
async fn a_minute_is_the_default_and_nothing_is_no_watch() {
    let world = World::new().await;
    let app = |name: &str| json!({"name": name, "source": {"type": "image", "image": "shop:1"}});
    let made = world.post("/api/v1/apps", &app("other")).await.json();
    assert_eq!(made["bake"]["duration_ms"], 60_000);
    // `create_shop` says that nothing is watched.
    world.create_shop().await;
    assert_eq!(world.get("/api/v1/apps/shop").await.json()["bake"]["duration_ms"], 0);
    world.deploy("shop:1").await;
    let second = world.deploy("shop:2").await;
    assert_eq!((&second["conclusion"], &second["bake"]), (&json!("succeeded"), &Value::Null));
}

#[tokio::test]
async fn a_watch_that_means_nothing_is_refused() {
    let world = World::new().await;
    let app = |bake: Value| json!({"name": "other", "source": {"type": "image", "image": "shop:1"}, "bake": bake});
    for (bake, field) in [
        (json!({"duration_ms": 10}), "app.bake.duration_ms"),
        (json!({"interval_ms": 0}), "app.bake.interval_ms"),
        (json!({"failures": 0}), "app.bake.failures"),
        (json!({"errors_permille": 1001}), "app.bake.errors_permille"),
        (json!({"slowdown_percent": 99}), "app.bake.slowdown_percent"),
    ] {
        let refused = world.post("/api/v1/apps", &app(bake)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!(field)));
    }
    let unknown = world.post("/api/v1/apps", &app(json!({"duration": 10}))).await;
    assert_eq!(unknown.problem(), (400, "unknown_field".to_owned()));
}
