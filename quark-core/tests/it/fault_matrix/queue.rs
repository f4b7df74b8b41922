//! Rows 26 to 28: the queue loses jobs, hands them out twice, or hands out one
//! that engines die of.

use std::time::Duration;

use quark_core::backend::Queue;
use quark_core::memory::{Behaviour, Health, MemoryQueue};
use quark_core::{Clock, Conclusion, OwnerId, State, StepName, Timing};

use super::stage::{
    Fate, LEASE, Scene, Stage, after, app, away, before, before_commit, end, ends, fail, succeed, want,
};

impl Stage {
    /// The queue is as if it had been made just now.
    fn flush(&self) {
        *self.queue.lock().unwrap() = MemoryQueue::new(self.time());
    }
}

/// How soon the sweep finds what has no job.
const SWEPT: Duration = Duration::from_secs(32);

#[tokio::test(start_paused = true)]
async fn row_26_a_flushed_queue_is_built_again_at_the_start() {
    let timing = Timing { grace: Duration::from_secs(300), ..Timing::default() };
    let scene = Scene::of(Stage::with_queue_apart(), app().with_timing(timing)).await;
    let second = scene.with_standby().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let third = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.fate.kill();
    scene.stage.flush();
    scene.stage.builder.fail(&commit, "it does not compile");
    scene.stage.builder.release(&commit);
    let next = scene.stage.next().await;
    fail(&next, third.id, "build_failed").await;
    // The delayed job too: the store knows when the standby is to go.
    assert!(scene.stage.runs(scene.first.id));
    let retire_at = scene.stage.app().await.serving.standby.unwrap().retire_at;
    let gone = || async { scene.stage.app().await.serving.standby.is_none() };
    scene.stage.until("the standby is gone", gone).await;
    assert!(scene.stage.clock.now() >= retire_at, "it went before its time");
    assert_eq!(scene.stage.served_by().await, Some(second.id));
    scene.stage.at_rest().await;
}

/// A person says `retry` while the job that saw it get stuck has not ended: the
/// new one is taken for a duplicate of that. Only where the store does not end
/// the job with the last commit.
#[tokio::test(start_paused = true)]
async fn row_26_a_job_that_is_taken_for_a_duplicate() {
    let scene = Scene::of(Stage::with_queue_apart(), app()).await;
    let bad = scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(1)));
    let outage = scene.fate.fail(before("runtime.remove"), away);
    let ack = scene.fate.hold(before("queue.ack"));
    let wanted = scene.deploy(&bad).await;
    assert_eq!(end(&scene.engine, wanted.id).await.state, State::Stuck);
    ack.reached().await;
    outage.end();
    // The sweep would find it too, half a minute later.
    let swept = scene.fate.fail(before("store.unfinished"), away);
    scene.engine.retry(wanted.id).await.unwrap();
    ack.open();
    fail(&scene.engine, wanted.id, "exited").await;
    swept.end();
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_26_a_queue_that_is_flushed_while_it_is_used() {
    let scene = Scene::of(Stage::with_queue_apart(), app()).await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.stage.flush();
    scene.stage.pass(LEASE * 3).await;
    scene.stage.builder.release(&commit);
    succeed(&scene.engine, wanted.id).await;
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_26_a_job_that_never_reached_the_queue() {
    let scene = Scene::of(Stage::with_queue_apart(), app()).await;
    let outage = scene.fate.fail_times(before("queue.enqueue"), 1, away);
    let wanted = scene.second().await;
    outage.met(1).await;
    let asked = scene.stage.clock.monotonic();
    let ended = succeed(&scene.engine, wanted.id).await;
    let waited = ended.started_at.unwrap().since(ended.created_at);
    assert!(waited <= SWEPT, "{waited:?} since {asked:?}");
    scene.stage.at_rest().await;
}

/// A claim ran out although its worker lives: another one gets the job.
#[tokio::test(start_paused = true)]
async fn row_27_a_job_is_handed_out_while_its_first_worker_lives() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    scene.fate.fail(before("queue.heartbeat"), away);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    let fate = Fate::default();
    let refused = fate.hold(before("queue.nack"));
    let other = scene.stage.builder("another", &fate).start().await.unwrap();
    refused.reached().await;
    // It was told that somebody is at work, and has touched nothing.
    assert_eq!(fate.count("store.commit"), 0);
    let given_back = fate.hold(after("queue.nack").from(1));
    refused.open();
    given_back.reached().await;
    // The attempt of the second was not counted: this is one more than the first's.
    scene.stage.pass(Duration::from_secs(5)).await;
    let queue = scene.stage.queue.lock().unwrap().clone();
    let claimed = queue.claim(&OwnerId::parse("me").unwrap(), 1, LEASE).await.unwrap().remove(0);
    assert_eq!((claimed.job.deployment, claimed.attempt), (wanted.id, 2));
    queue.nack(claimed.token, Duration::ZERO, false, "only looking").await.unwrap();
    given_back.open();
    scene.stage.builder.release(&commit);
    succeed(&scene.engine, wanted.id).await;
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit).count();
    assert_eq!(builds, 1);
    other.shutdown().await;
    scene.stage.at_rest().await;
}

/// The claim is only a hint: who has the lease goes on.
#[tokio::test(start_paused = true)]
async fn row_27_a_worker_whose_claim_ran_out_goes_on_under_its_lease() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    let outage = scene.fate.fail(before("queue."), away);
    scene.stage.pass(LEASE * 2).await;
    outage.end();
    scene.stage.pass(LEASE * 2).await;
    scene.stage.builder.release(&commit);
    succeed(&scene.engine, wanted.id).await;
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit).count();
    assert_eq!(builds, 1, "the build was broken off because its job was handed out again");
    scene.stage.at_rest().await;
}

/// A queue that says nothing at all is not waited for: the lease counts.
#[tokio::test(start_paused = true)]
async fn row_27_a_queue_that_hangs_costs_no_lease() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let heartbeat = scene.fate.hold(before("queue.heartbeat"));
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    heartbeat.reached().await;
    scene.stage.pass(LEASE * 2).await;
    scene.stage.builder.release(&commit);
    succeed(&scene.engine, wanted.id).await;
    let builds = scene.stage.builder.builds().into_iter().filter(|build| build.commit == commit).count();
    assert_eq!(builds, 1, "the lease was lost while the store was there");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_28_a_job_that_engines_die_of() {
    let scene = Scene::new().await;
    let poison = scene.stage.good();
    scene.stage.builder.hold(&poison);
    let wanted = scene.deploy(&poison).await;
    scene.stage.builder.building(&poison).await;
    scene.fate.kill();
    // The fifth death is the last one.
    for _ in 0..4 {
        let fate = Fate::default();
        let begun = fate.hold(before("builder.build"));
        scene.stage.engine(&fate).await;
        begun.reached().await;
        fate.kill();
    }
    let fate = Fate::default();
    let next = scene.stage.engine(&fate).await;
    fail(&next, wanted.id, "poisoned").await;
    assert_eq!(fate.count("builder.build"), 0, "what engines die of was run again");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
    // The app is not blocked by it.
    succeed(&next, want(&next, &scene.stage.good()).await.id).await;
}

/// Five deaths in five steps are bad luck.
#[tokio::test(start_paused = true)]
async fn row_28_deaths_at_different_steps_are_no_poison() {
    let scene = Scene::new().await;
    let points = ["source.fetch", "builder.build", "runtime.create", "runtime.start", "prober.probe", "router.apply"];
    let wanted = scene.second().await;
    let mut fate = scene.fate.clone();
    for point in points.into_iter().flat_map(|point| [point; 4]) {
        let gate = fate.hold(before(point));
        gate.reached().await;
        fate.kill();
        fate = Fate::default();
        // Started in the middle of the loop, so that the next gate is there before it works.
        let claim = fate.hold(before("queue.claim"));
        scene.stage.engine(&fate).await;
        claim.reached().await;
        claim.open();
    }
    let next = scene.stage.next().await;
    succeed(&next, wanted.id).await;
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_28_a_shutdown_is_no_death() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    scene.engine.shutdown().await;
    for _ in 0..30 {
        let engine = scene.stage.next().await;
        scene.stage.builder.building(&commit).await;
        engine.shutdown().await;
    }
    scene.stage.builder.release(&commit);
    let next = scene.stage.next().await;
    succeed(&next, wanted.id).await;
    scene.stage.at_rest().await;
}

/// Nor is one that users' code dies of: that is only a failed deployment.
#[tokio::test(start_paused = true)]
async fn row_28_an_app_that_dies_kills_no_engine() {
    let scene = Scene::new().await;
    let bad = scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(139)));
    let wanted = scene.deploy(&bad).await;
    let ended = fail(&scene.engine, wanted.id, "exited").await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    assert_eq!(scene.stage.records(wanted.id, StepName::Probe).await[0].resumed, 0);
    scene.stage.at_rest().await;
}

/// An engine that dies while it takes things away must not leave them for ever.
#[tokio::test(start_paused = true)]
async fn row_28_deaths_in_the_clean_up_do_not_end_it() {
    let scene = Scene::new().await;
    let bad = scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(1)));
    let wanted = scene.deploy(&bad).await;
    let mut fate = scene.fate.clone();
    for _ in 0..8 {
        let gate = fate.hold(before_commit(ends(StepName::Undo)));
        gate.reached().await;
        fate.kill();
        fate = Fate::default();
        let claim = fate.hold(before("queue.claim"));
        scene.stage.engine(&fate).await;
        claim.reached().await;
        claim.open();
    }
    fate.kill();
    let next = scene.stage.next().await;
    fail(&next, wanted.id, "exited").await;
    scene.stage.at_rest().await;
}

/// Nor is a store that goes away again and again during a long build.
#[tokio::test(start_paused = true)]
async fn row_28_a_lost_lease_is_no_death() {
    let scene = Scene::new().await;
    let commit = scene.stage.good();
    scene.stage.builder.hold(&commit);
    let wanted = scene.deploy(&commit).await;
    scene.stage.builder.building(&commit).await;
    for _ in 0..6 {
        let outages = [scene.fate.fail(before("store."), away), scene.fate.fail(before("queue."), away)];
        scene.stage.pass(LEASE * 2).await;
        outages.into_iter().for_each(super::stage::Outage::end);
        scene.stage.pass(LEASE * 2).await;
    }
    scene.stage.builder.release(&commit);
    succeed(&scene.engine, wanted.id).await;
    scene.stage.at_rest().await;
}
