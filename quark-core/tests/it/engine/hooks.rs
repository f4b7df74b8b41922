//! Programs of a version run beside its deployment, at fixed points of it.

use std::time::Duration;

use futures_util::StreamExt as _;
use quark_core::app::{Argv, Hook, HookPoint, Hooks};
use quark_core::backend::container_runtime::label;
use quark_core::backend::{ContainerState, Purpose};
use quark_core::engine::Finding;
use quark_core::memory::{Behaviour, HookRun};
use quark_core::{
    App, ApprovalPolicy, ApprovalRequest, Conclusion, ContainerName, DeployRequest, Deployment, DeploymentEngine,
    DeploymentId, Error, ErrorKind, EventKind, Resources, State, StepName, Store,
};

use super::world::{World, app, deploy_well, name, roll_back};

const TIMEOUT: Duration = Duration::from_secs(30);

fn hook() -> Hook {
    Hook::new(Argv::new(["./manage", "--", "$HOME"]).unwrap()).with_timeout(TIMEOUT)
}

fn hooked_app(points: &[HookPoint]) -> App {
    app().with_hooks(points.iter().fold(Hooks::default(), |hooks, point| hooks.with(*point, hook())))
}

fn runs(point: HookPoint, run: HookRun) -> Behaviour {
    Behaviour::healthy().running_hook(point, run)
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) engine: DeploymentEngine,
}

impl Scene {
    pub(super) async fn new(points: &[HookPoint]) -> Self {
        Self::of(hooked_app(points)).await
    }

    async fn of(app: App) -> Self {
        let world = World::paused();
        let engine = world.engine().await;
        engine.create_app(app).await.unwrap();
        Self { world, engine }
    }

    async fn asked(&self, behaviour: Behaviour) -> Deployment {
        let commit = self.world.commit(behaviour);
        self.engine.deploy(&name(), DeployRequest::commit(commit)).await.unwrap()
    }

    pub(super) async fn deployed(&self, behaviour: Behaviour) -> Deployment {
        let asked = self.asked(behaviour).await;
        self.world.end(&self.engine, asked.id).await
    }

    /// Waits until a hook runs; its container.
    async fn running(&self, id: DeploymentId, point: HookPoint) -> ContainerName {
        let container = ContainerName::of_hook(&name(), id, point);
        let is_running = || self.world.running().contains(&container.to_string());
        self.world.until("the hook runs", || async { is_running() }).await;
        container
    }

    fn is_there(&self, container: &ContainerName) -> bool {
        self.world.runtime.spec(container).is_some()
    }

    async fn ends(&self, id: DeploymentId) -> Vec<(HookPoint, bool, Option<i32>)> {
        let events = self.world.store.events(Some(id), 0, 1000).await.unwrap();
        let ended = events.into_iter().filter_map(|event| match event.kind {
            EventKind::HookEnded { hook, succeeded, exit_code, .. } => Some((hook, succeeded, exit_code)),
            _ => None,
        });
        ended.collect()
    }

    async fn log(&self, id: DeploymentId) -> Vec<String> {
        self.engine.log(id, 0, false).map(|line| line.unwrap().text).collect().await
    }

    /// What was started, by the end of its name.
    fn starts(&self) -> Vec<String> {
        let effects = self.world.runtime.effects().into_iter().filter(|effect| effect.operation == "start");
        effects.map(|effect| effect.target.chars().skip("qk-shop-".len() + 33).collect()).collect()
    }

    async fn live(&self) -> DeploymentId {
        self.world.app().await.serving.live.unwrap().deployment
    }
}

#[tokio::test(start_paused = true)]
async fn each_runs_at_its_point_and_leaves_nothing() {
    let scene = Scene::new(&HookPoint::ALL).await;
    let first = scene.deployed(runs(HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 2, 0))).await;
    assert_eq!(first.conclusion, Some(Conclusion::Succeeded), "{:?}", first.failure);
    assert_eq!(scene.starts(), ["pre-deploy", "0", "pre-promote", "post-promote"]);
    let well = |point| (point, true, Some(0));
    let points = [HookPoint::PreDeploy, HookPoint::PrePromote, HookPoint::PostPromote];
    assert_eq!(scene.ends(first.id).await, points.map(well));
    let row = scene.world.rows(first.id, StepName::PreDeploy).await.pop().unwrap();
    assert!(row.finished_at.unwrap().since(row.started_at) >= TIMEOUT / 2);
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_a_container_of_the_new_image_and_no_instance() {
    let resources = Resources::new(500, 64 << 20, 16).unwrap();
    let app = hooked_app(&[HookPoint::PreDeploy]).with_resources(resources).with_env("KEY", "value").unwrap();
    let scene = Scene::of(app).await;
    let asked = scene.asked(runs(HookPoint::PreDeploy, HookRun::Hangs)).await;
    let container = scene.running(asked.id, HookPoint::PreDeploy).await;
    let spec = scene.world.runtime.spec(&container).unwrap();
    let deployment = scene.engine.deployment(asked.id).await.unwrap();
    assert_eq!((spec.purpose, Some(spec.artifact)), (Purpose::Hook(HookPoint::PreDeploy), deployment.artifact));
    assert_eq!((spec.command, spec.resources), (Some(hook().command), resources));
    let env: Vec<_> = spec.env.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert!(env.contains(&("KEY", "value")) && env.contains(&("QUARK_HOOK", "pre_deploy")), "{env:?}");
    let seen = scene.world.runtime.containers().into_iter().find(|it| it.name == container).unwrap();
    assert!(seen.labels.contains_key(label::HOOK) && !seen.labels.contains_key(label::SLOT));
    // It is under way: the collection of garbage leaves it alone.
    scene.world.pass(TIMEOUT / 2).await;
    assert_eq!(scene.engine.garbage().await.unwrap().orphans, []);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_happens_to_users_if_one_fails_before_the_promotion() {
    for (point, instances) in [(HookPoint::PreDeploy, 0), (HookPoint::PrePromote, 1)] {
        let scene = Scene::new(&[point]).await;
        let before = deploy_well(&scene.engine, &scene.world.good()).await;
        let failed = scene.deployed(runs(point, HookRun::Ends(3)).printing(["no such table"])).await;
        let failure = failed.failure.clone().unwrap();
        assert_eq!((failed.conclusion, failure.code.as_str()), (Some(Conclusion::Failed), "hook_failed"));
        assert_eq!((failure.step, failure.kind), (Some(point.into()), ErrorKind::Unhealthy));
        assert!(failure.message.contains("exited with code 3"), "{failure}");
        assert_eq!(scene.ends(failed.id).await, [(point, false, Some(3))]);
        assert_eq!(scene.world.rows(failed.id, point.into()).await.len(), 1, "it is not tried again");
        assert_eq!(scene.world.rows(failed.id, StepName::Create).await.len(), instances);
        assert!(scene.log(failed.id).await.contains(&"no such table".to_owned()));
        assert_eq!(scene.live().await, before.id);
        scene.world.check_rest().await;
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_too_long_is_stopped() {
    for point in [HookPoint::PreDeploy, HookPoint::PrePromote] {
        let scene = Scene::new(&[point]).await;
        let failed = scene.deployed(runs(point, HookRun::Hangs).ignoring_stop()).await;
        let failure = failed.failure.unwrap();
        assert_eq!((failure.kind, failure.code.as_str()), (ErrorKind::Timeout, "hook_timeout"));
        let row = scene.world.rows(failed.id, point.into()).await.pop().unwrap();
        let took = row.finished_at.unwrap().since(row.started_at);
        // Then it is given its time to stop.
        let longest = TIMEOUT + app().timing.stop;
        assert!(took >= TIMEOUT && took < longest + Duration::from_secs(1), "{took:?}");
        assert_eq!(scene.ends(failed.id).await, [(point, false, None)]);
        assert_eq!(scene.world.runtime.containers(), []);
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_it() {
    for point in [HookPoint::PreDeploy, HookPoint::PrePromote] {
        let scene = Scene::new(&[point]).await;
        let asked = scene.asked(runs(point, HookRun::Hangs)).await;
        let container = scene.running(asked.id, point).await;
        let began = scene.world.clock.monotonic();
        scene.engine.cancel(asked.id, "alice").await.unwrap();
        let ended = scene.world.end(&scene.engine, asked.id).await;
        assert_eq!((ended.conclusion, ended.failure), (Some(Conclusion::Cancelled), None));
        assert!(scene.world.clock.monotonic() - began < Duration::from_secs(2));
        assert!(!scene.is_there(&container));
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_engine_waits_for_what_the_last_has_begun() {
    for (point, run) in [
        (HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 2, 0)),
        (HookPoint::PrePromote, HookRun::Takes(TIMEOUT / 2, 0)),
        (HookPoint::PostPromote, HookRun::Takes(TIMEOUT / 2, 0)),
    ] {
        let scene = Scene::new(&[point]).await;
        let asked = scene.asked(runs(point, run)).await;
        scene.running(asked.id, point).await;
        scene.engine.shutdown().await;
        assert_eq!(scene.world.running().iter().filter(|it| !it.ends_with("-0")).count(), 1, "it was stopped");
        let next = scene.world.engine().await;
        let ended = scene.world.end(&next, asked.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{point}: {:?}", ended.failure);
        assert_eq!(scene.starts().into_iter().filter(|start| start != "0").count(), 1, "{point}");
        let rows = scene.world.rows(asked.id, point.into()).await;
        assert_eq!(rows.into_iter().map(|row| row.attempt).collect::<Vec<_>>(), [1]);
        scene.world.check_rest().await;
        next.shutdown().await;
    }
}

/// One whose end came while nobody looked counts as it ended.
#[tokio::test(start_paused = true)]
async fn the_next_engine_sees_how_it_ended_meanwhile() {
    for (code, conclusion) in [(0, Conclusion::Succeeded), (3, Conclusion::Failed)] {
        let scene = Scene::new(&[HookPoint::PreDeploy]).await;
        let asked = scene.asked(runs(HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 3, code))).await;
        scene.running(asked.id, HookPoint::PreDeploy).await;
        scene.engine.shutdown().await;
        scene.world.pass(TIMEOUT / 2).await;
        let next = scene.world.engine().await;
        assert_eq!(scene.world.end(&next, asked.id).await.conclusion, Some(conclusion));
        assert_eq!(scene.starts().iter().filter(|start| *start == "pre-deploy").count(), 1);
        next.shutdown().await;
    }
}

/// A runtime whose processes are its engine's cannot tell how one ended that
/// outlived the engine.
#[tokio::test(start_paused = true)]
async fn one_whose_end_nobody_has_seen_is_run_again() {
    let scene = Scene::new(&[HookPoint::PreDeploy]).await;
    let asked = scene.asked(runs(HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 3, 0))).await;
    let container = scene.running(asked.id, HookPoint::PreDeploy).await;
    scene.engine.shutdown().await;
    scene.world.pass(TIMEOUT / 2).await;
    assert!(scene.world.runtime.forget_end(&container));
    let next = scene.world.engine().await;
    let ended = scene.world.end(&next, asked.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert_eq!(scene.starts().iter().filter(|start| *start == "pre-deploy").count(), 2);
    scene.world.check_rest().await;
    next.shutdown().await;
}

/// Whether it ended in its time, nobody can tell any more: it counts as too late.
#[tokio::test(start_paused = true)]
async fn one_that_is_found_ended_after_its_time_counts_as_too_late() {
    let scene = Scene::new(&[HookPoint::PreDeploy]).await;
    let asked = scene.asked(runs(HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 2, 0))).await;
    scene.running(asked.id, HookPoint::PreDeploy).await;
    scene.engine.shutdown().await;
    scene.world.pass(2 * TIMEOUT).await;
    let next = scene.world.engine().await;
    assert_eq!(scene.world.end(&next, asked.id).await.failure.unwrap().code, "hook_timeout");
    next.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_for_a_while_does_not_run_it_twice() {
    let scene = Scene::new(&[HookPoint::PreDeploy]).await;
    let away = || Error::new(ErrorKind::Unavailable, "the daemon is restarted");
    scene.world.runtime.lose_answer("start", away());
    let ended = scene.deployed(runs(HookPoint::PreDeploy, HookRun::Takes(TIMEOUT / 2, 0))).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert_eq!(scene.world.rows(ended.id, StepName::PreDeploy).await.len(), 2);
    assert_eq!(scene.starts().iter().filter(|start| *start == "pre-deploy").count(), 1);
    assert_eq!(scene.ends(ended.id).await, [(HookPoint::PreDeploy, true, Some(0))]);
    scene.engine.shutdown().await;
}

/// The image was pruned in between: it is made once more, and the hook runs to its
/// end once, whichever of the two containers could not be made.
#[tokio::test(start_paused = true)]
async fn going_back_to_the_build_neither_skips_nor_repeats_it() {
    for ran_before in [false, true] {
        let scene = Scene::new(&[HookPoint::PreDeploy]).await;
        let commit = scene.world.good();
        scene.world.builder.hold(&commit);
        let asked = scene.engine.deploy(&name(), DeployRequest::commit(commit.clone())).await.unwrap();
        scene.world.builder.building(&commit).await;
        let runtime = &scene.world.runtime;
        if ran_before {
            // The hook's own is the first that is made.
            runtime.lose_answer("create", Error::new(ErrorKind::Unavailable, "away"));
        }
        runtime.fail_next("create", Error::new(ErrorKind::NotFound, "no such image").with_code("image_not_found"));
        scene.world.builder.release(&commit);
        let ended = scene.world.end(&scene.engine, asked.id).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
        assert_eq!(scene.starts(), ["pre-deploy", "0"], "ran before: {ran_before}");
        scene.world.check_rest().await;
        scene.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn people_are_asked_before_the_hook_of_the_promotion() {
    let scene = Scene::of(hooked_app(&[HookPoint::PrePromote]).with_approval(ApprovalPolicy::of(1))).await;
    let asked = scene.asked(Behaviour::healthy()).await;
    let state = || async { scene.engine.deployment(asked.id).await.unwrap().state };
    scene.world.until("people are asked", || async { state().await == State::AwaitingApproval }).await;
    assert_eq!(scene.starts(), ["0"]);
    let question = scene.engine.approvals().await.unwrap().pop().unwrap();
    let answer = ApprovalRequest::answer(&question.approval, "bob", true);
    scene.engine.answer_approval(asked.id, answer).await.unwrap();
    let ended = scene.world.end(&scene.engine, asked.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    assert_eq!(scene.starts(), ["0", "pre-promote"]);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_serves_goes_on_if_the_hook_after_the_promotion_fails() {
    for run in [HookRun::Ends(3), HookRun::Hangs] {
        let scene = Scene::new(&[HookPoint::PostPromote]).await;
        let asked = scene.asked(runs(HookPoint::PostPromote, run)).await;
        let ended = scene.world.end(&scene.engine, asked.id).await;
        assert_eq!((ended.conclusion, ended.failure), (Some(Conclusion::Succeeded), None), "{run:?}");
        assert_eq!(scene.live().await, asked.id);
        let explained = scene.engine.explain(&name()).await.unwrap();
        let said = explained.findings.iter().find_map(|finding| match finding {
            Finding::HookFailed { hook: HookPoint::PostPromote, failure, .. } => Some(failure.code.clone()),
            _ => None,
        });
        let code = if run == HookRun::Hangs { "hook_timeout" } else { "hook_failed" };
        assert_eq!(said.as_deref(), Some(code));
        assert!(explained.to_string().contains("post_promote hook"), "{explained}");
        scene.world.check_rest().await;
        scene.engine.shutdown().await;
    }
}

/// It holds neither the app nor those who want to go back.
#[tokio::test(start_paused = true)]
async fn a_rollback_does_not_wait_for_the_hook_after_the_promotion() {
    let scene = Scene::new(&[HookPoint::PostPromote]).await;
    let first = deploy_well(&scene.engine, &scene.world.good()).await;
    let asked = scene.asked(runs(HookPoint::PostPromote, HookRun::Hangs)).await;
    let container = scene.running(asked.id, HookPoint::PostPromote).await;
    assert_eq!(scene.engine.deployment(asked.id).await.unwrap().state, State::Baking);
    let began = scene.world.clock.monotonic();
    let back = roll_back(&scene.engine).await;
    assert!(scene.world.clock.monotonic() - began < Duration::from_secs(5), "{:?}", back.failure);
    assert_eq!(scene.engine.deployment(asked.id).await.unwrap().conclusion, Some(Conclusion::Succeeded));
    assert_eq!(back.artifact, first.artifact);
    scene.world.until("what is left of the hook is collected", || async { !scene.is_there(&container) }).await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_mended_while_the_hook_after_the_promotion_runs() {
    let scene = Scene::new(&[HookPoint::PostPromote]).await;
    let asked = scene.asked(runs(HookPoint::PostPromote, HookRun::Hangs)).await;
    scene.running(asked.id, HookPoint::PostPromote).await;
    let instance = scene.world.container(asked.id);
    assert!(scene.world.runtime.kill(&instance));
    scene.world.pass(Duration::from_secs(5)).await;
    assert!(scene.world.running().contains(&instance.to_string()), "it serves, and nobody has mended it");
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_runs_in_the_image_of_what_serves_when_the_old_version_is_gone() {
    let scene = Scene::new(&[HookPoint::PostRetire]).await;
    let old = deploy_well(&scene.engine, &scene.world.good()).await;
    let new = scene.deployed(runs(HookPoint::PostRetire, HookRun::Takes(TIMEOUT / 2, 0)).printing(["bye"])).await;
    let container = scene.running(old.id, HookPoint::PostRetire).await;
    let spec = scene.world.runtime.spec(&container).unwrap();
    assert_eq!(Some(spec.artifact), new.artifact);
    assert!(!scene.is_there(&scene.world.container(old.id)), "the old version is still there");
    assert!(scene.world.app().await.serving.standby.is_some_and(|standby| standby.retiring));
    let over = || async { scene.world.app().await.serving.standby.is_none() };
    scene.world.until("the old version is retired", over).await;
    assert_eq!(scene.ends(old.id).await, [(HookPoint::PostRetire, true, Some(0))]);
    // Its own values are kept secret only in its own log.
    assert!(scene.log(new.id).await.contains(&"bye".to_owned()));
    assert!(!scene.log(old.id).await.contains(&"bye".to_owned()));
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_needs_the_slot_does_not_wait_for_the_last() {
    let scene = Scene::new(&[HookPoint::PostRetire]).await;
    let old = deploy_well(&scene.engine, &scene.world.good()).await;
    scene.deployed(runs(HookPoint::PostRetire, HookRun::Hangs)).await;
    let container = scene.running(old.id, HookPoint::PostRetire).await;
    let began = scene.world.clock.monotonic();
    deploy_well(&scene.engine, &scene.world.good()).await;
    assert!(scene.world.clock.monotonic() - began < TIMEOUT / 2);
    scene.world.until("what is left of the hook is collected", || async { !scene.is_there(&container) }).await;
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_goes_back_or_away_runs_none() {
    let scene = Scene::new(&[HookPoint::PreDeploy, HookPoint::PrePromote, HookPoint::PostPromote]).await;
    deploy_well(&scene.engine, &scene.world.good()).await;
    deploy_well(&scene.engine, &scene.world.good()).await;
    let hooks = || scene.starts().into_iter().filter(|start| start != "0").count();
    let before = hooks();
    assert_eq!(before, 6);
    roll_back(&scene.engine).await;
    let removal = scene.engine.remove_app(&name(), "test").await.unwrap();
    scene.world.end(&scene.engine, removal.id).await;
    assert_eq!(hooks(), before);
    assert_eq!(scene.world.runtime.containers(), []);
    scene.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_it_prints_is_told_as_it_comes_and_shows_no_secret() {
    let app = hooked_app(&[HookPoint::PreDeploy]).with_env("TOKEN", "hunter2-hunter2").unwrap();
    let scene = Scene::of(app).await;
    let behaviour = runs(HookPoint::PreDeploy, HookRun::Hangs).printing(["step 1 of 2"]).printing_environment();
    let asked = scene.asked(behaviour).await;
    let mut log = scene.engine.log(asked.id, 0, true);
    let mut seen = Vec::new();
    while let Some(line) = log.next().await {
        seen.push(line.unwrap().text);
        if seen.iter().any(|line| line == "TOKEN=***") {
            break;
        }
    }
    let state = scene.engine.deployment(asked.id).await.unwrap().state;
    assert_eq!(state, State::Preparing, "it was told at the end only");
    assert!(seen.contains(&"step 1 of 2".to_owned()) && !seen.iter().any(|line| line.contains("hunter2")), "{seen:?}");
    let runs = scene.world.runtime.containers().into_iter().all(|it| it.state == ContainerState::Running);
    assert!(runs);
    scene.engine.cancel(asked.id, "alice").await.unwrap();
    scene.world.end(&scene.engine, asked.id).await;
    scene.engine.shutdown().await;
}
