//! Deployments because of pushes, which are told late, twice and out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quark_core::deployment::{IdempotencyKey, SupersedePolicy, Trigger};
use quark_core::{BranchName, CommitSha, Conclusion, DeployRequest, DeploymentEngine, Error, ErrorKind};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well, name};

fn push(commit: &CommitSha) -> DeployRequest {
    let delivery = IdempotencyKey::parse(format!("push:{commit}")).unwrap();
    DeployRequest::push(commit.clone(), delivery)
}

async fn live(world: &World) -> Option<CommitSha> {
    let live = world.app().await.serving.live?;
    let snapshot = quark_core::Store::deployment(&world.store, live.deployment).await.unwrap()?;
    snapshot.revision.commit
}

async fn engine(policy: SupersedePolicy) -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(policy)).await.unwrap();
    (world, engine)
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// How far the deployment of a delivery comes before the next one arrives.
#[derive(Clone, Copy, Debug)]
enum Pace {
    AtOnce,
    WhileItIsBuilt,
    AfterItsEnd,
}

async fn deliver_in_every_order(policy: SupersedePolicy) {
    for pace in [Pace::AtOnce, Pace::WhileItIsBuilt, Pace::AfterItsEnd] {
        for order in ORDERS {
            let (world, engine) = engine(policy).await;
            let pushed = [world.good(), world.good(), world.good()];
            let mut wanted = Vec::new();
            for at in order {
                let deployment = engine.deploy(&name(), push(&pushed[at])).await.unwrap();
                // Each is told a second time.
                assert_eq!(engine.deploy(&name(), push(&pushed[at])).await.unwrap().id, deployment.id);
                wanted.push(deployment.id);
                match pace {
                    Pace::AtOnce => {}
                    Pace::WhileItIsBuilt => {
                        world
                            .until("it has begun", || async {
                                engine.deployment(deployment.id).await.unwrap().started_at.is_some()
                            })
                            .await
                    }
                    Pace::AfterItsEnd => drop(world.end(&engine, deployment.id).await),
                }
            }
            for id in wanted {
                world.end(&engine, id).await;
            }
            assert_eq!(live(&world).await.as_ref(), Some(&pushed[2]), "{policy:?} {pace:?} {order:?}");
            world.check_rest().await;
            engine.shutdown().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_every_order_of_deliveries_the_head_is_live_at_the_end() {
    deliver_in_every_order(SupersedePolicy::Coalesce).await;
}

#[tokio::test(start_paused = true)]
async fn also_where_only_those_that_wait_are_superseded() {
    deliver_in_every_order(SupersedePolicy::QueuedOnly).await;
}

#[tokio::test(start_paused = true)]
async fn also_where_every_one_is_deployed() {
    deliver_in_every_order(SupersedePolicy::Serial).await;
}

#[tokio::test(start_paused = true)]
async fn a_late_delivery_gives_way_to_what_is_live() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (older, head) = (world.good(), world.good());
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    world.end(&engine, newer.id).await;
    let late = engine.deploy(&name(), push(&older)).await.unwrap();
    let late = world.end(&engine, late.id).await;
    assert_eq!((late.conclusion, late.failure), (Some(Conclusion::Superseded), None));
    assert_eq!(late.cancel.unwrap().superseded_by, Some(newer.id));
    assert_eq!(world.builder.builds().len(), 1, "nothing was built for it");
    assert_eq!(live(&world).await, Some(head));
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_gives_way_although_the_repository_is_away_for_a_moment() {
    let world = World::paused();
    let away = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&away);
    let source = Hooked::failing(world.source.clone(), move |operation| {
        let away = operation == "resolve"
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        away.then(|| Error::new(ErrorKind::Unavailable, "the host does not answer"))
    });
    let engine = world.start("test", Parts { source, ..world.parts() }).await;
    engine.create_app(app()).await.unwrap();
    let older = world.good();
    // Built before, so that nothing has to be fetched for it.
    let before = engine.deploy(&name(), DeployRequest::commit(older.clone())).await.unwrap();
    world.end(&engine, before.id).await;
    let head = world.good();
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    world.end(&engine, newer.id).await;
    away.store(1, Ordering::SeqCst);
    let late = engine.deploy(&name(), push(&older)).await.unwrap();
    assert_eq!(world.end(&engine, late.id).await.conclusion, Some(Conclusion::Superseded));
    assert_eq!(live(&world).await, Some(head));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_takes_the_head_while_nobody_has_told_of_that() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (pushed, head) = (world.good(), world.good());
    let deployment = engine.deploy(&name(), push(&pushed)).await.unwrap();
    let ended = world.end(&engine, deployment.id).await;
    assert_eq!((ended.conclusion, ended.revision.commit.as_ref()), (Some(Conclusion::Succeeded), Some(&head)));
    // When it is told at last, nothing has to be built.
    let told = engine.deploy(&name(), push(&head)).await.unwrap();
    assert_eq!(world.end(&engine, told.id).await.artifact, ended.artifact);
    assert_eq!(world.builder.builds().len(), 1);
    assert_eq!(live(&world).await, Some(head));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_older_commit_goes_live_because_the_head_has_failed() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let before = deploy_well(&engine, &world.good()).await;
    let (older, head) = (world.good(), world.good());
    world.builder.fail(&head, "it does not compile");
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    assert_eq!(world.end(&engine, newer.id).await.conclusion, Some(Conclusion::Failed));
    let late = engine.deploy(&name(), push(&older)).await.unwrap();
    let late = world.end(&engine, late.id).await;
    assert_eq!((late.conclusion, late.revision.commit), (Some(Conclusion::Failed), Some(head)));
    assert_eq!(live(&world).await, before.revision.commit);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_goes_on_when_its_branch_is_gone() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (older, head) = (world.good(), world.good());
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    world.end(&engine, newer.id).await;
    let branch = Some(BranchName::parse("gone").unwrap());
    let late = engine.deploy(&name(), DeployRequest { branch, ..push(&older) }).await.unwrap();
    assert_eq!(world.end(&engine, late.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(live(&world).await, Some(older));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_may_deploy_an_older_commit() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (older, head) = (world.good(), world.good());
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    world.end(&engine, newer.id).await;
    let wanted = engine.deploy(&name(), DeployRequest::commit(older.clone())).await.unwrap();
    assert_eq!(wanted.trigger, Trigger::Request);
    assert_eq!(world.end(&engine, wanted.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(live(&world).await, Some(older));
    engine.shutdown().await;
}

/// What has served and does not any more is no reason to leave the head aside.
#[tokio::test(start_paused = true)]
async fn a_late_delivery_does_not_give_way_to_what_was_live_once() {
    let (world, engine) = engine(SupersedePolicy::Coalesce).await;
    let (first, older, head) = (world.good(), world.good(), world.good());
    let newer = engine.deploy(&name(), push(&head)).await.unwrap();
    world.end(&engine, newer.id).await;
    // A person goes back to another commit.
    deploy_well(&engine, &first).await;
    let late = engine.deploy(&name(), push(&older)).await.unwrap();
    let late = world.end(&engine, late.id).await;
    assert_eq!((late.conclusion, late.revision.commit.as_ref()), (Some(Conclusion::Succeeded), Some(&head)));
    assert_eq!(live(&world).await, Some(head));
    engine.shutdown().await;
}
