//! A version that falls ill long after it was promoted.

use std::time::Duration;

use quark_core::backend::Metric;
use quark_core::deployment::{IdempotencyKey, Liveness, RestartReason, StepPhase, Trigger};
use quark_core::engine::Finding;
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    CommitSha, Conclusion, ContainerRuntime, DeployRequest, Deployment, DeploymentEngine, DeploymentId, DeploymentKind,
    ErrorKind, EventKind, LivenessAction, LivenessPolicy, StepName, Store, Timestamp,
};

use super::world::{World, app, deploy, deploy_well, name};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);
/// Longer than it takes to find out that something is unwell, also right after a start.
const FOUND: Duration = Duration::from_secs(60);

fn policy(action: LivenessAction) -> LivenessPolicy {
    LivenessPolicy::that(action).with_interval(INTERVAL)
}

/// A version that is live and looked after, over one that is well.
struct Scene {
    world: World,
    engine: DeploymentEngine,
    before: Deployment,
    commit: CommitSha,
    live: Deployment,
}

impl Scene {
    async fn new(policy: LivenessPolicy) -> Self {
        let world = World::paused();
        let engine = world.engine().await;
        engine.create_app(app().with_liveness(policy)).await.unwrap();
        let before = deploy_well(&engine, &world.good()).await;
        let commit = world.good();
        let live = deploy_well(&engine, &commit).await;
        // It has been seen to be well.
        world.pass(FOUND).await;
        Self { world, engine, before, commit, live }
    }

    fn becomes(&self, health: Health) {
        assert!(self.world.runtime.set_health(&self.world.container(self.live.id), health));
    }

    async fn events(&self) -> Vec<EventKind> {
        let events = self.world.store.events(Some(self.live.id), 0, 1000).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }

    /// The events since it has ended.
    async fn since(&self) -> Vec<EventKind> {
        let events = self.events().await;
        let end = events.iter().position(|event| matches!(event, EventKind::Completed { .. })).unwrap();
        let later = events[end + 1..].iter();
        let steps = |event: &&EventKind| {
            !matches!(event, EventKind::StepStarted { .. } | EventKind::StepSucceeded { .. } | EventKind::Retired)
        };
        later.filter(steps).cloned().collect()
    }

    async fn liveness(&self) -> Liveness {
        self.engine.deployment(self.live.id).await.unwrap().liveness.unwrap_or_default()
    }

    async fn process(&self) -> Option<Timestamp> {
        let container = self.world.container(self.live.id);
        self.world.runtime.inspect(&container).await.unwrap().unwrap().started_at
    }

    async fn live_now(&self) -> DeploymentId {
        self.world.app().await.serving.live.unwrap().deployment
    }

    async fn findings(&self) -> Vec<Finding> {
        self.engine.explain(&name()).await.unwrap().findings
    }

    /// The newest deployment.
    async fn newest(&self) -> Deployment {
        self.engine.deployments(&name(), None, 1).await.unwrap().remove(0)
    }
}

fn is_restart(event: &EventKind) -> bool {
    matches!(event, EventKind::Restarted { .. })
}

#[tokio::test(start_paused = true)]
async fn what_is_not_well_any_more_is_restarted_in_its_place() {
    let scene = Scene::new(policy(LivenessAction::Restart)).await;
    let process = scene.process().await;
    scene.becomes(Health::Hangs);
    scene.world.until("it is well again", || async { scene.events().await.contains(&EventKind::Recovered) }).await;
    assert_ne!(scene.process().await, process, "it is another process");
    let told = scene.since().await;
    let [EventKind::Unhealthy { times: 3, failure }, restarted, EventKind::Recovered] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((failure.code.as_str(), failure.step), ("unhealthy", None));
    assert_eq!(*restarted, EventKind::Restarted { reason: RestartReason::Unhealthy, count: 1 });
    let rows = scene.world.rows(scene.live.id, StepName::Restart).await;
    assert!(matches!(&rows[..], [row] if row.phase == StepPhase::Done), "{rows:?}");
    assert!(scene.world.metrics.says(Metric::Restarted { reason: RestartReason::Unhealthy }));
    assert_eq!(scene.findings().await, [], "nothing is wrong any more");
    let ended = scene.engine.deployment(scene.live.id).await.unwrap();
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "its end stays what it was");
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_well_is_asked_and_nothing_is_written() {
    let scene = Scene::new(policy(LivenessAction::Restart)).await;
    // The standby is retired.
    scene.world.pass(app().timing.grace * 2).await;
    let version = scene.engine.deployment(scene.live.id).await.unwrap().version;
    let position = scene.world.store.position().await.unwrap();
    scene.world.pass(Duration::from_secs(3600)).await;
    assert_eq!(scene.world.store.position().await.unwrap(), position, "no event");
    assert_eq!(scene.engine.deployment(scene.live.id).await.unwrap().version, version, "no write");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_answers_badly_now_and_then_is_left_alone() {
    let scene = Scene::new(policy(LivenessAction::Restart)).await;
    let process = scene.process().await;
    for _ in 0..5 {
        scene.becomes(Health::Status(500));
        scene.world.pass(INTERVAL + INTERVAL / 2).await;
        scene.becomes(Health::Healthy);
        scene.world.pass(INTERVAL * 2).await;
    }
    assert_eq!((scene.process().await, scene.since().await), (process, Vec::new()));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_is_slowed_down_and_told_and_ends() {
    let policy = policy(LivenessAction::Restart);
    let scene = Scene::new(policy.clone()).await;
    let container = scene.world.container(scene.live.id);
    let began = scene.world.clock.monotonic();
    let mut restarts = Vec::new();
    let mut process = scene.process().await;
    scene.world.runtime.kill(&container);
    while scene.world.clock.monotonic() - began < policy.window * 3 {
        scene.world.pass(Duration::from_secs(1)).await;
        if scene.process().await != process {
            process = scene.process().await;
            restarts.push(scene.world.clock.monotonic() - began);
            scene.world.runtime.kill(&container);
        }
    }
    assert!(restarts.len() > 5, "it is never given up: {restarts:?}");
    for first in &restarts {
        let window = restarts.iter().filter(|at| **at >= *first && **at < *first + policy.window);
        assert!(window.count() <= 5, "{restarts:?}");
    }
    let told = scene.since().await;
    let loops = told.iter().filter(|event| matches!(event, EventKind::CrashLoop { restarts: 5, .. }));
    assert_eq!(loops.count(), 1, "it is told once, while it lasts: {told:?}");
    assert_eq!(told.iter().filter(|event| is_restart(event)).count(), restarts.len());
    let findings = scene.findings().await;
    assert!(findings.iter().any(|finding| matches!(finding, Finding::CrashLoop { most: 5, .. })), "{findings:?}");
    // From now on it lives.
    scene.world.until("it is well", || async { scene.events().await.contains(&EventKind::Recovered) }).await;
    assert!(!scene.findings().await.iter().any(|finding| matches!(finding, Finding::CrashLoop { .. })));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn restarts_are_counted_by_the_engines_that_follow() {
    let once = LivenessPolicy::default().with_interval(INTERVAL).with_restarts(1, Duration::from_secs(600));
    let scene = Scene::new(once).await;
    let container = scene.world.container(scene.live.id);
    assert!(scene.world.runtime.kill(&container));
    scene.world.pass(FOUND * 2).await;
    let process = scene.process().await;
    assert!(scene.world.runtime.kill(&container), "it was started again");
    scene.engine.shutdown().await;
    let engine = scene.world.engine().await;
    scene.world.pass(Duration::from_secs(300)).await;
    assert_eq!(scene.process().await, process, "the one that there may be was used up");
    scene.world.pass(Duration::from_secs(400)).await;
    assert_ne!(scene.process().await, process, "it does not count any more");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_version_before_is_brought_back_once_and_no_push_undoes_that() {
    let scene = Scene::new(policy(LivenessAction::RollBack)).await;
    let push = DeployRequest::push(scene.commit.clone(), IdempotencyKey::parse("late").unwrap());
    scene.becomes(Health::Status(500));
    scene.world.until("another one is live", || async { scene.live_now().await != scene.live.id }).await;
    let back = scene.newest().await;
    let back = scene.world.end(&scene.engine, back.id).await;
    assert_eq!(back.kind, DeploymentKind::Rollback { to: scene.before.id });
    assert_eq!((back.created_by.as_str(), back.trigger), ("engine", Trigger::Unwell));
    assert_eq!((back.conclusion, scene.live_now().await), (Some(Conclusion::Succeeded), back.id));
    assert!(!scene.since().await.iter().any(is_restart));
    let pushed = scene.engine.deploy(&name(), push).await.unwrap();
    let pushed = scene.world.end(&scene.engine, pushed.id).await;
    assert_eq!(pushed.failure.unwrap().code, "rolled_back");
    // What was gone back to falls ill, too: the engine does not go round in circles.
    let container = scene.world.container(scene.before.id);
    scene.world.pass(FOUND).await;
    assert!(scene.world.runtime.set_health(&container, Health::Status(500)));
    scene.world.pass(FOUND * 3).await;
    assert_eq!(scene.live_now().await, back.id);
    let held = scene.engine.deployment(back.id).await.unwrap().liveness.unwrap().held.unwrap();
    assert_eq!(held.code, "rolled_back_already");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn where_the_version_before_is_not_well_either_it_stays_and_people_are_told() {
    let scene = Scene::new(policy(LivenessAction::RollBack)).await;
    // The standby is dead, and does not become well when it is started anew.
    let image = scene.before.artifact.clone().unwrap();
    scene.world.runtime.define(image.id, Behaviour::with_health(Health::Status(500)));
    assert!(scene.world.runtime.kill(&scene.world.container(scene.before.id)));
    scene.becomes(Health::Status(500));
    scene.world.until("it was tried", || async { scene.liveness().await.rollback.is_some() }).await;
    let tried = scene.newest().await;
    assert_eq!((tried.trigger, tried.conclusion), (Trigger::Unwell, Some(Conclusion::Failed)));
    scene.world.pass(Duration::from_secs(3600)).await;
    assert_eq!(scene.newest().await.id, tried.id, "it is tried once");
    assert_eq!(scene.live_now().await, scene.live.id, "better ill than dead");
    let findings = scene.findings().await;
    assert!(findings.iter().any(|finding| matches!(finding, Finding::Unhealthy { .. })), "{findings:?}");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_first_version_has_nothing_to_go_back_to_and_says_so() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_liveness(policy(LivenessAction::RollBack))).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    world.pass(FOUND).await;
    assert!(world.runtime.set_health(&world.container(live.id), Health::Status(500)));
    world.pass(FOUND).await;
    let told = engine.explain(&name()).await.unwrap();
    let held = told.findings.iter().find_map(|finding| match finding {
        Finding::Unhealthy { held, .. } => held.clone(),
        _ => None,
    });
    assert_eq!(held.unwrap().code, "nothing_to_roll_back_to");
    let text = told.to_string();
    assert!(text.contains("is live and not well") && text.contains("look into the log of #1"), "{text}");
    assert!(world.runtime.set_health(&world.container(live.id), Health::Healthy));
    world.pass(FOUND).await;
    assert_eq!(engine.explain(&name()).await.unwrap().findings, []);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_are_told_and_nothing_is_done_where_that_is_wanted() {
    let scene = Scene::new(policy(LivenessAction::Alert)).await;
    let process = scene.process().await;
    scene.becomes(Health::Status(500));
    scene.world.pass(Duration::from_secs(3600)).await;
    let told = scene.since().await;
    assert!(matches!(&told[..], [EventKind::Unhealthy { times: 3, .. }]), "{told:?}");
    assert_eq!((scene.process().await, scene.newest().await.id), (process, scene.live.id));
    scene.becomes(Health::Healthy);
    scene.world.pass(FOUND).await;
    assert_eq!(scene.since().await.last(), Some(&EventKind::Recovered));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn two_engines_restart_once() {
    let scene = Scene::new(policy(LivenessAction::Restart)).await;
    let other = scene.world.start("other", scene.world.parts()).await;
    scene.world.pass(FOUND).await;
    scene.becomes(Health::Status(500));
    scene.world.pass(FOUND * 5).await;
    assert_eq!(scene.since().await.iter().filter(|event| is_restart(event)).count(), 1);
    assert_eq!(scene.world.rows(scene.live.id, StepName::Restart).await.len(), 1);
    other.shutdown().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_while_a_deployment_is_at_work() {
    let scene = Scene::new(policy(LivenessAction::Restart)).await;
    let (other, commit) = scene.world.under_way(&scene.engine).await;
    scene.becomes(Health::Status(500));
    scene.world.pass(FOUND * 2).await;
    assert_eq!(scene.since().await, [], "it will take its place");
    scene.world.builder.release(&commit);
    let ended = scene.world.end(&scene.engine, other.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded));
    assert!(!scene.events().await.iter().any(is_restart));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_ends_an_illness() {
    let scene = Scene::new(policy(LivenessAction::Alert)).await;
    scene.becomes(Health::Status(500));
    scene.world.pass(FOUND).await;
    assert!(!scene.findings().await.is_empty());
    let better = deploy(&scene.engine, &scene.world.good()).await;
    assert_eq!(better.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(scene.findings().await, []);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_else_may_say_that_something_is_unwell() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let request = DeployRequest { trigger: Trigger::Unwell, ..DeployRequest::commit(world.good()) };
    let refused = engine.deploy(&name(), request).await.unwrap_err();
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::InvalidInput, Some("trigger")));
    engine.shutdown().await;
}
