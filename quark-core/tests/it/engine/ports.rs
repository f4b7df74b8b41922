//! A slot whose address somebody else has gets another one.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use quark_core::backend::ContainerState;
use quark_core::deployment::StepPhase;
use quark_core::memory::{Behaviour, Health, Held};
use quark_core::{Conclusion, DeployRequest, Deployment, DeploymentEngine, Endpoint, Result, Slot, StepName};

use super::hooked::{Hook, Hooked};
use super::world::{Parts, World, app, deploy_well, name};

/// Takes the address of the container that is about to be started, so many times.
struct Thief {
    left: Arc<Mutex<usize>>,
    stolen: Arc<Mutex<Vec<(Endpoint, Held)>>>,
}

impl Thief {
    fn new() -> Self {
        Self { left: Arc::default(), stolen: Arc::default() }
    }

    fn hook(&self, world: &World, operation: &'static str, state: ContainerState) -> Hook {
        let (left, stolen, runtime) = (Arc::clone(&self.left), Arc::clone(&self.stolen), world.runtime.clone());
        Arc::new(move |at| {
            let mut left = left.lock().unwrap();
            if at == operation && *left > 0 {
                let containers = runtime.containers().into_iter();
                let new = containers.filter(|container| container.state == state).map(|c| c.name).max().unwrap();
                let endpoint = runtime.spec(&new).unwrap().endpoint().cloned().unwrap();
                let mut stolen = stolen.lock().unwrap();
                if stolen.last().is_none_or(|(last, _)| *last != endpoint) {
                    *left -= 1;
                    stolen.push((endpoint.clone(), runtime.occupy(&endpoint)));
                }
            }
            Box::pin(async { Ok(()) }) as BoxFuture<'static, Result<()>>
        })
    }

    fn steal(&self, times: usize) {
        *self.left.lock().unwrap() = times;
    }

    fn stolen(&self) -> Vec<Endpoint> {
        self.stolen.lock().unwrap().iter().map(|(endpoint, _)| endpoint.clone()).collect()
    }
}

async fn engine(operation: &'static str, state: ContainerState) -> (World, Thief, DeploymentEngine) {
    let (world, thief) = (World::paused(), Thief::new());
    let hook = thief.hook(&world, operation, state);
    let runtime = Arc::new(Hooked::new(world.runtime.clone(), hook));
    let engine = world.start("test", Parts { runtime, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    (world, thief, engine)
}

async fn deploy(world: &World, engine: &DeploymentEngine, behaviour: Behaviour) -> Deployment {
    let request = DeployRequest::commit(world.commit(behaviour));
    let deployment = engine.deploy(&name(), request).await.unwrap();
    world.end(engine, deployment.id).await
}

#[tokio::test(start_paused = true)]
async fn its_own_and_two_others_are_tried_within_one_deployment() {
    let (world, thief, engine) = engine("start", ContainerState::Created).await;
    let live = deploy_well(&engine, &world.good()).await;
    let kept = world.app().await.serving.blue;
    thief.steal(2);
    let ended = deploy(&world, &engine, Behaviour::healthy()).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    let serving = world.app().await.serving;
    assert_eq!((ended.slot, serving.contested, &serving.blue), (Some(Slot::Green), None, &kept));
    // The container was made anew for each address: it knows its own.
    let stolen = thief.stolen();
    assert_eq!(stolen.len(), 2);
    let spec = world.runtime.spec(&world.container(ended.id)).unwrap();
    assert_eq!(spec.endpoint(), serving.green.as_ref());
    assert!(!stolen.contains(spec.endpoint().unwrap()));
    let made = world.runtime.effects().into_iter().filter(|effect| effect.operation == "create");
    assert_eq!(made.filter(|effect| effect.target == spec.name.as_str()).count(), 3);
    let rows = world.rows(ended.id, StepName::Start).await;
    assert_eq!(rows.iter().filter(|row| row.phase == StepPhase::Failed).count(), 2);
    assert_eq!(serving.previous, Some(live.id));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_no_luck_at_all_fails_and_leaves_nothing() {
    let (world, thief, engine) = engine("start", ContainerState::Created).await;
    let live = deploy_well(&engine, &world.good()).await;
    thief.steal(usize::MAX);
    let ended = deploy(&world, &engine, Behaviour::healthy()).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    assert_eq!(ended.failure.unwrap().code, "port_taken");
    assert_eq!(thief.stolen().len(), 3, "its own, and two others");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.id);
    world.check_rest().await;
    // The next one begins with another address.
    thief.steal(0);
    deploy_well(&engine, &world.good()).await;
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_taken_while_the_container_starts_is_given_up_too() {
    let (world, thief, engine) = engine("listening", ContainerState::Running).await;
    thief.steal(1);
    // It does not get its port, and runs all the same.
    let ended = deploy(&world, &engine, Behaviour::with_health(Health::NeverListens)).await;
    let rows = world.rows(ended.id, StepName::Probe).await;
    let codes: Vec<_> =
        rows.iter().filter_map(|row| row.failure.as_ref()).map(|failure| failure.code.as_str()).collect();
    assert_eq!(codes, ["port_taken", "never_listened"]);
    world.check_rest().await;
    engine.shutdown().await;
}
