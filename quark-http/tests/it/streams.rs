//! What is sent as it happens.

use axum::body::Body;
use axum::http::Method;
use serde_json::Value;

use crate::world::World;

/// The events of a stream: id, name, data.
fn parse(text: &str) -> Vec<(Option<u64>, String, String)> {
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter(|event| !event.trim().is_empty())
        .map(|event| {
            let id = field(event, "id:").map(|id| id.parse().unwrap());
            (id, field(event, "event:").unwrap_or_default(), field(event, "data:").unwrap_or_default())
        })
        .collect()
}

#[tokio::test]
async fn events_lead_to_the_end_and_can_be_taken_up_again() {
    let world = World::new().await;
    world.create_shop().await;
    let deployed = world.deploy("shop:1").await;
    let path = format!("/api/v1/deployments/{}/events", deployed["id"].as_str().unwrap());
    let answer = world.get(&path).await;
    assert!(answer.kind.starts_with("text/event-stream"));
    let events = parse(&answer.text);
    let last = events.last().unwrap();
    assert_eq!(last.1, "end", "a client cannot tell the end from a cut");
    let names: Vec<_> = events
        .iter()
        .filter(|event| event.1 == "deployment")
        .map(|event| serde_json::from_str::<Value>(&event.2).unwrap()["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("created"));
    assert_eq!(names.last().map(String::as_str), Some("completed"));

    let request = world.request(Method::GET, &path).header("last-event-id", events[2].0.unwrap().to_string());
    let rest = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(parse(&rest.text), events[3..]);
    for bad in ["-1", "9e99", "x"] {
        let request = world.request(Method::GET, &path).header("last-event-id", bad);
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.problem(), (400, "invalid_cursor".to_owned()));
    }
}

#[tokio::test]
async fn logs_of_a_deployment_hold_what_the_app_said() {
    let world = World::new().await;
    world.create_shop().await;
    let bad = world.deploy("shop:bad").await;
    let answer = world.get(&format!("/api/v1/deployments/{}/logs", bad["id"].as_str().unwrap())).await;
    let lines: Vec<Value> = parse(&answer.text)
        .iter()
        .filter(|event| event.1 == "log")
        .map(|event| serde_json::from_str(&event.2).unwrap())
        .collect();
    assert!(lines.iter().any(|line| line["text"] == "no database"));
    assert!(lines.iter().zip(1..).all(|(line, number)| line["sequence"] == number));
}

#[tokio::test]
async fn the_live_version_can_be_listened_to() {
    let world = World::new().await;
    world.create_shop().await;
    world.deploy("shop:1").await;
    let answer = world.get("/api/v1/apps/shop/logs?follow=false").await;
    assert!(answer.text.contains("hello from one"), "{}", answer.text);
}
