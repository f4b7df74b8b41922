//! Versions that people must agree to before they serve.

use std::time::Duration;

use quark_core::backend::Metric;
use quark_core::deployment::SupersedePolicy;
use quark_core::engine::{Next, PendingApproval, Wait};
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    App, ApprovalPolicy, ApprovalRequest, CommitSha, Conclusion, DeployRequest, Deployment, DeploymentEngine,
    EventKind, State, StepName, Store,
};

use super::world::{World, app, name, roll_back};

/// After it, what waits was counted.
const SWEEP: Duration = Duration::from_secs(31);
/// A look at a version that waits.
const WATCH: Duration = Duration::from_secs(10);

fn gated(policy: ApprovalPolicy) -> App {
    app().with_approval(policy)
}

/// A world in which `policy` holds, with an engine.
async fn world(policy: ApprovalPolicy) -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(gated(policy)).await.unwrap();
    (world, engine)
}

/// A deployment of `commit` by ann, up to the question.
async fn asked(world: &World, engine: &DeploymentEngine, commit: CommitSha) -> PendingApproval {
    let request = DeployRequest { by: Some("ann".to_owned()), ..DeployRequest::commit(commit) };
    let deployment = engine.deploy(&name(), request).await.unwrap();
    world
        .until("it is asked", || async {
            let pending = engine.approvals().await.unwrap();
            pending.iter().any(|pending| pending.deployment.id == deployment.id)
        })
        .await;
    engine.approvals().await.unwrap().pop().unwrap()
}

async fn approve(engine: &DeploymentEngine, pending: &PendingApproval, by: &str) -> Deployment {
    engine.answer_approval(pending.deployment.id, ApprovalRequest::approve(pending, by)).await.unwrap()
}

async fn refused(engine: &DeploymentEngine, pending: &PendingApproval, request: ApprovalRequest) -> String {
    engine.answer_approval(pending.deployment.id, request).await.unwrap_err().code().to_owned()
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_to_it_before_enough_people_agree() {
    let (world, engine) = world(ApprovalPolicy::of(2)).await;
    let pending = asked(&world, &engine, world.good()).await;
    let id = pending.deployment.id;
    assert_eq!((pending.deployment.state, pending.missing), (State::AwaitingApproval, 2));
    assert!(world.answers(pending.preview.as_ref().unwrap()).await, "it runs and can be looked at");
    assert_eq!(world.router.route(&name()), None);
    world.pass(SWEEP).await;
    assert!(world.metrics.says(Metric::PendingApprovals(1)) && world.metrics.says(Metric::QueuedDeployments(0)));
    let after_one = approve(&engine, &pending, "bob").await;
    assert_eq!((after_one.state, after_one.approval.unwrap().answers.len()), (State::AwaitingApproval, 1));
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(world.router.route(&name()), None, "one is not enough");
    approve(&engine, &pending, "cid").await;
    let ended = world.end(&engine, id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded));
    assert_eq!(world.rows(id, StepName::Probe).await.len(), 2, "it is probed anew before it serves");
    assert_eq!(engine.approvals().await.unwrap(), []);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_as_soon_as_it_is_decided() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let pending = asked(&world, &engine, world.good()).await;
    let before = world.clock.monotonic();
    approve(&engine, &pending, "bob").await;
    world.end(&engine, pending.deployment.id).await;
    assert!(world.clock.monotonic() - before < WATCH / 2, "it did not wait for its next look");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_who_does_not_agree_ends_it() {
    let (world, engine) = world(ApprovalPolicy::of(2)).await;
    let pending = asked(&world, &engine, world.good()).await;
    let id = pending.deployment.id;
    let no = ApprovalRequest::reject(&pending, "bob").with_comment("the price is wrong");
    engine.answer_approval(id, no).await.unwrap();
    let ended = world.end(&engine, id).await;
    assert_eq!((ended.conclusion, ended.failure), (Some(Conclusion::Cancelled), None));
    assert_eq!(ended.approval.unwrap().answers[0].comment.as_deref(), Some("the price is wrong"));
    assert_eq!((world.running(), world.router.route(&name())), (Vec::new(), None));
    let late = refused(&engine, &pending, ApprovalRequest::approve(&pending, "cid")).await;
    assert_eq!(late, "not_awaiting_approval");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn only_who_has_seen_this_very_question_can_answer_and_only_once() {
    let (world, engine) = world(ApprovalPolicy::of(2)).await;
    let pending = asked(&world, &engine, world.good()).await;
    let yes = ApprovalRequest::approve(&pending, "bob");
    let other_image = ApprovalRequest { artifact: "sha256:other".to_owned(), ..yes.clone() };
    assert_eq!(refused(&engine, &pending, other_image).await, "other_question");
    let other_nonce = ApprovalRequest { nonce: "guessed".to_owned(), ..yes.clone() };
    assert_eq!(refused(&engine, &pending, other_nonce).await, "other_question");
    assert_eq!(refused(&engine, &pending, ApprovalRequest::approve(&pending, "ann")).await, "own_deployment");
    for nobody in ["", " ", "ann ", "ann\n"] {
        let request = ApprovalRequest::approve(&pending, nobody);
        assert_eq!(refused(&engine, &pending, request).await, "invalid_name", "{nobody:?}");
        let id = pending.deployment.id;
        assert_eq!(engine.cancel(id, nobody).await.unwrap_err().code(), "invalid_name", "{nobody:?}");
        assert_eq!(engine.abandon(id, nobody).await.unwrap_err().code(), "invalid_name", "{nobody:?}");
        assert_eq!(engine.remove_app(&name(), nobody).await.unwrap_err().code(), "invalid_name", "{nobody:?}");
    }
    let request = DeployRequest { by: Some(" ann".to_owned()), ..DeployRequest::default() };
    assert_eq!(engine.deploy(&name(), request).await.unwrap_err().code(), "invalid_name");
    let long = yes.clone().with_comment("x".repeat(1001));
    assert_eq!(refused(&engine, &pending, long).await, "too_long");
    approve(&engine, &pending, "bob").await;
    assert_eq!(refused(&engine, &pending, yes).await, "answered_already");
    let unchanged = engine.deployment(pending.deployment.id).await.unwrap();
    assert_eq!((unchanged.state, unchanged.approval.unwrap().answers.len()), (State::AwaitingApproval, 1));
    // Whoever asked for it may still say no.
    engine.answer_approval(unchanged.id, ApprovalRequest::reject(&pending, "ann")).await.unwrap();
    assert_eq!(world.end(&engine, unchanged.id).await.conclusion, Some(Conclusion::Cancelled));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_answers_expires() {
    let (world, engine) = world(ApprovalPolicy::of(1).with_expiry(Duration::from_secs(7200))).await;
    let pending = asked(&world, &engine, world.good()).await;
    world.pass(Duration::from_secs(7190)).await;
    assert_eq!(engine.deployment(pending.deployment.id).await.unwrap().state, State::AwaitingApproval, "not before");
    let ended = world.end(&engine, pending.deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled));
    let took = ended.finished_at.unwrap().since(pending.approval.asked_at);
    assert!((Duration::from_secs(7200)..Duration::from_secs(7215)).contains(&took), "{took:?}");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_approved_by_itself_if_that_is_the_policy() {
    let (world, engine) = world(ApprovalPolicy::of(1).with_auto_approve(Duration::from_secs(300))).await;
    let pending = asked(&world, &engine, world.good()).await;
    let ended = world.end(&engine, pending.deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Succeeded));
    assert!(ended.finished_at.unwrap().since(pending.approval.asked_at) >= Duration::from_secs(300));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_people_is_not_that_of_the_deployment() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let pending = asked(&world, &engine, world.good()).await;
    world.pass(Duration::from_secs(20 * 3600)).await;
    approve(&engine, &pending, "bob").await;
    assert_eq!(world.end(&engine, pending.deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_falls_ill_while_it_waits_fails() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let pending = asked(&world, &engine, world.good()).await;
    world.runtime.kill(&world.container(pending.deployment.id));
    let ended = world.end(&engine, pending.deployment.id).await;
    assert_eq!(ended.conclusion, Some(Conclusion::Failed));
    assert_eq!(ended.failure.unwrap().code, "exited");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_ill_when_people_agree_never_serves() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let live = asked(&world, &engine, world.good()).await;
    approve(&engine, &live, "bob").await;
    world.end(&engine, live.deployment.id).await;
    let pending = asked(&world, &engine, world.good()).await;
    world.runtime.kill(&world.container(pending.deployment.id));
    approve(&engine, &pending, "bob").await;
    assert_eq!(world.end(&engine, pending.deployment.id).await.conclusion, Some(Conclusion::Failed));
    assert_eq!(world.app().await.serving.live.unwrap().deployment, live.deployment.id);
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_newer_deployment_end_it_at_once() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let first = asked(&world, &engine, world.good()).await;
    let before = world.clock.monotonic();
    let second = asked(&world, &engine, world.good()).await;
    let superseded = engine.deployment(first.deployment.id).await.unwrap();
    assert_eq!(superseded.conclusion, Some(Conclusion::Superseded));
    engine.cancel(second.deployment.id, "ann").await.unwrap();
    assert_eq!(refused(&engine, &second, ApprovalRequest::approve(&second, "bob")).await, "not_awaiting_approval");
    assert_eq!(world.end(&engine, second.deployment.id).await.conclusion, Some(Conclusion::Cancelled));
    assert!(world.clock.monotonic() - before < WATCH, "neither waited for its next look");
    world.check_rest().await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn it_waits_over_a_restart_and_holds_no_worker() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let pending = asked(&world, &engine, world.good()).await;
    engine.shutdown().await;
    world.pass(Duration::from_secs(600)).await;
    let engine = world.engine().await;
    assert_eq!(engine.approvals().await.unwrap()[0].approval, pending.approval, "it is the same question");
    assert!(world.store.acquire_lease(&name(), &"other".parse().unwrap(), WATCH).await.is_ok(), "it holds no lease");
    world.pass(WATCH * 2).await;
    approve(&engine, &pending, "bob").await;
    assert_eq!(world.end(&engine, pending.deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn people_see_what_is_different_and_a_rollback_asks_nobody() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let first = asked(&world, &engine, world.good()).await;
    assert_eq!(first.changes, []);
    approve(&engine, &first, "bob").await;
    world.end(&engine, first.deployment.id).await;
    let record = world.app().await;
    let changed = record.spec.with_env("PRICE", "secret-price").unwrap();
    engine.update_app(changed, record.version).await.unwrap();
    let second = asked(&world, &engine, world.good()).await;
    let told: Vec<String> = second.changes.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["variable `PRICE` is new"]);
    let explained = engine.explain(&name()).await.unwrap();
    let Some(Wait::Approval { missing: 1, .. }) = explained.work[0].waits_for else { panic!("{explained}") };
    let sequence = second.deployment.sequence;
    assert!(explained.next.contains(&Next::Answer { deployment: second.deployment.id, sequence }), "{explained}");
    assert!(explained.to_string().contains("waits for the consent of 1 person"), "{explained}");
    approve(&engine, &second, "bob").await;
    world.end(&engine, second.deployment.id).await;
    let back = roll_back(&engine).await;
    assert_eq!((back.conclusion, back.approval), (Some(Conclusion::Succeeded), None));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_people_did_is_told() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let pending = asked(&world, &engine, world.good()).await;
    approve(&engine, &pending, "bob").await;
    world.end(&engine, pending.deployment.id).await;
    let events = world.store.events(Some(pending.deployment.id), 0, 100).await.unwrap();
    let told: Vec<&EventKind> = events.iter().map(|event| &event.kind).collect();
    let at = |wanted: &dyn Fn(&EventKind) -> bool| told.iter().position(|event| wanted(event)).expect("it is told");
    let requested =
        at(&|event| matches!(event, EventKind::ApprovalRequested { nonce, .. } if *nonce == pending.approval.nonce));
    let answered = at(&|event| matches!(event, EventKind::ApprovalAnswered { by, approved: true } if by == "bob"));
    let settled = at(&|event| matches!(event, EventKind::ApprovalSettled { .. }));
    let promoted = at(&|event| matches!(event, EventKind::Promoted { .. }));
    assert!(requested < answered && answered < settled && settled < promoted, "{told:?}");
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_healthy_asks_nobody() {
    let (world, engine) = world(ApprovalPolicy::of(1)).await;
    let sick = world.commit(Behaviour::with_health(Health::Status(500)));
    let deployment = engine.deploy(&name(), DeployRequest::commit(sick)).await.unwrap();
    assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Failed));
    let events = world.store.events(Some(deployment.id), 0, 100).await.unwrap();
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::ApprovalRequested { .. })));
    engine.shutdown().await;
}

/// A question may stand for days.
#[tokio::test(start_paused = true)]
async fn those_that_wait_behind_a_question_look_seldom() {
    let world = World::paused();
    let engine = world.engine().await;
    let policy = ApprovalPolicy::of(1);
    engine.create_app(gated(policy).with_supersede(SupersedePolicy::Serial)).await.unwrap();
    let pending = asked(&world, &engine, world.good()).await;
    let behind = engine.deploy(&name(), DeployRequest::commit(world.good())).await.unwrap();
    let fence = || async {
        let lease = world.store.acquire_lease(&name(), &"other".parse().unwrap(), WATCH).await.unwrap();
        world.store.release_lease(&lease).await.unwrap();
        lease.fence.0
    };
    // Between two looks of the one that waits and of the one behind it.
    world.pass(Duration::from_secs(12)).await;
    let before = fence().await;
    world.pass(Duration::from_secs(60)).await;
    let looks = fence().await - before;
    assert!(looks <= 25, "{looks} looks in a minute");
    approve(&engine, &pending, "bob").await;
    assert_eq!(world.end(&engine, pending.deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    let asked = || async { engine.approvals().await.unwrap().iter().any(|it| it.deployment.id == behind.id) };
    world.until("the next one is asked about", asked).await;
    engine.cancel(behind.id, "ann").await.unwrap();
    world.end(&engine, behind.id).await;
    engine.shutdown().await;
}
