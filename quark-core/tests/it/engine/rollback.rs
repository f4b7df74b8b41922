//! Rolling back: to what still runs, and to what has to be started again.

use std::time::Duration;

use quark_core::memory::{Behaviour, Health};
use quark_core::{App, Conclusion, DeploymentEngine, Domain, ErrorKind, RollbackRequest, Source, StepName, Timing};

use super::world::{REPOSITORY, World, app, deploy, deploy_well, end, eventually, name, roll_back};

#[tokio::test]
async fn to_the_standby_nothing_is_built_or_started() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let effects = world.runtime.effects().len();
    let back = roll_back(&engine).await;
    assert_eq!(world.runtime.effects().len(), effects, "a container was touched");
    assert_eq!((back.slot, &back.artifact, &back.revision), (first.slot, &first.artifact, &first.revision));
    world.check_rest().await;
    // And forth again.
    roll_back(&engine).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn to_a_retired_version_the_same_image_is_started_anew() {
    let world = World::new();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::ZERO, ..app().timing };
    engine.create_app(app().with_timing(timing).with_env("MODE", "one").unwrap()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let record = engine.app(&name()).await.unwrap();
    let changed = app().with_timing(timing).with_env("MODE", "two").unwrap();
    engine.update_app(changed, record.version).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    eventually("the standby is gone", || async { world.app().await.serving.standby.is_none() }).await;
    let back = roll_back(&engine).await;
    assert_eq!(back.artifact, first.artifact);
    assert_eq!(world.builder.builds().len(), 2, "nothing was built for the rollback");
    let mode = back.release.env.iter().find(|(key, _)| key.as_str() == "MODE").unwrap().1;
    assert_eq!(mode.expose(), "one", "a rollback brings the variables of then back");
    eventually("the standby is gone", || async { world.app().await.serving.standby.is_none() }).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn a_dead_standby_is_started_anew() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let container = world
        .runtime
        .containers()
        .into_iter()
        .find(|c| c.name.as_str().contains(&first.id.as_uuid().simple().to_string()));
    assert!(world.runtime.kill(&container.unwrap().name));
    let back = roll_back(&engine).await;
    let steps = engine.steps(back.id).await.unwrap();
    assert!(steps.iter().any(|step| step.name == StepName::Start), "it was not started");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn an_image_that_was_pruned_is_built_again_from_the_same_commit() {
    let world = World::new();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::ZERO, ..app().timing };
    engine.create_app(app().with_timing(timing)).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    eventually("the standby is gone", || async { world.app().await.serving.standby.is_none() }).await;
    world.builder.prune();
    let back = roll_back(&engine).await;
    assert_eq!(back.revision.commit, first.revision.commit);
    engine.shutdown().await;
}

#[tokio::test]
async fn after_a_bad_version_the_one_before_the_live_one_is_meant() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    deploy(&engine, &world.commit(Behaviour::with_health(Health::Status(500)))).await;
    let back = roll_back(&engine).await;
    assert_eq!(back.revision, first.revision);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_rolled_back_to_is_refused() {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let none = engine.rollback(&name(), RollbackRequest::default()).await.unwrap_err();
    assert_eq!((none.kind(), none.code()), (ErrorKind::Conflict, "nothing_to_roll_back_to"));
    let live = deploy_well(&engine, &world.good()).await;
    let bad = deploy(&engine, &world.commit(Behaviour::with_health(Health::Status(500)))).await;
    for (to, code) in [(live.id, "already_live"), (bad.id, "not_a_release")] {
        let request = RollbackRequest { to: Some(to), ..RollbackRequest::default() };
        assert_eq!(engine.rollback(&name(), request).await.unwrap_err().code(), code);
    }
    let end_state = end(&engine, live.id).await;
    assert!(end_state.conclusion.is_some());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_of_the_apps_former_life_is_not_its_own() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let before = deploy_well(&engine, &world.good()).await;
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    world.end(&engine, removal.id).await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let request = RollbackRequest { to: Some(before.id), ..RollbackRequest::default() };
    let error = engine.rollback(&name(), request).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "deployment_not_of_app"));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    engine.shutdown().await;
}

fn address() -> Domain {
    "www.shop.example".parse().unwrap()
}

/// The app gives its address up, and another one takes it.
async fn give_the_address_away(engine: &DeploymentEngine) {
    let record = engine.app(&name()).await.unwrap();
    engine.update_app(app(), record.version).await.unwrap();
    let heir = App::new("heir", Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake();
    engine.create_app(heir.with_domain(address())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_address_is_of_another_app_by_now_is_refused() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_domain(address())).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    give_the_address_away(&engine).await;
    let live = deploy_well(&engine, &world.good()).await;
    let error = engine.rollback(&name(), RollbackRequest::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "domain_taken"));
    assert!(error.message().contains(address().as_str()), "which one? {error}");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_taken_on_the_way_is_not_promoted() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_domain(address())).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    let before = world.router.route(&name()).unwrap();
    let (wanted, commit) = world.under_way(&engine).await;
    give_the_address_away(&engine).await;
    world.builder.release(&commit);
    let ended = world.end(&engine, wanted.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    let failure = ended.failure.unwrap();
    assert_eq!((failure.step, failure.code.as_str()), (Some(StepName::Promote), "domain_taken"));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    let after = world.router.route(&name()).unwrap();
    assert_eq!((after.active, after.domains), (before.active, before.domains));
    world.check_rest().await;
    engine.shutdown().await;
}
