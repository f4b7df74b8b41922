//! How often a step is tried that fails, by what is known of the failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quark_core::deployment::StepPhase;
use quark_core::memory::{Behaviour, Health};
use quark_core::{
    Conclusion, DeployRequest, Deployment, DeploymentEngine, Error, ErrorClass, ErrorKind, State, StepName,
};

use super::hooked::Hooked;
use super::world::{Parts, World, app, deploy_well, name};

/// A call of one operation that always fails, and how often it was made.
struct Fault {
    world: World,
    calls: Arc<AtomicUsize>,
    engine: DeploymentEngine,
}

impl Fault {
    /// A world in which `operation` of the backend that does `step` fails once
    /// `armed` calls of it were let through.
    async fn of(step: StepName, operation: &'static str, armed: usize, error: impl Fn() -> Error) -> Self {
        let world = World::paused();
        let calls = Arc::new(AtomicUsize::new(0));
        let (count, error) = (Arc::clone(&calls), error());
        let again = move || {
            Error::new(error.kind(), error.message()).with_class(error.class()).with_code(error.code().to_owned())
        };
        let again = Arc::new(again);
        let fault = move |at: &'static str| {
            let failing = at == operation && count.fetch_add(1, Ordering::SeqCst) >= armed;
            failing.then(|| again())
        };
        let parts = match step {
            StepName::Fetch => Parts { source: Hooked::failing(world.source.clone(), fault), ..world.parts() },
            StepName::Build => {
                Parts { builder: Arc::new(Hooked::failing(world.builder.clone(), fault)), ..world.parts() }
            }
            StepName::Promote | StepName::Revert | StepName::Unroute => {
                Parts { router: Arc::new(Hooked::failing(world.router.clone(), fault)), ..world.parts() }
            }
            _ => Parts { runtime: Arc::new(Hooked::failing(world.runtime.clone(), fault)), ..world.parts() },
        };
        let engine = world.start("test", parts).await;
        engine.create_app(app()).await.unwrap();
        Self { world, calls, engine }
    }

    async fn deploy(&self, behaviour: Behaviour) -> Deployment {
        let request = DeployRequest::commit(self.world.commit(behaviour));
        let deployment = self.engine.deploy(&name(), request).await.unwrap();
        self.world.end(&self.engine, deployment.id).await
    }
}

/// The steps that can fail, what fails then, and how often it is worth a try.
const STEPS: [(StepName, &str, usize); 5] = [
    (StepName::Fetch, "fetch", 4),
    (StepName::Build, "build", 5),
    (StepName::Create, "create", 3),
    (StepName::Start, "start", 3),
    (StepName::Promote, "apply", 3),
];

async fn assert_tries(step: StepName, operation: &'static str, tries: usize, error: impl Fn() -> Error) {
    let kind = error().kind();
    let fault = Fault::of(step, operation, 0, error).await;
    let ended = fault.deploy(Behaviour::healthy()).await;
    let what = format!("{step} with {kind}");
    assert_eq!(ended.conclusion, Some(Conclusion::Failed), "{what}");
    let failure = ended.failure.unwrap();
    assert_eq!((failure.step, failure.kind), (Some(step), kind), "{what}");
    assert_eq!(fault.calls.load(Ordering::SeqCst), tries, "{what}");
    let rows = fault.world.rows(ended.id, step).await;
    assert!(rows.iter().map(|row| row.attempt).eq(1..=u32::try_from(tries).unwrap()), "{what}");
    assert!(rows.iter().all(|row| row.phase == StepPhase::Failed), "{what}");
    fault.world.check_rest().await;
    fault.engine.shutdown().await;
}

fn of_class(class: ErrorClass) -> impl Fn() -> Error {
    move || Error::new(ErrorKind::Internal, "it does not work").with_class(class)
}

fn of_kind(kind: ErrorKind) -> impl Fn() -> Error {
    move || Error::new(kind, "it does not work")
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_as_often_as_the_step_is_worth() {
    for (step, operation, tries) in STEPS {
        assert_tries(step, operation, tries, of_class(ErrorClass::Retryable)).await;
        assert_tries(step, operation, tries, of_class(ErrorClass::Unknown)).await;
    }
    for (step, operation, tries) in STEPS.into_iter().take(2) {
        assert_tries(step, operation, tries, of_kind(ErrorKind::Unavailable)).await;
    }
}

/// A daemon that is restarted takes longer than a few attempts.
#[tokio::test(start_paused = true)]
async fn what_is_away_is_waited_for_as_long_as_one_attempt_may_take() {
    for (step, operation, _) in STEPS.into_iter().skip(2) {
        // After 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
        assert_tries(step, operation, 7, of_kind(ErrorKind::Unavailable)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cleaning_up_waits_ten_minutes_for_what_is_away_before_a_person_is_asked() {
    let fault = Fault::of(StepName::Undo, "stop", 0, of_kind(ErrorKind::Unavailable)).await;
    let stuck = fault.deploy(Behaviour::with_health(Health::Status(500))).await;
    assert_eq!(stuck.state, State::Stuck);
    let rows = fault.world.rows(stuck.id, StepName::Undo).await;
    let waited = rows.last().unwrap().finished_at.unwrap().since(rows[0].started_at);
    assert!((Duration::from_secs(600)..Duration::from_secs(631)).contains(&waited), "{waited:?}");
    // A person who says `retry` too early is asked again at once.
    fault.engine.retry(stuck.id).await.unwrap();
    assert_eq!(fault.world.end(&fault.engine, stuck.id).await.state, State::Stuck);
    assert_eq!(fault.world.rows(stuck.id, StepName::Undo).await.len(), rows.len() + 1);
    fault.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not_tried_again() {
    for (step, operation, _) in STEPS {
        for kind in [
            ErrorKind::Internal,
            ErrorKind::PermissionDenied,
            ErrorKind::InvalidInput,
            ErrorKind::InvalidConfig,
            ErrorKind::Unsupported,
            ErrorKind::NotFound,
            ErrorKind::Cancelled,
        ] {
            assert_tries(step, operation, 1, of_kind(kind)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_or_used_up_gets_one_more_try() {
    for (step, operation, _) in STEPS {
        for kind in [ErrorKind::Conflict, ErrorKind::AlreadyExists, ErrorKind::ResourceExhausted] {
            assert_tries(step, operation, 2, of_kind(kind)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_passes_for_retryable_is_still_not_tried_again() {
    let error = || of_kind(ErrorKind::Cancelled)().with_class(ErrorClass::Retryable);
    assert_tries(StepName::Create, "create", 1, error).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_refused_fence_nothing_more_is_touched() {
    for (step, operation, _) in STEPS.into_iter().skip(2) {
        let fault = Fault::of(step, operation, 0, of_kind(ErrorKind::Fenced)).await;
        let request = DeployRequest::commit(fault.world.good());
        let deployment = fault.engine.deploy(&name(), request).await.unwrap();
        let refused = || async { fault.calls.load(Ordering::SeqCst) > 0 };
        fault.world.until("it was refused", refused).await;
        fault.world.pass(Duration::from_secs(3600)).await;
        assert_eq!(fault.calls.load(Ordering::SeqCst), 1, "{step}");
        let rows = fault.world.rows(deployment.id, step).await;
        assert_eq!((rows.len(), rows[0].phase), (1, StepPhase::Intent), "{step}: nothing is said either");
        assert!(fault.engine.safe_mode().is_some(), "{step}: this engine has the lease, and is refused");
        fault.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempts_come_later_and_later() {
    let fault = Fault::of(StepName::Build, "build", 0, of_class(ErrorClass::Retryable)).await;
    let ended = fault.deploy(Behaviour::healthy()).await;
    let rows = fault.world.rows(ended.id, StepName::Build).await;
    let waited = rows.windows(2).map(|pair| pair[1].started_at.since(pair[0].finished_at.unwrap()).as_millis());
    assert_eq!(waited.collect::<Vec<_>>(), [500, 1000, 2000, 4000]);
    fault.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_left_half_done_is_tried_whatever_the_failure_is() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Timeout, ErrorKind::Internal, ErrorKind::Conflict] {
        let fault = Fault::of(StepName::Undo, "stop", 0, of_kind(kind)).await;
        let stuck = fault.deploy(Behaviour::with_health(Health::Status(500))).await;
        assert_eq!(stuck.state, State::Stuck, "{kind}");
        assert_eq!(fault.calls.load(Ordering::SeqCst), 8, "{kind}");
        assert_eq!(fault.world.rows(stuck.id, StepName::Undo).await.len(), 8, "{kind}");
        fault.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_is_put_back_whatever_the_failure_is() {
    // The first version is routed; taking the standby out is the second call.
    let fault = Fault::of(StepName::Revert, "apply", 1, of_kind(ErrorKind::PermissionDenied)).await;
    deploy_well(&fault.engine, &fault.world.good()).await;
    let stuck = fault.deploy(Behaviour::healthy()).await;
    assert_eq!((stuck.state, stuck.failure.unwrap().step), (State::Stuck, Some(StepName::Promote)));
    assert_eq!(fault.world.rows(stuck.id, StepName::Promote).await.len(), 1);
    assert_eq!(fault.world.rows(stuck.id, StepName::Revert).await.len(), 8);
    fault.engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn making_room_is_tried_five_times() {
    for (kind, tries) in [(ErrorKind::Timeout, 5), (ErrorKind::PermissionDenied, 1)] {
        let fault = Fault::of(StepName::Clear, "stop", 0, of_kind(kind)).await;
        deploy_well(&fault.engine, &fault.world.good()).await;
        let live = deploy_well(&fault.engine, &fault.world.good()).await;
        let ended = fault.deploy(Behaviour::healthy()).await;
        assert_eq!(ended.conclusion, Some(Conclusion::Failed), "{kind}");
        assert_eq!(ended.failure.unwrap().step, Some(StepName::Clear));
        assert_eq!(fault.world.rows(ended.id, StepName::Clear).await.len(), tries, "{kind}");
        assert_eq!(fault.world.app().await.serving.live.unwrap().deployment, live.id);
        fault.engine.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_asked_for_again_and_again_by_one_attempt() {
    let world = World::paused();
    let engine = world.engine().await;
    engine.create_app(app()).await.unwrap();
    let sick = DeployRequest::commit(world.commit(Behaviour::with_health(Health::Status(503))));
    let deployment = engine.deploy(&name(), sick).await.unwrap();
    assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Failed));
    let rows = world.rows(deployment.id, StepName::Probe).await;
    assert_eq!(rows.len(), 1);
    engine.shutdown().await;
}
