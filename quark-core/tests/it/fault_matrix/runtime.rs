//! Rows 12 to 16: the runtime is silent, away, restarted, or has something else
//! under our names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::backend::{Call, ContainerSpec, ContainerState};
use quark_core::deployment::Fence;
use quark_core::memory::{Behaviour, Health};
use quark_core::{Clock, Conclusion, ContainerRuntime, ErrorClass, ErrorKind, State, StepName};

use super::stage::{Fate, Scene, after, away, before, container_name, end, fail, silence, succeed};

fn call() -> Call {
    Call::new("by hand", Fence(0), Duration::from_secs(30))
}

#[tokio::test(start_paused = true)]
async fn row_12_a_call_times_out_and_took_effect() {
    for (effect, step) in [
        ("runtime.stop", StepName::Clear),
        ("runtime.remove", StepName::Clear),
        ("runtime.create", StepName::Create),
        ("runtime.start", StepName::Start),
        ("router.apply", StepName::Clear),
    ] {
        let scene = Scene::new().await;
        // Something must be stopped and removed first.
        scene.with_standby().await;
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let before_retry = Arc::clone(&seen);
        let (runtime, fate) = (scene.stage.runtime.clone(), scene.fate.clone());
        let calls = scene.fate.calls().len();
        let outage = scene.fate.fail_times(after(effect), 1, silence);
        let wanted = scene.second().await;
        outage.met(1).await;
        before_retry.lock().unwrap().extend(runtime.containers());
        succeed(&scene.engine, wanted.id).await;
        let records = scene.stage.records(wanted.id, step).await;
        assert_eq!(records.len(), 2, "{effect}");
        assert_eq!(records[0].failure.as_ref().unwrap().class, ErrorClass::Unknown, "{effect}");
        // What it had made is what is there now: nothing was made twice.
        let made = seen.lock().unwrap().iter().find(|it| it.name == container_name(wanted.id)).cloned();
        let now = scene.stage.container(wanted.id).unwrap();
        if let Some(made) = made {
            assert_eq!(made.id, now.id, "{effect}");
            assert!(made.started_at.is_none() || made.started_at == now.started_at, "{effect}: it was started twice");
        }
        // It looked before it acted a second time.
        if effect.starts_with("runtime.") {
            let calls: Vec<_> = fate.calls().split_off(calls);
            let first = calls.iter().position(|call| *call == effect).unwrap();
            let rest = &calls[first + 1..];
            let look = rest.iter().position(|call| *call == "runtime.inspect").unwrap();
            assert!(rest.iter().position(|call| *call == effect).is_none_or(|again| look < again), "{effect}");
        }
        scene.stage.at_rest().await;
    }
}

/// The call was given up, the deployment is over, and the container appears.
#[tokio::test(start_paused = true)]
async fn row_12_what_a_call_makes_when_nobody_waits_for_it_any_more() {
    let scene = Scene::new().await;
    let spec: Arc<Mutex<Option<ContainerSpec>>> = Arc::default();
    let kept = Arc::clone(&spec);
    scene.fate.tell(before("runtime.create"), move |seen| *kept.lock().unwrap() = seen.spec().cloned());
    scene.fate.fail(before("runtime.create"), silence);
    let wanted = scene.second().await;
    fail(&scene.engine, wanted.id, "timeout").await;
    let spec = spec.lock().unwrap().take().unwrap();
    let late = scene.stage.runtime.create(&call(), &spec).await.unwrap();
    scene.stage.runtime.start(&call(), &late.id).await.unwrap();
    scene.stage.until("it is collected", || async { scene.stage.container(wanted.id).is_none() }).await;
    assert_eq!(scene.stage.deployment(wanted.id).await.conclusion, Some(Conclusion::Failed));
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_13_the_runtime_is_away_for_a_moment() {
    for first in ["runtime.create", "runtime.start", "runtime.listening"] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(before(first));
        let wanted = scene.second().await;
        gate.reached().await;
        let live = scene.stage.container(scene.first.id);
        let outage = scene.fate.fail(before("runtime."), away);
        gate.refuse(away);
        outage.met(1).await;
        assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
        outage.end();
        succeed(&scene.engine, wanted.id).await;
        assert_eq!(scene.stage.container(scene.first.id), live, "what serves was touched");
        scene.stage.at_rest().await;
    }
}

/// As long as a daemon takes that is upgraded: the deployment may fail, but
/// users are served, and nobody has to do anything afterwards.
#[tokio::test(start_paused = true)]
async fn row_13_the_runtime_is_away_for_a_minute() {
    for first in ["runtime.create", "runtime.start", "runtime.listening", "runtime.stop"] {
        let scene = Scene::new().await;
        scene.with_standby().await;
        let live = scene.stage.live().await;
        let gate = scene.fate.hold(before(first));
        let wanted = scene.second().await;
        gate.reached().await;
        let outage = scene.fate.fail(before("runtime."), away);
        gate.refuse(away);
        scene.stage.pass(Duration::from_secs(60)).await;
        assert_eq!(scene.stage.served_by().await, live);
        outage.end();
        let ended = end(&scene.engine, wanted.id).await;
        assert!(ended.conclusion.is_some(), "{first}: it is {} and waits for a person", ended.state);
        scene.stage.pass(Duration::from_secs(120)).await;
        assert!(scene.stage.served_by().await.is_some());
        scene.stage.at_rest().await;
    }
}

/// What must be taken away is taken away when it is back, and nobody has to say so.
#[tokio::test(start_paused = true)]
async fn row_13_the_runtime_is_away_for_minutes_in_a_clean_up() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("runtime.remove"));
    let wanted = scene.deploy(&scene.stage.commit(Behaviour::with_health(Health::ExitsAtOnce(1)))).await;
    gate.reached().await;
    let outage = scene.fate.fail(before("runtime."), away);
    gate.refuse(away);
    scene.stage.pass(Duration::from_secs(500)).await;
    assert_eq!(scene.stage.deployment(wanted.id).await.state, State::Unwinding);
    outage.end();
    fail(&scene.engine, wanted.id, "exited").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

/// A name of ours with a container that is not ours.
#[tokio::test(start_paused = true)]
async fn row_14_the_name_belongs_to_somebody_else() {
    let scene = Scene::new().await;
    let spec: Arc<Mutex<Option<ContainerSpec>>> = Arc::default();
    let kept = Arc::clone(&spec);
    scene.fate.tell(before("runtime.create"), move |seen| *kept.lock().unwrap() = seen.spec().cloned());
    let gate = scene.fate.hold(before("runtime.create"));
    let wanted = scene.second().await;
    gate.reached().await;
    let ours = spec.lock().unwrap().take().unwrap();
    let endpoint = quark_core::Endpoint::new("memory:somewhere else");
    let foreign = ContainerSpec { installation: "somebody else".to_owned(), ..ours }.at(endpoint);
    let there = scene.stage.runtime.create(&call(), &foreign).await.unwrap();
    scene.stage.runtime.start(&call(), &there.id).await.unwrap();
    gate.open();
    let ended = end(&scene.engine, wanted.id).await;
    let failure = ended.failure.unwrap();
    assert_eq!((failure.kind, failure.code.as_str()), (ErrorKind::Conflict, "container_differs"));
    assert!(failure.message.contains(foreign.name.as_str()), "which one? {failure}");
    // One more look, and no more.
    assert_eq!(scene.stage.records(wanted.id, StepName::Create).await.len(), 2);
    let after = scene.stage.container(wanted.id).expect("what belongs to somebody else was removed");
    assert_eq!(after.state, ContainerState::Running, "what belongs to somebody else was stopped");
    assert_eq!(ended.conclusion, Some(Conclusion::Failed), "it is {}: nothing of ours is left", ended.state);
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
}

#[tokio::test(start_paused = true)]
async fn row_15_the_runtime_is_restarted_with_all_containers() {
    let scene = Scene::new().await;
    let second = scene.with_standby().await;
    let route = scene.stage.router.route(&super::stage::name());
    let outage = scene.fate.fail(before("runtime."), away);
    let address = |id| scene.stage.runtime.spec(&container_name(id)).unwrap().endpoint().cloned();
    let before_restart = address(second.id);
    for id in [scene.first.id, second.id] {
        assert!(scene.stage.runtime.kill(&container_name(id)));
    }
    outage.met(1).await;
    outage.end();
    scene.stage.until("it serves again", || async { scene.stage.served_by().await == Some(second.id) }).await;
    assert_eq!(address(second.id), before_restart, "an address must survive, or the route is stale");
    assert_eq!(scene.stage.router.route(&super::stage::name()), route);
}

#[tokio::test(start_paused = true)]
async fn row_16_nothing_is_told_and_all_is_seen() {
    let scene = Scene::new().await;
    for gone in [false, true] {
        let name = container_name(scene.first.id);
        assert!(scene.stage.runtime.kill(&name));
        if gone {
            let container = scene.stage.container(scene.first.id).unwrap();
            scene.stage.runtime.remove(&call(), &container.id, &container.labels).await.unwrap();
        }
        let died = scene.stage.clock.monotonic();
        scene.stage.until("it runs again", || async { scene.stage.runs(scene.first.id) }).await;
        let took = scene.stage.clock.monotonic() - died;
        assert!(took <= Duration::from_secs(61), "nobody has looked for {took:?}");
        assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
        scene.stage.at_rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn row_36_killed_for_its_use_of_memory() {
    let scene = Scene::new().await;
    let fate: &Fate = &scene.fate;
    let gate = fate.hold(before("prober.probe"));
    let wanted = scene.second().await;
    gate.reached().await;
    assert!(scene.stage.runtime.exhaust_memory(&container_name(wanted.id)));
    gate.open();
    let failure = fail(&scene.engine, wanted.id, "out_of_memory").await.failure.unwrap();
    assert!(failure.message.contains("512 MiB"), "what was the limit? {failure}");
    assert!(failure.hint.is_some());
    assert_eq!(scene.stage.records(wanted.id, StepName::Probe).await.len(), 1, "it would happen again");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}
