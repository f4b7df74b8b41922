//! Rows 17 to 21 and 38: the router refuses, is silent, is away, is busy.

use std::time::Duration;

use quark_core::{DeployRequest, Error, ErrorKind, Slot, State, StepName};

use super::stage::{Fate, Scene, Stage, after, away, before, before_route, end, fail, named, silence, succeed};

fn invalid() -> Error {
    Error::new(ErrorKind::InvalidConfig, "unknown directive `prox_pass`").with_code("router_config_invalid")
}

fn no_space() -> Error {
    Error::new(ErrorKind::ResourceExhausted, "no space is left for the route").with_code("no_space")
}

fn to_green(route: &quark_core::backend::Route) -> bool {
    route.active == Slot::Green && route.app == super::stage::name()
}

#[tokio::test(start_paused = true)]
async fn row_17_a_route_that_is_invalid() {
    let scene = Scene::new().await;
    scene.engine.create_app(named("alpha")).await.unwrap();
    let outage = scene.fate.fail(before_route(to_green), invalid);
    let wanted = scene.second().await;
    let other = scene.engine.deploy(&named("alpha").name, DeployRequest::commit(scene.stage.good())).await.unwrap();
    let ended = fail(&scene.engine, wanted.id, "router_config_invalid").await;
    let failure = ended.failure.unwrap();
    assert_eq!(failure.step, Some(StepName::Promote));
    assert!(failure.message.contains("prox_pass"), "what the router said is lost: {failure}");
    // It would fail again, so it was not tried again; and nobody else was hindered.
    assert_eq!(scene.stage.records(wanted.id, StepName::Promote).await.len(), 1);
    succeed(&scene.engine, other.id).await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    assert!(scene.stage.container(wanted.id).is_none());
}

/// The router says nothing wrong and goes on with the routes before.
#[tokio::test(start_paused = true)]
async fn row_18_a_change_that_is_rejected_in_silence() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before_route(to_green), silence);
    let wanted = scene.second().await;
    let ended = fail(&scene.engine, wanted.id, "timeout").await;
    assert_eq!(ended.failure.unwrap().step, Some(StepName::Promote));
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    scene.stage.at_rest().await;
}

/// It was done after all: then what was done stands.
#[tokio::test(start_paused = true)]
async fn row_18_a_change_whose_confirmation_is_lost() {
    let scene = Scene::new().await;
    scene.fate.fail_times(after("router.apply"), 1, silence);
    let wanted = scene.second().await;
    succeed(&scene.engine, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_19_a_router_that_is_down() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before("router."), away);
    let wanted = scene.second().await;
    let failure = fail(&scene.engine, wanted.id, "router_away").await.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(StepName::Promote), ErrorKind::Unavailable));
    // Nothing was begun, so nothing had to be put back, and nobody is asked for.
    assert_eq!(scene.fate.count("router.apply"), 0);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    scene.stage.at_rest().await;
    succeed(&scene.engine, scene.second().await.id).await;
}

#[tokio::test(start_paused = true)]
async fn row_19_a_router_that_is_down_for_a_moment() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before("router."), away);
    let wanted = scene.second().await;
    outage.met(3).await;
    scene.stage.pass(Duration::from_secs(20)).await;
    outage.end();
    succeed(&scene.engine, wanted.id).await;
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_19_a_router_that_goes_down_in_a_switch() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before("router.apply"), away);
    let wanted = scene.second().await;
    // Its old workers still serve; nobody knows whether they obey.
    let stuck = end(&scene.engine, wanted.id).await;
    assert_eq!(stuck.state, State::Stuck);
    assert!(scene.engine.leftovers(wanted.id).await.unwrap().maybe_routed);
    assert!(scene.stage.runs(scene.first.id), "what serves was stopped");
    assert!(scene.stage.runs(wanted.id), "what may serve was stopped");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    scene.engine.retry(wanted.id).await.unwrap();
    fail(&scene.engine, wanted.id, "unavailable").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_20_two_apps_are_switched_at_once() {
    let scene = Scene::new().await;
    let alpha = named("alpha").name;
    scene.engine.create_app(named("alpha")).await.unwrap();
    let gates = [scene.fate.hold(before("router.apply")), scene.fate.hold(before("router.apply"))];
    let one = scene.second().await;
    let two = scene.engine.deploy(&alpha, DeployRequest::commit(scene.stage.good())).await.unwrap();
    for gate in &gates {
        gate.reached().await;
    }
    gates.iter().for_each(super::stage::Gate::open);
    succeed(&scene.engine, one.id).await;
    succeed(&scene.engine, two.id).await;
    assert_eq!(scene.stage.served_by().await, Some(one.id));
    assert!(scene.stage.router.open(&alpha).is_some());
}

/// A router may have to work for each change, so nothing asks for one that changes nothing.
#[tokio::test(start_paused = true)]
async fn row_21_looking_at_many_apps_changes_no_route() {
    let stage = Stage::new();
    let fate = Fate::default();
    let engine = stage.engine(&fate).await;
    let mut wanted = Vec::new();
    for number in 0..20 {
        let app = named(&format!("app-{number}"));
        let id = app.name.clone();
        engine.create_app(app).await.unwrap();
        wanted.push(engine.deploy(&id, DeployRequest::commit(stage.good())).await.unwrap().id);
    }
    for id in wanted {
        succeed(&engine, id).await;
    }
    // A first version has nothing to be backed by: one change each.
    assert_eq!(fate.count("router.apply"), 20);
    let passes = fate.count("runtime.list");
    stage.pass(Duration::from_secs(3600)).await;
    assert!(fate.count("runtime.list") >= passes + 50, "nobody has looked");
    assert_eq!(fate.count("router.apply"), 20);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn row_38_no_space_for_the_route() {
    let scene = Scene::new().await;
    let outage = scene.fate.fail(before_route(to_green), no_space);
    let wanted = scene.second().await;
    fail(&scene.engine, wanted.id, "no_space").await;
    // Once more, and not for ever.
    assert_eq!(scene.stage.records(wanted.id, StepName::Promote).await.len(), 2);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    outage.end();
    scene.stage.at_rest().await;
    succeed(&scene.engine, scene.second().await.id).await;
}
