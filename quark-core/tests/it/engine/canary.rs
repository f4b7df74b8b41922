//! A version gets its users by steps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, EffectiveRoute, Route, Router};
use quark_core::deployment::{Canary, CanaryOutcome, Deployment, Fence, Generation};
use quark_core::memory::{Health, MemoryRouter};
use quark_core::{
    App, AppName, ApprovalPolicy, ApprovalRequest, BakePolicy, CanaryPolicy, CanaryStep, Conclusion, DeployRequest,
    DeploymentEngine, Endpoint, Error, ErrorKind, EventKind, Result, RollbackRequest, Slot, State, StepName, Store,
};

use super::world::{Parts, World, app, deploy_well, name};

const HOLD: Duration = Duration::from_secs(60);

fn policy() -> CanaryPolicy {
    CanaryPolicy::of([5, 25, 50].map(|percent| CanaryStep::new(percent, HOLD)))
}

pub(super) fn stepped_app() -> App {
    app().with_canary(policy())
}

/// A version that gets a share of the requests, beside one that is live.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) engine: DeploymentEngine,
    pub(super) before: Deployment,
    pub(super) new: Deployment,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let scene = Self::of(stepped_app()).await;
        scene.gets(Some(5)).await;
        scene
    }

    async fn of(app: App) -> Self {
        let world = World::paused();
        let engine = world.engine().await;
        engine.create_app(app).await.unwrap();
        let before = deploy_well(&engine, &world.good()).await;
        assert!(before.canary.is_none(), "there is nobody to share with");
        let new = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
        Self { world, engine, before, new }
    }

    pub(super) async fn now(&self) -> Deployment {
        self.engine.deployment(self.new.id).await.unwrap()
    }

    /// The share that the router gives, and that the store says.
    fn share(&self) -> Option<u8> {
        let route = self.world.router.route(&name()).unwrap();
        assert_eq!(Some(route.active), self.before.slot, "what is live stays so");
        route.canary.map(Into::into)
    }

    /// Waits until it is written down that the version has this share.
    async fn gets(&self, share: Option<u8>) {
        let there = || async { self.world.app().await.serving.canary.map(u8::from) == share };
        self.world.until("its share", there).await;
        assert_eq!(self.share(), share);
    }

    async fn reaches(&self, state: State) {
        self.world.until("it comes so far", || async { self.now().await.state == state }).await;
    }

    pub(super) async fn end(&self) -> Deployment {
        self.world.end(&self.engine, self.new.id).await
    }

    /// The new version is gone, and nothing leads to where it was.
    pub(super) async fn assert_taken_back(&self) {
        assert_eq!(self.share(), None);
        let app = self.world.app().await;
        assert_eq!((app.serving.live.unwrap().deployment, app.serving.canary), (self.before.id, None));
        self.world.check_rest().await;
    }

    async fn told(&self) -> Vec<EventKind> {
        let events = self.world.store.events(Some(self.new.id), 0, 1000).await.unwrap();
        events.into_iter().map(|event| event.kind).collect()
    }
}

pub(super) fn way(deployment: &Deployment) -> Canary {
    deployment.canary.clone().expect("it does not go by steps")
}

#[tokio::test(start_paused = true)]
async fn what_is_well_gets_more_and_more_and_then_all() {
    let scene = Scene::new().await;
    let began = way(&scene.now().await).held_since.unwrap();
    for percent in [25, 50] {
        scene.gets(Some(percent)).await;
    }
    let ended = scene.end().await;
    let way = way(&ended);
    assert_eq!((ended.conclusion, way.outcome), (Some(Conclusion::Succeeded), Some(CanaryOutcome::Passed)));
    assert!(way.held >= HOLD * 3 && way.held < HOLD * 3 + Duration::from_secs(1), "{:?}", way.held);
    assert!(ended.finished_at.unwrap().since(began) >= HOLD * 3);
    let route = scene.world.router.route(&name()).unwrap();
    assert_eq!((Some(route.active), route.canary, route.backup), (ended.slot, None, true));
    let shares: Vec<u8> = scene.told().await.iter().filter_map(shifted).collect();
    assert_eq!(shares, [5, 25, 50]);
    let rows = scene.world.rows(ended.id, StepName::Shift).await;
    assert_eq!(rows.len(), 3, "each share is a step of its own: {rows:?}");
    assert_eq!(scene.world.app().await.serving.canary, None);
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

fn shifted(kind: &EventKind) -> Option<u8> {
    if let EventKind::CanaryShifted { percent, .. } = kind { Some(percent.percent()) } else { None }
}

#[tokio::test(start_paused = true)]
async fn what_dies_loses_its_share_at_once() {
    let scene = Scene::new().await;
    scene.gets(Some(25)).await;
    let died = scene.world.clock.monotonic();
    assert!(scene.world.runtime.kill(&scene.world.container(scene.new.id)));
    let ended = scene.end().await;
    assert!(scene.world.clock.monotonic() - died < Duration::from_secs(10), "nobody waits for a second look");
    assert_eq!((ended.conclusion, way(&ended).outcome), (Some(Conclusion::Failed), Some(CanaryOutcome::TakenBack)));
    assert_eq!(ended.failure.unwrap().code, "exited");
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_unwell_three_times_in_a_row_loses_its_share() {
    let scene = Scene::new().await;
    scene.world.runtime.set_health(&scene.world.container(scene.new.id), Health::Status(500));
    let ended = scene.end().await;
    let way = way(&ended);
    assert_eq!((ended.conclusion, way.unwell), (Some(Conclusion::Failed), 3));
    assert_eq!(ended.failure, way.failure, "the figures are its failure");
    let told = scene.told().await;
    let count = |wanted: fn(&EventKind) -> bool| told.iter().filter(|kind| wanted(kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::CanaryUnwell { .. })), 3);
    assert!(told.contains(&EventKind::CanarySettled { outcome: CanaryOutcome::TakenBack }), "{told:?}");
    assert_eq!(count(|kind| matches!(kind, EventKind::Promoted { .. })), 0);
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_look_decides_nothing() {
    let scene = Scene::new().await;
    let container = scene.world.container(scene.new.id);
    scene.world.runtime.set_health(&container, Health::Status(500));
    scene.world.until("a bad look", || async { way(&scene.now().await).unwell == 1 }).await;
    scene.world.runtime.set_health(&container, Health::Healthy);
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_the_share_back_before_anything_is_stopped() {
    let scene = Scene::new().await;
    // A request of its share that is not over yet.
    let open = loop {
        let open = scene.world.router.open(&name()).unwrap();
        if Some(open.slot()) == scene.now().await.slot {
            break open;
        }
    };
    scene.engine.cancel(scene.new.id, "ann").await.unwrap();
    scene.gets(None).await;
    assert_eq!(scene.world.running().len(), 2, "it has a request yet");
    drop(open);
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, ended.failure.clone()), (Some(Conclusion::Cancelled), None));
    assert_eq!(way(&ended).outcome, Some(CanaryOutcome::TakenBack));
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_does_not_wait_for_the_end_of_the_steps() {
    let scene = Scene::new().await;
    let asked = scene.world.clock.monotonic();
    let newer = scene.engine.deploy(&name(), DeployRequest::commit(scene.world.good())).await.unwrap();
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Superseded));
    assert!(scene.world.clock.monotonic() - asked < Duration::from_secs(5));
    assert_eq!(scene.share(), None);
    assert_eq!(scene.world.end(&scene.engine, newer.id).await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn rollbacks_get_all_requests_at_once() {
    let scene = Scene::new().await;
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    let back = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap();
    let back = scene.world.end(&scene.engine, back.id).await;
    assert_eq!((back.conclusion, back.canary), (Some(Conclusion::Succeeded), None));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_goes_back_meanwhile_has_to_say_what_is_meant() {
    let scene = Scene::new().await;
    let refused = scene.engine.rollback(&name(), RollbackRequest::default()).await.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::Conflict, "canary_under_way"));
    assert!(refused.hint().unwrap().contains(&scene.new.id.to_string()), "{refused}");
    scene.engine.cancel(scene.new.id, "ann").await.unwrap();
    scene.end().await;
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_agree_before_it_has_users_and_it_is_watched_after_it_has_all() {
    let app = stepped_app().with_approval(ApprovalPolicy::of(1)).with_bake(BakePolicy::lasting(HOLD));
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app).await.unwrap();
    for first in [true, false] {
        let new = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
        let waits = || async { engine.approvals().await.unwrap().pop() };
        world.until("the question", || async { waits().await.is_some() }).await;
        assert_eq!(world.router.route(&name()).and_then(|route| route.canary), None);
        let pending = waits().await.unwrap();
        engine.answer_approval(new.id, ApprovalRequest::approve(&pending, "bob")).await.unwrap();
        let ended = world.end(&engine, new.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
        assert_eq!((ended.canary.is_some(), ended.bake.is_some()), (!first, !first));
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_starts_anew_goes_on_with_the_time_that_is_left() {
    let scene = Scene::new().await;
    let until = way(&scene.now().await).ends_at.unwrap();
    scene.world.pass(HOLD / 2).await;
    scene.engine.shutdown().await;
    let engine = scene.world.engine().await;
    scene.gets(Some(25)).await;
    let since = way(&scene.now().await).held_since.unwrap();
    assert!(since >= until && since.since(until) < Duration::from_secs(10), "{since} {until}");
    assert_eq!(scene.world.end(&engine, scene.new.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

/// Somebody has changed the route by hand, or the router has forgotten it.
#[tokio::test(start_paused = true)]
async fn a_wrong_share_is_mended_while_it_is_held() {
    let scene = Scene::new().await;
    let wrong = |route: Route| Route { canary: None, fence: Fence(1000), generation: Generation(0), ..route };
    let route = wrong(scene.world.router.route(&name()).unwrap());
    // As old as can be for the engine's next lease.
    let call = Call::new("by hand", route.fence, HOLD);
    let fence = scene.world.store.acquire_lease(&name(), &"other".parse().unwrap(), HOLD).await.unwrap().fence;
    let route = Route { fence, ..route };
    scene.world.router.apply(&Call { fence, ..call }, &route).await.unwrap();
    let lease = quark_core::backend::Lease { app: name(), owner: "other".parse().unwrap(), fence };
    scene.world.store.release_lease(&lease).await.unwrap();
    assert_eq!(scene.share(), None);
    scene.world.until("it is mended", || async { scene.share() == Some(5) }).await;
    assert_eq!(way(&scene.now().await).step, 0, "and the time of its step goes on");
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_mended_meanwhile() {
    let scene = Scene::new().await;
    assert!(scene.world.runtime.kill(&scene.world.container(scene.before.id)));
    scene.world.until("it runs again", || async { scene.world.running().len() == 2 }).await;
    assert_eq!(scene.share(), Some(5));
    assert_eq!(scene.end().await.conclusion, Some(Conclusion::Succeeded));
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_refuses_a_share_leaves_what_serves() {
    let scene = Scene::new().await;
    for _ in 0..3 {
        scene.world.router.refuse_next(Error::new(ErrorKind::InvalidConfig, "not to my taste"));
    }
    let ended = scene.end().await;
    let failure = ended.failure.unwrap();
    assert_eq!((ended.conclusion, failure.step), (Some(Conclusion::Failed), Some(StepName::Shift)));
    scene.assert_taken_back().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_explained() {
    let scene = Scene::new().await;
    scene.world.pass(Duration::from_secs(10)).await;
    let text = scene.engine.explain(&name()).await.unwrap().to_string();
    assert!(text.contains("gets 5 % of the requests (step 1 of 3) for another "), "{text}");
    assert!(!text.contains("Not as it should be"), "{text}");
    scene.engine.cancel(scene.new.id, "ann").await.unwrap();
    scene.reaches(State::Completed).await;
    scene.engine.shutdown().await;
}

/// A router that serves one slot at a time.
#[derive(Debug)]
struct Plain(MemoryRouter);

#[async_trait]
impl Router for Plain {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        route.refuse_share()?;
        self.0.apply(call, route).await
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        self.0.observe(app).await
    }

    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        self.0.drained(app, slot, endpoint, longest).await
    }

    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        self.0.remove(call, app).await
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_router_cannot_nothing_is_begun() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(stepped_app()).await.unwrap();
    engine.shutdown().await;
    let parts = Parts { router: Arc::new(Plain(world.router.clone())), ..world.parts() };
    let engine = world.start("test", parts).await;
    let record = world.app().await;
    let other = App { name: "other".parse().unwrap(), ..stepped_app() };
    let refused = [
        engine.create_app(other).await.unwrap_err(),
        engine.update_app(stepped_app(), record.version).await.unwrap_err(),
        engine.deploy(&name(), DeployRequest::default()).await.unwrap_err(),
    ];
    for error in refused {
        let told = (error.kind(), error.code(), error.field());
        assert_eq!(told, (ErrorKind::Unsupported, "canary_unsupported", Some("app.canary")));
        assert!(error.hint().is_some());
    }
    assert!(world.store.unfinished(None).await.unwrap().is_empty());
    engine.update_app(app(), record.version).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    engine.shutdown().await;
}
