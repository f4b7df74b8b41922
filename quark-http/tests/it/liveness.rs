//! A version that falls ill while it serves.

use std::time::Duration;

use quark_core::memory::Health;
use quark_core::{AppName, ContainerName, DeploymentId};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn what_is_not_well_is_restarted_and_says_so() {
    let world = World::paused().await;
    world.create_shop_with("liveness", json!({"interval_ms": 1000})).await;
    let policy = world.get("/api/v1/apps/shop").await.json()["liveness"].clone();
    let told = (&policy["interval_ms"], &policy["action"], &policy["restarts"], &policy["window_ms"]);
    assert_eq!(told, (&json!(1000), &json!("restart"), &json!(5), &json!(600_000)));
    let live = world.deploy("shop:1").await;
    assert_eq!(live["liveness"], Value::Null, "there is nothing to say");
    let id: DeploymentId = live["id"].as_str().unwrap().parse().unwrap();
    world.clock.sleep(Duration::from_secs(30)).await;
    let container = ContainerName::of(&AppName::parse("shop").unwrap(), id, 0);
    assert!(world.runtime.set_health(&container, Health::Status(500)));
    let path = format!("/api/v1/deployments/{id}");
    let recovered = loop {
        let view = world.get(&path).await.json();
        if view["liveness"]["restarts"].as_array().is_some_and(|restarts| !restarts.is_empty())
            && view["liveness"]["unwell_since"].is_null()
        {
            break view;
        }
        world.clock.sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(recovered["liveness"]["restarts"].as_array().unwrap().len(), 1);
    assert_eq!(recovered["conclusion"], json!("succeeded"));
}

#[tokio::test(start_paused = true)]
async fn an_illness_is_explained() {
    let world = World::paused().await;
    world.create_shop_with("liveness", json!({"interval_ms": 1000, "action": "roll_back"})).await;
    let id: DeploymentId = world.deploy("shop:1").await["id"].as_str().unwrap().parse().unwrap();
    world.clock.sleep(Duration::from_secs(30)).await;
    let container = ContainerName::of(&AppName::parse("shop").unwrap(), id, 0);
    assert!(world.runtime.set_health(&container, Health::Status(500)));
    world.clock.sleep(Duration::from_secs(30)).await;
    let explained = world.get("/api/v1/apps/shop/explanation").await.json();
    assert_eq!(explained["findings"][0]["code"], json!("unhealthy"), "{explained}");
    let view = world.get(&format!("/api/v1/deployments/{id}")).await.json();
    assert_eq!(view["liveness"]["held"]["code"], json!("nothing_to_roll_back_to"));
}

#[tokio::test]
async fn a_policy_that_means_nothing_is_refused() {
    let world = World::new().await;
    let app = |it: Value| json!({"name": "other", "source": {"type": "image", "image": "shop:1"}, "liveness": it});
    for (liveness, field) in [
        (json!({"interval_ms": 10}), "app.liveness.interval_ms"),
        (json!({"failures": 0}), "app.liveness.failures"),
        (json!({"restarts": 0}), "app.liveness.restarts"),
        (json!({"window_ms": 1}), "app.liveness.window_ms"),
    ] {
        let refused = world.post("/api/v1/apps", &app(liveness)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!(field)));
    }
    let unknown = world.post("/api/v1/apps", &app(json!({"acton": "alert"}))).await;
    assert_eq!(unknown.problem(), (400, "unknown_field".to_owned()));
}
