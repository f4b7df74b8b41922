//! Projects: apps with environments.

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// A project that is an image: its environments are not for branches.
fn image() -> Value {
    json!({
        "template": {
            "name": "shop",
            "source": {"type": "image", "image": "shop:1"},
            "env": {"TOKEN": "hunter2-hunter2", "LEVEL": "info"},
            "health": {"interval_ms": 10, "deadline_ms": 400},
        },
        "environments": [
            {"name": "production", "production": true, "domains": ["shop.test"]},
            {"id": "0000000a", "name": "staging", "env": {"LEVEL": "debug", "SECRET": "hunter3"}, "port": 9000},
        ],
    })
}

fn git() -> Value {
    json!({
        "template": {
            "name": "site",
            "source": {"type": "git", "repository": "https://git.test/acme/site", "branch": "main"},
        },
        "environments": [
            {"name": "production", "production": true, "branches": ["main"], "auto_deploy": true},
            {"name": "preview", "previews": true, "branches": ["feature/*"], "auto_deploy": true},
        ],
    })
}

async fn put(world: &World, path: &str, body: &Value) -> Answer {
    let request = world.request(Method::PUT, path).header(header::CONTENT_TYPE, "application/json");
    world.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn create(world: &World, body: &Value) -> Value {
    let answer = world.post("/api/v1/projects", body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_project_is_made_deployed_and_removed() {
    let world = World::new().await;
    let answer = world.post("/api/v1/projects", &image()).await;
    assert_eq!((answer.status, answer.location.as_deref()), (StatusCode::CREATED, Some("/api/v1/projects/shop")));
    let made = answer.json();
    assert_eq!(made["apps"][1]["name"], "shop-env-staging");
    assert_eq!(
        made["apps"][1]["environment"],
        json!({"project": "shop", "id": "0000000a", "name": "staging", "branch": null})
    );
    for app in ["shop", "shop-env-staging"] {
        let deployment = world.post(&format!("/api/v1/apps/{app}/deployments"), &json!({"env": {"WHO": "me"}})).await;
        assert_eq!(deployment.status, StatusCode::ACCEPTED, "{}", deployment.text);
        let id = deployment.json()["id"].as_str().unwrap().parse().unwrap();
        let ended = world.engine.wait(id).await.unwrap();
        assert_eq!(ended.conclusion, Some(quark_core::Conclusion::Succeeded), "{:?}", ended.failure);
        assert!(ended.release.env.keys().any(|key| key.as_str() == "WHO"));
    }
    let staging = world.get("/api/v1/apps/shop-env-staging").await.json();
    assert_eq!((&staging["port"], &staging["environment"]["name"]), (&json!(9000), &json!("staging")));
    assert_eq!(staging["reachable_at"], json!(["shop-env-id-0000000a.localhost", "shop-env-staging.localhost"]));
    let removal = world.send(world.request(Method::DELETE, "/api/v1/projects/shop").body(Body::empty()).unwrap()).await;
    assert_eq!(removal.status, StatusCode::ACCEPTED, "{}", removal.text);
    for deployment in removal.json()["items"].as_array().unwrap() {
        world.engine.wait(deployment["id"].as_str().unwrap().parse().unwrap()).await.unwrap();
    }
    assert_eq!(world.get("/api/v1/projects/shop").await.problem(), (404, "project_not_found".to_owned()));
    assert!(world.runtime.containers().is_empty());
}

#[tokio::test]
async fn what_is_shown_can_be_given_back_and_shows_no_value() {
    let world = World::new().await;
    create(&world, &image()).await;
    create(&world, &git()).await;
    let shown = world.get("/api/v1/projects/shop").await;
    let list = world.get("/api/v1/projects").await;
    assert!(!shown.text.contains("hunter") && !list.text.contains("hunter"));
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
    let shown = shown.json();
    assert_eq!(shown["environments"][1]["keep_env"], json!(["LEVEL", "SECRET"]));
    let mut body = json!({
        "template": shown["template"], "keep_env": shown["keep_env"], "environments": shown["environments"],
        "version": shown["version"],
    });
    let same = put(&world, "/api/v1/projects/shop", &body).await;
    assert_eq!(same.status, StatusCode::OK, "{}", same.text);
    assert_eq!(same.json()["environments"], shown["environments"]);
    let project = world.engine.project(&"shop".parse().unwrap()).await.unwrap();
    let staging = project.apps.iter().find(|app| app.spec.name.as_str() == "shop-env-staging").unwrap();
    assert_eq!(staging.version.0, 1, "nothing of the app is different");
    // Renamed, with a new value and without another.
    body["version"] = same.json()["version"].clone();
    body["environments"][1]["name"] = json!("qa");
    body["environments"][1]["keep_env"] = json!(["SECRET"]);
    body["environments"][1]["env"] = json!({"LEVEL": "trace"});
    let changed = put(&world, "/api/v1/projects/shop", &body).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text);
    assert_eq!(changed.json()["apps"][1]["name"], "shop-env-staging");
    let stale = put(&world, "/api/v1/projects/shop", &body).await;
    assert_eq!(stale.problem(), (409, "version_changed".to_owned()));
}

#[tokio::test]
async fn what_is_not_acceptable_is_refused_by_field() {
    let world = World::new().await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = image();
        change(&mut body);
        body
    };
    for (body, code) in [
        (with(&|body| body["environments"][0]["production"] = json!(false)), "one_production"),
        (with(&|body| body["environments"][1]["name"] = json!("Staging")), "invalid_environment_name"),
        (with(&|body| body["environments"][1]["branches"] = json!(["**"])), "invalid_branch_pattern"),
        (with(&|body| body["environments"][1]["branches"] = json!(["main"])), "branch_needs_git"),
        (with(&|body| body["environments"][1]["keep_env"] = json!(["NEW"])), "no_such_variable"),
        (with(&|body| body["environments"][1]["env"] = json!({"1": "x"})), "invalid_env_key"),
        (with(&|body| body["template"]["name"] = json!("shop-env-x")), "name_reserved"),
        (with(&|body| body["template"]["domains"] = json!(["a.test"])), "template_domains"),
    ] {
        let answer = world.post("/api/v1/projects", &body).await;
        assert_eq!(answer.problem(), (422, code.to_owned()), "{}", answer.text);
    }
    create(&world, &image()).await;
    assert_eq!(world.post("/api/v1/projects", &image()).await.problem(), (409, "project_exists".to_owned()));
    let app = "/api/v1/apps/shop-env-staging";
    let removal = world.send(world.request(Method::DELETE, app).body(Body::empty()).unwrap()).await;
    assert_eq!(removal.problem(), (409, "app_of_project".to_owned()));
    let mut renamed = image();
    (renamed["version"], renamed["template"]["name"]) = (json!(1), json!("other"));
    assert_eq!(put(&world, "/api/v1/projects/shop", &renamed).await.problem(), (422, "project_name".to_owned()));
    let plain = json!({"name": "a-branch-b", "source": {"type": "image", "image": "shop:1"}});
    assert_eq!(world.post("/api/v1/apps", &plain).await.problem(), (422, "name_reserved".to_owned()));
}

#[tokio::test]
async fn a_branch_and_a_push_go_to_their_environment() {
    let world = World::new().await;
    create(&world, &git()).await;
    let deployments = "/api/v1/projects/site/deployments";
    assert_eq!(world.post(deployments, &json!({})).await.problem(), (422, "branch_missing".to_owned()));
    let none = world.post(deployments, &json!({"branch": "other"})).await;
    assert_eq!(none.problem(), (404, "no_environment".to_owned()));
    // This engine has no builder: the wish comes as far as that.
    assert_eq!(world.post(deployments, &json!({"branch": "main"})).await.status, StatusCode::NOT_IMPLEMENTED);
    let push = json!({
        "repository": "git@git.test:acme/site.git", "branch": "feature/a", "commit": "a".repeat(40), "key": "one",
    });
    let pushed = world.post("/api/v1/pushes", &push).await;
    assert_eq!(pushed.status, StatusCode::ACCEPTED, "{}", pushed.text);
    let item = &pushed.json()["items"][0];
    assert_eq!((&item["project"], &item["environment"]), (&json!("site"), &json!("preview")));
    assert_eq!((&item["deployment"], &item["code"]), (&Value::Null, &json!("unsupported")));
    assert_eq!(world.get("/api/v1/projects/site").await.json()["apps"].as_array().unwrap().len(), 2);
    let mut without = push.clone();
    without.as_object_mut().unwrap().remove("key");
    assert_eq!(world.post("/api/v1/pushes", &without).await.problem(), (422, "key_missing".to_owned()));
    let mut elsewhere = push;
    elsewhere["repository"] = json!("https://git.test/acme/other");
    assert_eq!(world.post("/api/v1/pushes", &elsewhere).await.json(), json!({"items": []}));
}
