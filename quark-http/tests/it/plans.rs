//! Plans over the API.

use serde_json::{Value, json};

use crate::world::World;

const PLAN: &str = "/api/v1/apps/shop/plan";
const APPLY: &str = "/api/v1/apps/shop/plan/apply";

async fn planned(world: &World, wish: &Value) -> Value {
    let answer = world.post(PLAN, wish).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    answer.json()
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_says_is_sent_back_as_it_is() {
    let world = World::paused().await;
    world.create_shop().await;
    let plan = planned(&world, &json!({"deploy": {"by": "ann"}})).await;
    assert_eq!((&plan["downtime"], &plan["fails"], &plan["waits"]), (&json!("nothing_serves"), &json!([]), &json!([])));
    let effects: Vec<&str> =
        plan["steps"].as_array().unwrap().iter().map(|it| it["effect"].as_str().unwrap()).collect();
    assert_eq!(effects, ["pull", "create", "start", "probe", "promote"]);
    assert!(plan["text"].as_str().unwrap().starts_with("Plan for `shop`: deploy image shop:1"), "{plan}");
    let applied = world.post(APPLY, &plan["apply"]).await;
    assert_eq!(applied.status.as_u16(), 202, "{}", applied.text);
    let id = applied.json()["id"].as_str().unwrap().to_owned();
    let again = world.post(APPLY, &plan["apply"]).await.json();
    assert_eq!((&again["id"], &again["created_by"]), (&json!(id), &json!("ann")));
    let ended = world.engine.wait(id.parse().unwrap()).await.unwrap();
    assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Succeeded));
    let removal = planned(&world, &json!({"remove": {}})).await;
    assert_eq!(removal["downtime"], "for_good");
    let removal = world.post(APPLY, &removal["apply"]).await.json();
    world.engine.wait(removal["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(world.get("/api/v1/apps/shop").await.problem(), (404, "app_not_found".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_yesterday_is_refused() {
    let world = World::paused().await;
    world.create_shop().await;
    let plan = planned(&world, &json!({"deploy": {}})).await;
    let other = world.post("/api/v1/apps/shop/deployments", &json!({})).await.json();
    world.engine.wait(other["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(world.post(APPLY, &plan["apply"]).await.problem(), (409, "plan_outdated".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused() {
    let world = World::paused().await;
    world.create_shop().await;
    for (path, body, problem) in [
        (PLAN, json!({"rollback": {}}), (409, "nothing_to_roll_back_to")),
        (PLAN, json!({"deploy": {"commit": "main"}}), (422, "invalid_commit")),
        (PLAN, json!({"deploy": {"env": {"TOKEN": "hunter2"}}}), (501, "env_in_plan")),
        (PLAN, json!({"dance": {}}), (400, "invalid_json")),
        (APPLY, json!({"wish": {"deploy": {}}}), (400, "invalid_json")),
        (APPLY, json!({"wish": {"deploy": {}}, "expects": {"version": 1, "live": "x"}}), (422, "invalid_id")),
        ("/api/v1/apps/nobody/plan", json!({"deploy": {}}), (404, "app_not_found")),
    ] {
        let refused = world.post(path, &body).await;
        assert_eq!(refused.problem(), (problem.0, problem.1.to_owned()), "{body}");
    }
}
