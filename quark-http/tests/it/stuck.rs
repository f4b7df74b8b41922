//! What a person can do about a deployment that could not be cleaned up.

use quark_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::world::World;

/// A deployment whose container cannot be stopped: as often as it is tried.
async fn stuck(world: &World) -> Value {
    for _ in 0..8 {
        world.runtime.fail_next("stop", Error::new(ErrorKind::PermissionDenied, "it may not be stopped"));
    }
    let stuck = world.deploy("shop:silent").await;
    assert_eq!((&stuck["status"], &stuck["conclusion"]), (&json!("stuck"), &Value::Null));
    stuck
}

fn of(deployment: &Value, what: &str) -> String {
    format!("/api/v1/deployments/{}/{what}", deployment["id"].as_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn it_is_told_what_is_left_and_tried_again() {
    let world = World::paused().await;
    world.create_shop().await;
    let stuck = stuck(&world).await;
    let left = world.get(&of(&stuck, "leftovers")).await.json();
    assert_eq!((&left["step"], &left["maybe_routed"]), (&json!("undo"), &json!(false)));
    assert_eq!(left["failure"]["kind"], "permission_denied");
    let instance = &left["instances"][0];
    assert_eq!(instance["name"], world.runtime.containers()[0].name.as_str());
    assert_eq!((&instance["slot"], &instance["state"]), (&json!("blue"), &json!("started")));
    let retried = world.post(&of(&stuck, "retry"), &json!({})).await;
    assert_eq!(retried.status.as_u16(), 202);
    world.engine.wait(stuck["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    assert_eq!(world.runtime.containers(), []);
    for (path, is_read) in [("leftovers", true), ("retry", false), ("abandon", false)] {
        let path = of(&stuck, path);
        let answer = if is_read { world.get(&path).await } else { world.post(&path, &json!({})).await };
        assert_eq!(answer.problem(), (409, "not_stuck".to_owned()), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_abandoned() {
    let world = World::paused().await;
    world.create_shop().await;
    let stuck = stuck(&world).await;
    let abandoned = world.post(&of(&stuck, "abandon"), &json!({})).await;
    assert_eq!(abandoned.status.as_u16(), 200);
    assert_eq!(abandoned.json()["conclusion"], "failed");
    assert_eq!(world.deploy("shop:1").await["conclusion"], "succeeded");
}

#[tokio::test]
async fn what_does_not_exist_has_no_leftovers() {
    let world = World::new().await;
    let none = json!({"id": "0190f5a2-7c3e-7b1a-9d4e-2f6a8b0c1d2e"});
    assert_eq!(world.get(&of(&none, "leftovers")).await.problem(), (404, "deployment_not_found".to_owned()));
    for what in ["retry", "abandon"] {
        let answer = world.post(&of(&none, what), &json!({})).await;
        assert_eq!(answer.problem(), (404, "deployment_not_found".to_owned()));
    }
}
