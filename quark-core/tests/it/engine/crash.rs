//! An engine that dies at any point is followed by one that brings the same
//! history to the same end.

use quark_core::memory::{Behaviour, Health};
use quark_core::{Conclusion, DeployRequest, RollbackRequest, Store};

use super::mortal::mortal;
use super::world::{World, app, deploy_well, end, name};

/// What an engine is doing when it dies.
#[derive(Clone, Copy, Debug)]
enum Work {
    Deploy,
    DeployBad,
    WarmRollback,
    Remove,
}

impl Work {
    /// One for the intent of each step, together with what was decided before,
    /// and one for the end.
    fn commits(self) -> i64 {
        match self {
            // Fetch, build, clear, create, start, probe; then promote or undo.
            Self::Deploy | Self::DeployBad => 8,
            // Probe and promote; unroute and undo.
            Self::WarmRollback | Self::Remove => 3,
        }
    }
}

/// Dies at the `n`-th commit of `work`; whether there was one.
async fn dies_at(work: Work, n: i64, after: bool) -> bool {
    let world = World::new();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let second = deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;

    let (dying, life) = mortal(&world, n, after).await;
    let wanted = match work {
        Work::Deploy => dying.deploy(&name(), DeployRequest::commit(world.good())).await,
        Work::DeployBad => {
            let bad = world.commit(Behaviour::with_health(Health::Status(500)));
            dying.deploy(&name(), DeployRequest::commit(bad)).await
        }
        Work::WarmRollback => dying.rollback(&name(), RollbackRequest::default()).await,
        Work::Remove => dying.remove_app(&name(), "test").await,
    };
    let wanted = wanted.unwrap();
    let died = match dying.wait(wanted.id).await {
        Ok(_) => false,
        Err(_) if life.is_over() => true,
        Err(error) => panic!("{}", error.report()),
    };
    dying.shutdown().await;

    // Users are served whatever has happened, by something that runs.
    if !matches!(work, Work::Remove) {
        let served = world.router.open(&name()).expect("the route is gone");
        let answers = world.answers(served.endpoint()).await;
        assert!(answers, "{work:?} {n}: users are not served");
    }

    let next = world.engine().await;
    let ended = end(&next, wanted.id).await;
    match work {
        Work::Deploy | Work::WarmRollback => {
            assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{work:?} {n}: {:?}", ended.failure);
            let serving = world.app().await.serving;
            assert_eq!(serving.live.unwrap().deployment, wanted.id);
            assert_eq!(serving.previous, Some(second.id));
            if matches!(work, Work::WarmRollback) {
                assert_eq!(ended.artifact, first.artifact);
            }
            world.check_rest().await;
        }
        Work::DeployBad => {
            assert_eq!(ended.conclusion, Some(Conclusion::Failed), "{n}");
            assert_eq!(world.app().await.serving.live.unwrap().deployment, second.id);
            world.check_rest().await;
        }
        Work::Remove => {
            assert!(world.runtime.containers().is_empty(), "{n}");
            assert!(world.router.route(&name()).is_none(), "{n}");
            assert!(world.store.app(&name()).await.unwrap().is_none(), "{n}");
        }
    }
    next.shutdown().await;
    died
}

async fn dies_everywhere(work: Work) {
    for after in [false, true] {
        let mut n = 1;
        while dies_at(work, n, after).await {
            n += 1;
            assert!(n < 100, "the work never ends");
        }
        assert_eq!(n - 1, work.commits(), "{work:?}: as many points as it has commits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::Deploy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_deployment_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::DeployBad).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::WarmRollback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_survives_a_crash_at_every_commit() {
    dies_everywhere(Work::Remove).await;
}
