//! People who must agree before a version serves.

use serde_json::{Value, json};

use crate::world::World;

/// A world whose app needs one approval, and the question about its first version.
async fn asked() -> (World, Value) {
    let world = World::paused().await;
    world.create_shop_with("approval", json!({"quorum": 1})).await;
    let created = world.post("/api/v1/apps/shop/deployments", &json!({"image": "shop:1", "by": "ann"})).await;
    assert_eq!(created.status.as_u16(), 202, "{}", created.text);
    loop {
        let list = world.get("/api/v1/approvals").await.json();
        if let Some(pending) = list["items"].get(0) {
            return (world, pending.clone());
        }
        world.clock.sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn path(pending: &Value) -> String {
    format!("/api/v1/deployments/{}/approval", pending["deployment"].as_str().unwrap())
}

fn answer(pending: &Value, decision: &str, by: &str) -> Value {
    json!({"decision": decision, "by": by, "artifact": pending["artifact"], "nonce": pending["nonce"]})
}

#[tokio::test(start_paused = true)]
async fn one_who_agrees_lets_it_serve() {
    let (world, pending) = asked().await;
    assert_eq!(
        (&pending["app"], &pending["created_by"], &pending["missing"]),
        (&json!("shop"), &json!("ann"), &json!(1))
    );
    assert!(pending["preview"].is_string(), "{pending}");
    let id = pending["deployment"].as_str().unwrap();
    let view = world.get(&format!("/api/v1/deployments/{id}")).await.json();
    assert_eq!(view["status"], "awaiting_approval");
    let own = world.post(&path(&pending), &answer(&pending, "approve", "ann")).await;
    assert_eq!(own.problem(), (409, "own_deployment".to_owned()));
    let other = json!({"decision": "approve", "by": "bob", "artifact": "other", "nonce": pending["nonce"]});
    assert_eq!(world.post(&path(&pending), &other).await.problem(), (409, "other_question".to_owned()));
    let agreed = world.post(&path(&pending), &answer(&pending, "approve", "bob")).await;
    assert_eq!(agreed.status.as_u16(), 200, "{}", agreed.text);
    let ended = world.engine.wait(id.parse().unwrap()).await.unwrap();
    assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Succeeded));
    assert_eq!(world.get("/api/v1/approvals").await.json(), json!({"items": []}));
    assert_eq!(world.get("/api/v1/apps/shop").await.json()["approval"]["quorum"], 1);
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_agree_ends_it() {
    let (world, pending) = asked().await;
    let rejected = world.post(&path(&pending), &answer(&pending, "reject", "bob")).await;
    assert_eq!(rejected.status.as_u16(), 200);
    let ended = world.engine.wait(pending["deployment"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Cancelled));
    assert_eq!(world.runtime.containers(), []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_or_a_policy_that_means_nothing_is_refused() {
    let (world, pending) = asked().await;
    let perhaps = world.post(&path(&pending), &answer(&pending, "perhaps", "bob")).await;
    assert_eq!(perhaps.problem(), (400, "invalid_json".to_owned()));
    let body = json!({
        "name": "other", "source": {"type": "image", "image": "shop:1"}, "approval": {"quorum": 0}
    });
    let refused = world.post("/api/v1/apps", &body).await;
    assert_eq!(refused.problem(), (422, "invalid_quorum".to_owned()));
    assert_eq!(refused.json()["field"], "app.approval.quorum");
}
