//! Programs that run beside a deployment.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn hooks_are_said_shown_and_run() {
    let world = World::paused().await;
    let hook = json!({"command": ["./manage", "migrate"]});
    world.create_shop_with("hooks", json!({"pre_deploy": hook, "post_promote": hook})).await;
    let shown = world.get("/api/v1/apps/shop").await.json()["hooks"].clone();
    let with_default = json!({"command": ["./manage", "migrate"], "timeout_ms": 300_000});
    assert_eq!(shown, json!({"pre_deploy": with_default, "post_promote": with_default}));
    let ended = world.deploy("shop:1").await;
    assert_eq!(ended["conclusion"], "succeeded");
    let steps = world.get(&format!("/api/v1/deployments/{}/steps", ended["id"].as_str().unwrap())).await.json();
    let codes: Vec<_> = steps.as_array().unwrap().iter().map(|step| (&step["name"], &step["exit_code"])).collect();
    assert!(codes.contains(&(&json!("pre_deploy"), &json!(0))), "{codes:?}");
    assert!(codes.contains(&(&json!("probe"), &Value::Null)), "{codes:?}");
}

#[tokio::test]
async fn hooks_that_mean_nothing_are_refused() {
    let world = World::new().await;
    let app = |hooks: Value| json!({"name": "other", "source": {"type": "image", "image": "shop:1"}, "hooks": hooks});
    for (hooks, field) in [
        (json!({"pre_deploy": {"command": []}}), "app.hooks.pre_deploy.command"),
        (json!({"post_retire": {"command": ["a"], "timeout_ms": 10}}), "app.hooks.post_retire.timeout_ms"),
        (json!({"pre_promote": {"command": ["a"], "timeout_ms": 3_600_001}}), "app.hooks.pre_promote.timeout_ms"),
    ] {
        let refused = world.post("/api/v1/apps", &app(hooks)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (422, &json!(field)));
    }
    let unknown = world.post("/api/v1/apps", &app(json!({"predeploy": {"command": ["a"]}}))).await;
    assert_eq!(unknown.problem(), (400, "unknown_field".to_owned()));
}
