//! Containers of ours that nothing refers to are removed, with care.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use quark_core::backend::{Call, ContainerSpec, InstanceSpec, Purpose, Route};
use quark_core::deployment::{Fence, StepPhase, SupersedePolicy};
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    App, AppName, Conclusion, ContainerName, ContainerRuntime, DeployRequest, Deployment, DeploymentEngine,
    DeploymentId, Endpoint, HealthCheck, Result, Router, Source, State, StepName, Timing,
};

use super::hooked::Hooked;
use super::world::{Parts, REPOSITORY, World, app, deploy, deploy_well, name, roll_back};

/// A pass of the comparison with the world.
const PASS: Duration = Duration::from_secs(61);

async fn engine() -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    let timing = Timing { grace: Duration::from_secs(7 * 24 * 3600), ..app().timing };
    engine.create_app(app().with_timing(timing)).await.unwrap();
    (world, engine)
}

/// Makes a container that nothing refers to: the effect of a call that was
/// given up and came through later.
async fn plant(world: &World, deployment: DeploymentId, replica: u16) -> ContainerName {
    let like = world.runtime.containers().into_iter().next().unwrap().name;
    let like = world.runtime.spec(&like).unwrap();
    put(
        world,
        ContainerSpec {
            name: ContainerName::of(&name(), deployment, replica),
            deployment,
            ..like.at(Endpoint::new(format!("memory:stray-{deployment}-{replica}")))
        },
    )
    .await
}

async fn put(world: &World, spec: ContainerSpec) -> ContainerName {
    let call = Call::new("late", Fence(1), Duration::from_secs(5)).with_clock(Arc::clone(&world.clock));
    let created = world.runtime.create(&call, &spec).await.unwrap();
    world.runtime.start(&call, &created.id).await.unwrap();
    spec.name
}

fn is_there(world: &World, container: &ContainerName) -> bool {
    world.runtime.spec(container).is_some()
}

/// A deployment that has failed and left nothing.
async fn failed(world: &World, engine: &DeploymentEngine) -> Deployment {
    let deployment = deploy(engine, &world.commit(Behaviour::with_health(Health::Status(500)))).await;
    assert_eq!(deployment.conclusion, Some(Conclusion::Failed));
    deployment
}

#[tokio::test(start_paused = true)]
async fn an_orphan_is_removed_and_journaled() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let ended = failed(&world, &engine).await;
    // Two of one deployment, at once.
    let orphans = [plant(&world, ended.id, 0).await, plant(&world, ended.id, 7).await];
    world.pass(PASS).await;
    assert!(orphans.iter().all(|orphan| !is_there(&world, orphan)));
    let rows = world.rows(ended.id, StepName::Collect).await;
    assert_eq!((rows.len(), rows[0].phase), (1, StepPhase::Done));
    let stopped = world.runtime.effects().into_iter().filter(|effect| effect.key.ends_with(":collect"));
    assert_eq!(stopped.count(), 4, "both were stopped and removed, under the key of the step");
    assert_eq!(engine.deployment(ended.id).await.unwrap().conclusion, ended.conclusion);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_of_an_app_that_is_gone_is_removed() {
    let (world, engine) = engine().await;
    let ended = deploy_well(&engine, &world.good()).await;
    let like = world.runtime.spec(&world.container(ended.id)).unwrap();
    let removal = engine.remove_app(&name(), "alice").await.unwrap();
    world.end(&engine, removal.id).await;
    let orphan = put(&world, like).await;
    world.pass(PASS).await;
    assert!(!is_there(&world, &orphan));
    assert_eq!(world.rows(ended.id, StepName::Collect).await.len(), 1);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_somebody_else_is_left_alone() {
    let (world, engine) = engine().await;
    let live = deploy_well(&engine, &world.good()).await;
    let ended = failed(&world, &engine).await;
    let like = world.runtime.spec(&world.container(live.id)).unwrap();
    // Another installation on the same machine, with deployments of the same names.
    let stranger = put(
        &world,
        ContainerSpec {
            installation: "somebody-else".into(),
            name: ContainerName::of(&AppName::parse("other").unwrap(), ended.id, 0),
            deployment: ended.id,
            ..like.at(Endpoint::new("memory:stranger"))
        },
    )
    .await;
    world.pass(10 * PASS).await;
    assert!(is_there(&world, &stranger));
    assert_eq!(world.running().len(), 2);
    assert_eq!(world.rows(ended.id, StepName::Collect).await, []);
    assert_eq!(engine.safe_mode(), None);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_stands_by_or_is_gone_back_to_is_never_removed() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    roll_back(&engine).await;
    let kept: Vec<_> = world.runtime.containers().into_iter().map(|container| container.id).collect();
    world.pass(2 * 60 * PASS).await;
    let after: Vec<_> = world.runtime.containers().into_iter().map(|container| container.id).collect();
    assert_eq!(after, kept);
    roll_back(&engine).await;
    world.pass(10 * PASS).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_deployment_under_way_has_made_is_not_removed() {
    let world = World::paused();
    let engine = world.engine().await;
    let health = HealthCheck { deadline: 30 * PASS, interval: Duration::from_secs(1), ..app().health };
    engine.create_app(app().with_health(health)).await.unwrap();
    let silent = world.commit(Behaviour::with_health(Health::NeverListens));
    let deployment = engine.deploy(&name(), DeployRequest::commit(silent)).await.unwrap();
    let probed = || async { engine.deployment(deployment.id).await.unwrap().state == State::Probing };
    world.until("it is probed", probed).await;
    // Also one that the deployment itself does not know: it may be just being made.
    let unknown = plant(&world, deployment.id, 7).await;
    let other = world.start("other", world.parts()).await;
    world.pass(10 * PASS).await;
    assert!(is_there(&world, &unknown));
    assert!(is_there(&world, &world.container(deployment.id)));
    engine.cancel(deployment.id, "test").await.unwrap();
    world.end(&engine, deployment.id).await;
    world.pass(PASS).await;
    assert_eq!(world.runtime.containers(), []);
    engine.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn so_many_orphans_that_the_store_must_be_wrong_are_left_alone() {
    let (world, engine) = engine().await;
    deploy_well(&engine, &world.good()).await;
    let ended = [failed(&world, &engine).await, failed(&world, &engine).await];
    let mut orphans = Vec::new();
    for replica in 0..2 {
        for deployment in &ended {
            orphans.push(plant(&world, deployment.id, replica).await);
        }
    }
    world.pass(10 * PASS).await;
    assert!(orphans.iter().all(|orphan| is_there(&world, orphan)), "four of five containers are orphans");
    // One less is what a small machine may have.
    let last = orphans.pop().unwrap();
    let call = Call::new("by hand", Fence(1), Duration::from_secs(5));
    let observed = world.runtime.inspect(&last).await.unwrap().unwrap();
    world.runtime.kill(&last);
    world.runtime.remove(&call, &observed.id, &observed.labels).await.unwrap();
    world.pass(PASS).await;
    assert!(orphans.iter().all(|orphan| !is_there(&world, orphan)));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_has_looked_may_have_them_removed() {
    let (world, engine) = engine().await;
    let live = deploy_well(&engine, &world.good()).await;
    let mut orphans = BTreeSet::new();
    for _ in 0..7 {
        let ended = failed(&world, &engine).await;
        orphans.insert(plant(&world, ended.id, 0).await);
    }
    let garbage = engine.garbage().await.unwrap();
    assert_eq!((garbage.managed, garbage.is_suspicious()), (8, true));
    assert_eq!(garbage.orphans.iter().map(|orphan| orphan.name.clone()).collect::<BTreeSet<_>>(), orphans);
    assert_eq!(world.runtime.containers().len(), 8, "looking removes nothing");
    assert_eq!(engine.collect_garbage().await.unwrap(), garbage);
    assert_eq!(engine.garbage().await.unwrap().orphans, []);
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_removes_five_at_most() {
    let (world, engine) = engine().await;
    let mut orphans = Vec::new();
    for n in 0..14 {
        let spec = App::new(&format!("app-{n}"), Source::git(REPOSITORY, "main").unwrap()).unwrap().without_bake();
        engine.create_app(spec.clone()).await.unwrap();
        let live = engine.deploy(&spec.name, DeployRequest::commit(world.good())).await.unwrap();
        assert_eq!(world.end(&engine, live.id).await.conclusion, Some(Conclusion::Succeeded));
    }
    for _ in 0..6 {
        let ended = failed(&world, &engine).await;
        orphans.push(ended.id);
    }
    // Not earlier: a pass may go by while the last one fails.
    for id in &orphans {
        plant(&world, *id, 0).await;
    }
    assert_eq!(world.runtime.containers().len(), 20);
    let mut seen = vec![20];
    for _ in 0..140 {
        world.pass(Duration::from_secs(1)).await;
        let now = world.runtime.containers().len();
        if seen.last() != Some(&now) {
            seen.push(now);
        }
    }
    assert_eq!(seen, [20, 15, 14]);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_made_while_the_world_is_read_is_not_touched() {
    let world = World::paused();
    // The other engine deploys between the look at the containers and the look at the store.
    let worker = world.start("other", world.parts()).await;
    worker.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    deploy_well(&worker, &world.good()).await;
    let (deployer, made) = (worker.clone(), Arc::new(Mutex::new(Vec::new())));
    let (commits, kept) = (Mutex::new(vec![world.good(), world.good()]), Arc::clone(&made));
    let hook = move |operation: &'static str| {
        let commit = matches!(operation, "list" | "listed").then(|| commits.lock().unwrap().pop()).flatten();
        let (engine, made) = (deployer.clone(), Arc::clone(&kept));
        Box::pin(async move {
            if let Some(commit) = commit {
                let live = deploy_well(&engine, &commit).await;
                made.lock().unwrap().push((operation, live.id));
            }
            Ok(())
        }) as BoxFuture<'static, Result<()>>
    };
    let runtime = Arc::new(Hooked::new(world.runtime.clone(), Arc::new(hook)));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    world.pass(PASS).await;
    let made = made.lock().unwrap().clone();
    assert_eq!(made.iter().map(|(at, _)| *at).collect::<Vec<_>>(), ["list", "listed"]);
    for (at, id) in made {
        assert!(is_there(&world, &world.container(id)), "made before `{at}`");
        assert_eq!(world.rows(id, StepName::Collect).await, []);
    }
    assert_eq!(engine.safe_mode(), None);
    world.check_rest().await;
    engine.shutdown().await;
    worker.shutdown().await;
}

/// An orphan in the idle slot, to which the route points all of a sudden.
async fn routed_orphan(world: &World, deployment: DeploymentId) -> ContainerName {
    let serving = world.app().await.serving;
    let idle = serving.idle_slot();
    let like = world.runtime.spec(&world.container(serving.live.clone().unwrap().deployment)).unwrap();
    let endpoint = serving.endpoint(idle).unwrap().clone();
    let instance = like.instance().unwrap().clone();
    let purpose = Purpose::Instance(InstanceSpec { endpoint, slot: idle, ..instance });
    let name = ContainerName::of(&name(), deployment, 0);
    let orphan = put(world, ContainerSpec { name, deployment, purpose, ..like }).await;
    let route = world.router.route(&super::world::name()).unwrap();
    let call = Call::new("by hand", route.fence, PASS).with_clock(Arc::clone(&world.clock));
    world.router.apply(&call, &Route { active: idle, ..route }).await.unwrap();
    orphan
}

#[tokio::test(start_paused = true)]
async fn what_requests_still_go_to_is_no_garbage_until_they_go_elsewhere() {
    let (world, engine) = engine().await;
    let live = deploy_well(&engine, &world.good()).await;
    let ended = failed(&world, &engine).await;
    let orphan = routed_orphan(&world, ended.id).await;
    // Also if a person wants all of it gone.
    engine.collect_garbage().await.unwrap();
    assert!(world.answers(world.router.open(&name()).unwrap().endpoint()).await, "what users are sent to was removed");
    let refused = world.rows(ended.id, StepName::Collect).await.pop().unwrap();
    assert_eq!((refused.phase, refused.failure.unwrap().code.as_str()), (StepPhase::Failed, "still_routed"));
    // The route is put back first; then it is removed.
    world.pass(2 * PASS).await;
    assert_eq!(Some(world.router.route(&name()).unwrap().active), live.slot);
    assert!(!is_there(&world, &orphan));
    world.check_rest().await;
    engine.shutdown().await;
}
