//! Plans: what is planned is what is done, and nothing else is done.

use std::time::Duration;

use quark_core::app::{CanaryPolicy, CanaryStep, Hook, HookPoint, Hooks};
use quark_core::deployment::SupersedePolicy;
use quark_core::engine::{Downtime, Effect, Fate, Plan, Wish};
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    ApprovalPolicy, ApprovalRequest, Argv, BakePolicy, Conclusion, DeployRequest, Deployment, DeploymentEngine,
    DeploymentId, ErrorKind, RollbackRequest, State, StepName, Store, Timing,
};

use super::world::{REPOSITORY, World, app, deploy_well, name};

fn deploys() -> Wish {
    Wish::Deploy(DeployRequest::default())
}

fn goes_back() -> Wish {
    Wish::Rollback(RollbackRequest::default())
}

async fn plan(engine: &DeploymentEngine, wish: Wish) -> Plan {
    engine.plan(&name(), wish).await.unwrap()
}

/// The steps that a plan names, in their order.
fn planned(plan: &Plan) -> Vec<StepName> {
    plan.steps.iter().filter_map(|step| step.step).collect()
}

/// The steps that were done, each at its last attempt, in their order; those of
/// the probe as often as it was done.
async fn journal(world: &World, id: DeploymentId) -> Vec<StepName> {
    let mut steps = world.store.snapshot(id).await.unwrap().unwrap().steps;
    steps.sort_by_key(|step| step.started_at);
    steps.into_iter().map(|step| step.name).collect()
}

/// Applies a plan and compares what was done with what was planned: the steps
/// of the deployment, then those of the version that it replaced.
async fn done_as_planned(world: &World, engine: &DeploymentEngine, plan: Plan) -> Deployment {
    let planned = planned(&plan);
    assert_eq!((plan.fails(), &plan.obstacles[..]), (None, &[][..]), "{plan}");
    let replaced = plan.live.as_ref().map(|live| live.deployment);
    let before = match replaced {
        Some(id) => journal(world, id).await.len(),
        None => 0,
    };
    let deployment = engine.apply(plan.wish).await.unwrap();
    if deployment.release.approval.is_some() && deployment.kind == quark_core::DeploymentKind::Deploy {
        agree(world, engine, deployment.id).await;
    }
    let ended = world.end(engine, deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded), "{:?}", ended.failure);
    let mut done = journal(world, ended.id).await;
    if let Some(replaced) = replaced.filter(|_| planned.contains(&StepName::Retire)) {
        world.pass(ended.release.timing.grace + Duration::from_secs(40)).await;
        done.extend(journal(world, replaced).await.into_iter().skip(before));
    }
    assert_eq!(done, planned);
    ended
}

async fn agree(world: &World, engine: &DeploymentEngine, id: DeploymentId) {
    let asked = || async { engine.deployment(id).await.unwrap().state == State::AwaitingApproval };
    world.until("people are asked", asked).await;
    let pending = engine.approvals().await.unwrap();
    let pending = pending.iter().find(|pending| pending.deployment.id == id).unwrap();
    engine.answer_approval(id, ApprovalRequest::approve(pending, "bob")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_version_and_the_next() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let commit = world.good();
    let first = plan(&engine, deploys()).await;
    assert_eq!((first.downtime, &first.live), (Downtime::NothingServes, &None));
    assert_eq!(
        planned(&first),
        [StepName::Fetch, StepName::Build, StepName::Create, StepName::Start, StepName::Probe, StepName::Promote]
    );
    let first = done_as_planned(&world, &engine, first).await;
    assert_eq!(first.revision.commit, Some(commit));

    world.good();
    let second = plan(&engine, deploys()).await;
    assert_eq!(second.downtime, Downtime::None);
    let build = second.steps.iter().find(|step| step.step == Some(StepName::Build)).unwrap();
    assert!(build.last_took.is_some(), "how long it took last time is known");
    assert!(matches!(second.steps.last().map(|step| &step.effect), Some(Effect::Retire)));
    done_as_planned(&world, &engine, second).await;
    assert_eq!(world.app().await.serving.standby, None, "its grace is over");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_third_one_makes_room_and_one_that_was_built_is_not_built_again() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = world.good();
    deploy_well(&engine, &first).await;
    deploy_well(&engine, &world.good()).await;
    let again = plan(&engine, Wish::Deploy(DeployRequest::commit(first.clone()))).await;
    assert_eq!(planned(&again)[..2], [StepName::Fetch, StepName::Clear]);
    assert_eq!(again.steps[0].effect, Effect::Reuse { commit: first });
    done_as_planned(&world, &engine, again).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn with_people_and_with_a_watch() {
    let world = World::paused();
    let engine = world.engine().await;
    let watched = BakePolicy::lasting(Duration::from_secs(10)).with_interval(Duration::from_secs(1));
    engine.create_app(app().with_approval(ApprovalPolicy::of(1)).with_bake(watched)).await.unwrap();
    for _ in 0..2 {
        world.good();
        let next = plan(&engine, deploys()).await;
        let asks = next.steps.iter().any(|step| matches!(step.effect, Effect::Ask { .. }));
        assert!(asks, "{next}");
        let watches = next.steps.iter().any(|step| matches!(step.effect, Effect::Bake { .. }));
        let ended = done_as_planned(&world, &engine, next).await;
        assert_eq!(watches, ended.bake.is_some(), "a first version has nothing to go back to");
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn by_steps_and_with_programs_beside_it() {
    let world = World::paused();
    let engine = world.engine().await;
    let steps = [10, 50].map(|percent| CanaryStep::new(percent, Duration::from_secs(3)));
    let by_steps = CanaryPolicy::of(steps).with_interval(Duration::from_secs(1));
    let hook = Hook::new(Argv::new(["./hook"]).unwrap());
    let hooks = HookPoint::ALL.into_iter().fold(Hooks::default(), |hooks, point| hooks.with(point, hook.clone()));
    engine.create_app(app().with_canary(by_steps).with_hooks(hooks)).await.unwrap();
    for shares in [&[][..], &[10, 50]] {
        world.good();
        let next = plan(&engine, deploys()).await;
        let percent = |effect: &Effect| match effect {
            Effect::Share { percent, .. } => Some(*percent),
            _ => None,
        };
        let planned: Vec<u8> = next.steps.iter().filter_map(|step| percent(&step.effect)).collect();
        assert_eq!(planned, shares, "a first version has nobody to share with");
        done_as_planned(&world, &engine, next).await;
    }
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_way_back_that_is_warm_and_one_that_is_not() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    deploy_well(&engine, &world.good()).await;
    let warm = plan(&engine, goes_back()).await;
    assert_eq!(planned(&warm)[..2], [StepName::Probe, StepName::Promote]);
    assert_eq!(warm.wish.expects.standby, Some(first.id));
    done_as_planned(&world, &engine, warm).await;
    let cold = plan(&engine, goes_back()).await;
    assert_eq!(planned(&cold)[..2], [StepName::Create, StepName::Start], "the other one was retired meanwhile");
    assert_eq!(cold.wish.expects.standby, None);
    done_as_planned(&world, &engine, cold).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_app() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    let removal = plan(&engine, Wish::Remove { by: "ann".to_owned() }).await;
    assert_eq!((removal.downtime, planned(&removal)), (Downtime::ForGood, vec![StepName::Unroute, StepName::Undo]));
    done_as_planned(&world, &engine, removal).await;
    assert_eq!(engine.app(&name()).await.unwrap_err().kind(), ErrorKind::NotFound);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_for_a_plan() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    deploy_well(&engine, &world.good()).await;
    world.good();
    let before = (world.runtime.effects().len(), world.builder.builds().len(), world.app().await);
    let position = world.store.position().await.unwrap();
    plan(&engine, deploys()).await;
    assert_eq!(before, (world.runtime.effects().len(), world.builder.builds().len(), world.app().await));
    assert_eq!(world.store.position().await.unwrap(), position, "something was written");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_names_the_commit_that_it_deploys() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let seen = world.good();
    let plan = plan(&engine, deploys()).await;
    world.good();
    assert_eq!(done_as_planned(&world, &engine, plan).await.revision.commit, Some(seen), "not the head of by then");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_plan_twice_is_one_deployment() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    world.good();
    for wish in [deploys(), deploys(), goes_back()] {
        let wish = plan(&engine, wish).await.wish;
        let first = engine.apply(wish.clone()).await.unwrap();
        assert_eq!(engine.apply(wish.clone()).await.unwrap().id, first.id);
        world.end(&engine, first.id).await;
        assert_eq!(engine.apply(wish).await.unwrap().id, first.id);
    }
    engine.shutdown().await;
}

/// The code and the text of the refusal of a plan.
async fn refused(engine: &DeploymentEngine, plan: Plan) -> String {
    let error = engine.apply(plan.wish).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "plan_outdated"));
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_yesterday_is_refused() {
    let world = World::paused();
    let engine = world.engine().await;
    let record = engine.create_app(app()).await.unwrap();
    world.good();
    let settings = plan(&engine, deploys()).await;
    engine.update_app(app().with_port(9000), record.version).await.unwrap();
    assert!(refused(&engine, settings).await.contains("what is said about `shop` was changed"));
    let live = plan(&engine, deploys()).await;
    let first = deploy_well(&engine, &world.good()).await;
    assert!(refused(&engine, live).await.contains(&format!("deployment `{}` is live by now", first.id)));
    deploy_well(&engine, &world.good()).await;
    let warm = plan(&engine, goes_back()).await;
    world.pass(app().timing.grace + Duration::from_secs(40)).await;
    assert!(refused(&engine, warm).await.contains("does not stand by any more"));
    let count = engine.deployments(&name(), None, 100).await.unwrap().len();
    assert_eq!(count, 2, "nothing came of them");
    engine.shutdown().await;
}

/// Between its wish and its turn something else was promoted.
#[tokio::test(start_paused = true)]
async fn a_plan_whose_turn_comes_too_late_changes_nothing() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let (earlier, commit) = world.under_way(&engine).await;
    let next = plan(&engine, deploys()).await;
    assert_eq!(
        next.earlier.iter().map(|it| (it.deployment, it.fate)).collect::<Vec<_>>(),
        [(earlier.id, Fate::ComesFirst)]
    );
    let planned = engine.apply(next.wish).await.unwrap();
    world.builder.release(&commit);
    world.end(&engine, earlier.id).await;
    let ended = world.end(&engine, planned.id).await;
    let failure = ended.failure.unwrap();
    assert_eq!((ended.conclusion, failure.code.as_str()), (Some(Conclusion::Failed), "plan_outdated"));
    assert_eq!(journal(&world, planned.id).await, [StepName::Undo], "nothing was begun");
    assert_eq!(world.app().await.serving.live.unwrap().deployment, earlier.id);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_said() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    world.good();
    let nowhere = DeployRequest { branch: Some("nowhere".parse().unwrap()), ..DeployRequest::default() };
    let plan = engine.plan(&name(), Wish::Deploy(nowhere)).await.unwrap();
    assert_eq!(plan.fails().unwrap().code, "branch_not_found");
    assert!(plan.to_string().contains("it would fail: "), "{plan}");
    // What would be refused has no plan.
    let nothing = engine.plan(&name(), goes_back()).await.unwrap_err();
    assert_eq!(nothing.code(), "nothing_to_roll_back_to");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_is_said_too() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app().with_supersede(SupersedePolicy::Reject)).await.unwrap();
    let (earlier, commit) = world.under_way(&engine).await;
    let plan = plan(&engine, deploys()).await;
    assert_eq!(plan.fails().unwrap().code, engine.apply(plan.wish.clone()).await.unwrap_err().code());
    world.builder.release(&commit);
    world.end(&engine, earlier.id).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_down_already_is_not_called_safe() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let live = deploy_well(&engine, &world.good()).await;
    world.runtime.kill(&world.container(live.id));
    assert_eq!(plan(&engine, deploys()).await.downtime, Downtime::AlreadyDown);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_reads_well() {
    let world = World::paused();
    let engine = world.engine().await;
    let short = Timing { grace: Duration::from_secs(90), ..app().timing };
    let record = engine.create_app(app().with_env("LEVEL", "one").unwrap()).await.unwrap();
    let first = deploy_well(&engine, &world.good()).await;
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    engine.update_app(app().with_timing(short).with_env("LEVEL", "two").unwrap(), record.version).await.unwrap();
    let plan = plan(&engine, deploys()).await;
    let (old, new) = (first.revision.commit.unwrap(), sick);
    let took = |name| plan.steps.iter().find(|step| step.step == Some(name)).unwrap().last_took.unwrap().as_millis();
    let [fetch, build, create, start, probe, promote] =
        [StepName::Fetch, StepName::Build, StepName::Create, StepName::Start, StepName::Probe, StepName::Promote]
            .map(took);
    let text = format!(
        "Plan for `shop`: deploy commit {} in place of commit {} (#1, blue).

Different from what serves:
- `timing` is different
- variable `LEVEL` has another value

In this order:
 1. fetch commit {} from {REPOSITORY} (at most 2 min, {fetch} ms last time)
 2. build its image (at most 20 min, {build} ms last time)
 3. create a container in the green slot (at most 30 s, {create} ms last time)
 4. start it (at most 30 s, {start} ms last time)
 5. ask for its health until 2 answers in a row are good (at most 0.4 s, {probe} ms last time)
 6. send users to green instead of blue (at most 30 s, {promote} ms last time)
 7. keep the version before warm, for 1 min 30 s
 8. let the version before finish its requests (at most 30 s)
 9. stop and remove the version before (at most 40 s)

No downtime: what serves goes on until the other version is well, and the switch loses no request.
",
        &new.as_str()[..7],
        &old.as_str()[..7],
        &new.as_str()[..7],
    );
    assert_eq!(plan.to_string(), text);
    engine.shutdown().await;
}
