//! A version is watched once it serves, and goes if it is not well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quark_core::deployment::{Bake, BakeOutcome, Deployment, IdempotencyKey};
use quark_core::memory::Health;
use quark_core::{
    App, ApprovalPolicy, ApprovalRequest, BakePolicy, CommitSha, Conclusion, DeployRequest, DeploymentEngine, Error,
    ErrorKind, EventKind, HealthCheck, RollbackRequest, Slot, State, StepName, Store,
};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well, name};

const LASTS: Duration = Duration::from_secs(60);

/// Longer than the time between two looks, and shorter than two.
const A_LOOK: Duration = Duration::from_secs(6);

fn watched_app() -> App {
    app().with_bake(BakePolicy::lasting(LASTS))
}

/// A version that was just promoted and is watched, over one that is well.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) engine: DeploymentEngine,
    pub(super) before: Deployment,
    commit: CommitSha,
    pub(super) new: Deployment,
}

impl Scene {
    pub(super) async fn new() -> Self {
        Self::with(|_, parts| parts).await
    }

    pub(super) async fn with(parts: impl FnOnce(&World, Parts) -> Parts) -> Self {
        Self::of(watched_app(), parts).await
    }

    async fn of(app: App, parts: impl FnOnce(&World, Parts) -> Parts) -> Self {
        let world = World::paused();
        let engine = world.start("test", parts(&world, world.parts())).await;
        engine.create_app(app).await.unwrap();
        let before = deploy_well(&engine, &world.good()).await;
        let commit = world.good();
        let request = DeployRequest::push(commit.clone(), IdempotencyKey::parse("push").unwrap());
        let new = engine.deploy(&name(), request).await.unwrap();
        let scene = Self { world, engine, before, commit, new };
        scene.reaches(State::Baking).await;
        scene
    }

    pub(super) async fn now(&self) -> Deployment {
        self.engine.deployment(self.new.id).await.unwrap()
    }

    async fn reaches(&self, state: State) {
        self.world.until("it comes so far", || async { self.now().await.state == state }).await;
    }

    pub(super) async fn end(&self) -> Deployment {
        self.world.end(&self.engine, self.new.id).await
    }

    fn sickens(&self, id: quark_core::DeploymentId) {
        assert!(self.world.runtime.set_health(&self.world.container(id), Health::Status(500)));
    }

    fn recovers(&self, id: quark_core::DeploymentId) {
        assert!(self.world.runtime.set_health(&self.world.container(id), Health::Healthy));
    }

    /// Which deployment is live, and where requests go.
    pub(super) async fn live(&self) -> (quark_core::DeploymentId, Option<Slot>) {
        let live = self.world.app().await.serving.live.unwrap().deployment;
        (live, self.world.router.route(&name()).map(|route| route.active))
    }
}

pub(super) fn bake(deployment: &Deployment) -> Bake {
    deployment.bake.clone().expect("it is not watched")
}

#[tokio::test(start_paused = true)]
async fn what_is_well_succeeds_after_its_time() {
    let scene = Scene::new().await;
    assert_eq!(scene.live().await, (scene.new.id, scene.now().await.slot), "it serves meanwhile");
    let ended = scene.end().await;
    let watched = bake(&ended);
    assert_eq!((ended.conclusion, watched.outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Passed)));
    assert_eq!(watched.ends_at.since(watched.began_at), LASTS);
    let over = ended.finished_at.unwrap();
    assert!(over >= watched.ends_at && over < watched.ends_at.after(A_LOOK), "{over}");
    assert_eq!((watched.unwell, watched.failure), (0, None));
    let standby = scene.world.app().await.serving.standby.unwrap();
    assert_eq!(standby.retire_at, over.after(app().timing.grace), "its grace begins with the end");
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_unwell_is_rolled_back_by_itself() {
    let scene = Scene::new().await;
    let previous = scene.world.app().await.serving.previous;
    assert_eq!(previous, Some(scene.before.id));
    scene.sickens(scene.new.id);
    let ended = scene.end().await;
    let watched = bake(&ended);
    assert_eq!((ended.conclusion, watched.outcome), (Some(Conclusion::RolledBack), Some(BakeOutcome::RolledBack)));
    assert_eq!(watched.unwell, 3, "found unwell three times in a row");
    let failure = ended.failure.unwrap();
    assert_eq!((failure.code.as_str(), watched.failure.as_ref()), ("unhealthy", Some(&failure)));
    assert_eq!(scene.live().await, (scene.before.id, scene.before.slot));
    assert_eq!(scene.world.app().await.serving.previous, None, "as if it had not been");
    let events = scene.world.store.events(Some(scene.new.id), 0, 1000).await.unwrap();
    let told: Vec<&EventKind> = events.iter().map(|event| &event.kind).collect();
    let at = |wanted: fn(&EventKind) -> bool| told.iter().position(|kind| wanted(kind)).expect("it was not told");
    let promoted = at(|kind| matches!(kind, EventKind::Promoted { .. }));
    let started = at(|kind| matches!(kind, EventKind::BakeStarted { .. }));
    let unwell = at(|kind| matches!(kind, EventKind::BakeUnwell { times: 3, .. }));
    let back = at(|kind| matches!(kind, EventKind::RolledBack { .. }));
    assert!(promoted < started && started < unwell && unwell < back, "{told:?}");
    // What was not well is taken away at once, and nobody can go back to it.
    scene.world.until("it is gone", || async { scene.world.app().await.serving.standby.is_none() }).await;
    scene.world.check_rest().await;
    let to_it = RollbackRequest { to: Some(scene.new.id), ..RollbackRequest::default() };
    assert_eq!(scene.engine.rollback(&name(), to_it).await.unwrap_err().code(), "not_a_release");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_dies_is_rolled_back_at_the_next_look() {
    let scene = Scene::new().await;
    let began = scene.world.clock.monotonic();
    assert!(scene.world.runtime.kill(&scene.world.container(scene.new.id)));
    let ended = scene.end().await;
    assert_eq!(ended.conclusion, Some(Conclusion::RolledBack));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "exited");
    assert!(failure.message.contains("after it was healthy"), "{failure}");
    assert!(scene.world.clock.monotonic() - began < A_LOOK);
    assert_eq!(scene.live().await, (scene.before.id, scene.before.slot));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn some_bad_looks_are_no_cause() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.sickens(scene.new.id);
        scene.world.until("it is seen", || async { bake(&scene.now().await).unwell == 2 }).await;
        scene.recovers(scene.new.id);
        scene.world.until("that is seen", || async { bake(&scene.now().await).unwell == 0 }).await;
    }
    let ended = scene.end().await;
    assert_eq!(bake(&ended).outcome, Some(BakeOutcome::Passed));
    assert_eq!(ended.failure, None);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_unwell_at_the_end_is_watched_until_that_is_decided() {
    let scene = Scene::new().await;
    let ends_at = bake(&scene.now().await).ends_at;
    scene.world.pass(LASTS - A_LOOK).await;
    scene.sickens(scene.new.id);
    let ended = scene.end().await;
    assert_eq!(ended.conclusion, Some(Conclusion::RolledBack));
    assert!(ended.finished_at.unwrap() > ends_at, "it was in doubt when its time was over");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_never_rolled_back_to_what_is_not_well() {
    let scene = Scene::new().await;
    scene.sickens(scene.before.id);
    scene.sickens(scene.new.id);
    let ended = scene.end().await;
    let watched = bake(&ended);
    // As when what both need is away: it serves on.
    assert_eq!((ended.conclusion, watched.outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Held)));
    assert_eq!((ended.failure, watched.failure.map(|failure| failure.code)), (None, Some("unhealthy".to_owned())));
    assert!(ended.finished_at.unwrap() >= watched.ends_at.after(LASTS), "it was given twice its time");
    assert_eq!(scene.live().await, (scene.new.id, scene.now().await.slot));
    let explained = scene.engine.explain(&name()).await.unwrap().to_string();
    assert!(explained.contains("#2 was not well, and could not be rolled back"), "{explained}");
    assert_eq!(scene.world.rows(scene.new.id, StepName::RollBack).await, []);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_rolled_back_once_the_version_before_is_well_again() {
    let scene = Scene::new().await;
    scene.sickens(scene.before.id);
    scene.sickens(scene.new.id);
    scene.world.pass(LASTS).await;
    assert_eq!(scene.now().await.state, State::Baking);
    scene.recovers(scene.before.id);
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::RolledBack));
    assert_eq!(scene.live().await.0, scene.before.id);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_died_is_started_again_if_there_is_nothing_to_go_back_to() {
    let scene = Scene::new().await;
    assert!(scene.world.runtime.kill(&scene.world.container(scene.before.id)));
    assert!(scene.world.runtime.kill(&scene.world.container(scene.new.id)));
    let container = scene.world.container(scene.new.id).to_string();
    scene.world.until("it runs again", || async { scene.world.running().contains(&container) }).await;
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Passed)));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_person_who_goes_back_does_not_wait_for_the_end() {
    let scene = Scene::new().await;
    let began = scene.world.clock.monotonic();
    let rollback = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    assert_eq!(scene.world.end(&scene.engine, rollback.id).await.conclusion, Some(Conclusion::Succeeded));
    assert!(scene.world.clock.monotonic() - began < Duration::from_secs(2));
    let ended = scene.now().await;
    assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Interrupted)));
    assert_eq!(scene.live().await, (rollback.id, scene.before.slot));
    // Who goes back knows why: that is not watched in turn.
    assert_eq!(scene.engine.deployment(rollback.id).await.unwrap().bake, None);
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_removed_is_not_watched_any_longer() {
    let scene = Scene::new().await;
    let began = scene.world.clock.monotonic();
    let removal = scene.engine.remove_app(&name(), "ann").await.unwrap();
    assert_eq!(scene.world.end(&scene.engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert!(scene.world.clock.monotonic() - began < Duration::from_secs(5));
    assert_eq!(bake(&scene.now().await).outcome, Some(BakeOutcome::Interrupted));
    assert_eq!(scene.world.runtime.containers(), []);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_waits_for_the_end() {
    let scene = Scene::new().await;
    let newer = scene.engine.deploy(&name(), DeployRequest::commit(scene.world.good())).await.unwrap();
    let too_late = scene.engine.cancel(scene.new.id, "ann").await.unwrap_err();
    assert_eq!(too_late.code(), "too_late", "it serves");
    scene.world.pass(LASTS / 2).await;
    let waiting = scene.engine.deployment(newer.id).await.unwrap();
    assert_eq!((scene.now().await.state, waiting.state), (State::Baking, State::Queued));
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(scene.world.end(&scene.engine, newer.id).await.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(scene.live().await.0, newer.id);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_starts_goes_on_with_the_watch() {
    let scene = Scene::new().await;
    let ends_at = bake(&scene.now().await).ends_at;
    scene.engine.shutdown().await;
    scene.world.pass(LASTS * 5).await;
    // It does not pass for its time alone.
    scene.sickens(scene.new.id);
    let engine = scene.world.engine().await;
    let ended = scene.world.end(&engine, scene.new.id).await;
    assert_eq!((ended.conclusion, bake(&ended).ends_at), (Some(Conclusion::RolledBack), ends_at));
    assert_eq!(scene.live().await.0, scene.before.id);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_does_not_bring_it_again() {
    let scene = Scene::new().await;
    scene.sickens(scene.new.id);
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::RolledBack));
    let again = DeployRequest::push(scene.commit.clone(), IdempotencyKey::parse("again").unwrap());
    let again = scene.engine.deploy(&name(), again).await.unwrap();
    let failure = scene.world.end(&scene.engine, again.id).await.failure.unwrap();
    assert_eq!(failure.code, "rolled_back");
    assert!(failure.message.contains("the engine has gone back from"), "{failure}");
    // A person's word counts.
    let wanted = scene.engine.deploy(&name(), DeployRequest::commit(scene.commit.clone())).await.unwrap();
    assert_eq!(scene.world.end(&scene.engine, wanted.id).await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_version_has_nothing_to_go_back_to() {
    let scene = Scene::new().await;
    assert_eq!(scene.before.bake, None);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_at_is_given_twice_its_time() {
    let away = Arc::new(AtomicUsize::new(0));
    let fault = {
        let away = Arc::clone(&away);
        move |operation| {
            let is_away = operation == "inspect" && away.load(Ordering::SeqCst) > 0;
            is_away.then(|| Error::new(ErrorKind::Unavailable, "the runtime is away"))
        }
    };
    let scene =
        Scene::with(|world, parts| Parts { runtime: Arc::new(Hooked::failing(world.runtime.clone(), fault)), ..parts })
            .await;
    away.store(1, Ordering::SeqCst);
    let ended = scene.end().await;
    let watched = bake(&ended);
    assert_eq!((ended.conclusion, watched.outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Unverified)));
    assert!(ended.finished_at.unwrap() >= watched.ends_at.after(LASTS));
    scene.engine.shutdown().await;
}

/// A scene whose router refuses every change after the first `lets` ones.
async fn refusing(lets: usize) -> (Scene, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let fault = {
        let left = Arc::clone(&left);
        move |operation| {
            let refuses = operation == "apply"
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
            refuses.then(|| Error::new(ErrorKind::PermissionDenied, "no"))
        }
    };
    let router =
        |world: &World, parts: Parts| Parts { router: Arc::new(Hooked::failing(world.router.clone(), fault)), ..parts };
    let scene = Scene::with(router).await;
    left.store(lets, Ordering::SeqCst);
    scene.sickens(scene.new.id);
    (scene, left)
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_rolled_back_serves_on() {
    let (scene, left) = refusing(0).await;
    scene.reaches(State::Reverting).await;
    left.store(usize::MAX, Ordering::SeqCst);
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Held)));
    assert_eq!((ended.failure, scene.live().await), (None, (scene.new.id, ended.slot)));
    let rows = scene.world.rows(scene.new.id, StepName::RollBack).await;
    assert_eq!(rows.len(), 1, "it is rolled back once at most");
    assert!(scene.world.router.route(&name()).unwrap().backup, "what stands by may be all that answers");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_stuck_on_its_way_back_is_not_taken_away() {
    for retried in [true, false] {
        let (scene, left) = refusing(0).await;
        assert_eq!(scene.end().await.state, State::Stuck);
        let leftovers = scene.engine.leftovers(scene.new.id).await.unwrap();
        assert_eq!((leftovers.step, leftovers.maybe_routed), (StepName::Revert, true));
        assert_eq!(leftovers.instances, [], "what serves is not left to anybody");
        // It waits for a person, and its users do not.
        let container = scene.world.container(scene.new.id);
        assert!(scene.world.runtime.kill(&container));
        let runs = || async { scene.world.running().contains(&container.to_string()) };
        scene.world.until("it runs again", runs).await;
        left.store(usize::MAX, Ordering::SeqCst);
        if retried {
            scene.engine.retry(scene.new.id).await.unwrap();
            scene.reaches(State::Completed).await;
        } else {
            scene.engine.abandon(scene.new.id, "ann").await.unwrap();
        }
        let ended = scene.now().await;
        assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Held)));
        assert_eq!(scene.live().await, (scene.new.id, ended.slot));
        scene.world.pass(Duration::from_secs(120)).await;
        let container = scene.world.container(scene.new.id).to_string();
        assert!(scene.world.running().contains(&container), "what serves was collected as garbage");
        scene.engine.shutdown().await;
    }
}

/// Its job sleeps for up to 10 s while people are asked.
#[tokio::test(start_paused = true)]
async fn what_people_have_agreed_to_is_watched_from_its_first_second_on() {
    let world = World::paused();
    let engine = world.engine().await;
    let policy = BakePolicy::lasting(LASTS).with_interval(Duration::from_millis(500));
    let asks = app().with_bake(policy).with_approval(ApprovalPolicy::of(1).with_author());
    engine.create_app(asks).await.unwrap();
    for version in ["first", "second"] {
        let request = DeployRequest::commit(world.good());
        let deployment = engine.deploy(&name(), request).await.unwrap();
        world.until("people are asked", || async { !engine.approvals().await.unwrap().is_empty() }).await;
        let pending = engine.approvals().await.unwrap().remove(0);
        engine.answer_approval(deployment.id, ApprovalRequest::approve(&pending, "ann")).await.unwrap();
        if version == "first" {
            assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Succeeded));
            continue;
        }
        let state = || async { engine.deployment(deployment.id).await.unwrap().state };
        world.until("it serves", || async { state().await == State::Baking }).await;
        assert!(world.runtime.kill(&world.container(deployment.id)));
        let began = world.clock.monotonic();
        assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::RolledBack));
        let took = world.clock.monotonic() - began;
        assert!(took < Duration::from_secs(2), "nobody looked for {took:?}");
    }
    engine.shutdown().await;
}

/// A look lasts as long as its probes.
#[tokio::test(start_paused = true)]
async fn a_slow_health_check_is_waited_for() {
    let health = HealthCheck {
        interval: Duration::from_secs(6),
        timeout: Duration::from_secs(2),
        deadline: Duration::from_secs(60),
        ..app().health
    };
    let scene = Scene::of(watched_app().with_health(health), |_, parts| parts).await;
    scene.sickens(scene.new.id);
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::RolledBack));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_how_long_it_is_watched() {
    let scene = Scene::new().await;
    scene.sickens(scene.new.id);
    scene.world.until("it is seen", || async { bake(&scene.now().await).unwell == 1 }).await;
    let explained = scene.engine.explain(&name()).await.unwrap().to_string();
    assert!(explained.contains("serves, and is watched for another"), "{explained}");
    assert!(explained.contains("found unwell 1 time in a row"), "{explained}");
    assert!(explained.contains("- roll back to #1"), "{explained}");
    scene.end().await;
    let explained = scene.engine.explain(&name()).await.unwrap().to_string();
    assert!(explained.contains("#2, the newest deployment, served and was rolled back"), "{explained}");
    scene.engine.shutdown().await;
}
