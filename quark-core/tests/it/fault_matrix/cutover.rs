//! Rows 6 to 9 and 41: an engine is killed, or somebody cancels, while the
//! requests of users are being moved.

use std::sync::{Arc, Mutex};

use quark_core::backend::Route;
use quark_core::{Conclusion, Error, ErrorKind, Slot, State, StepName};

use super::stage::{
    Fate, Scene, after, before, before_commit, before_route, begins, container_name, end, ends, fail, succeed,
};

fn router_refuses() -> Error {
    Error::new(ErrorKind::InvalidConfig, "the router keeps its routes").with_code("router_refused")
}

/// Writes down the routes to green that a process asks for.
fn asked_for(fate: &Fate) -> Arc<Mutex<Vec<Route>>> {
    let asked: Arc<Mutex<Vec<Route>>> = Arc::default();
    let list = Arc::clone(&asked);
    fate.tell(before_route(|route| route.active == Slot::Green), move |seen| {
        list.lock().unwrap().extend(seen.route().cloned());
    });
    asked
}

#[tokio::test(start_paused = true)]
async fn row_06_kill_in_a_cutover_with_its_intent_only() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    let next = scene.stage.next().await;
    // The intent is the point of no return: after it a cancel comes too late.
    assert_eq!(next.cancel(wanted.id, "alice").await.unwrap_err().code(), "too_late");
    succeed(&next, wanted.id).await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    scene.stage.at_rest().await;
}

/// What the router has written and not taken up cannot be seen from here: the
/// same route is asked for again, by its generation, and under a later fence.
#[tokio::test(start_paused = true)]
async fn row_07_kill_in_a_cutover_written_and_not_in_force() {
    let scene = Scene::new().await;
    let before_death = asked_for(&scene.fate);
    let gate = scene.fate.hold(before("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    let fate = Fate::default();
    let after_death = asked_for(&fate);
    let next = scene.stage.engine(&fate).await;
    succeed(&next, wanted.id).await;
    let (one, two) = (before_death.lock().unwrap().remove(0), after_death.lock().unwrap().remove(0));
    assert!(two.fence > one.fence);
    assert_eq!(two, Route { fence: two.fence, ..one });
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_08_kill_in_a_cutover_in_force_and_unconfirmed() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(after("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    let next = scene.stage.next().await;
    succeed(&next, wanted.id).await;
    let switched = scene.stage.router.switches().into_iter().filter(|it| it.active == Some(Slot::Green));
    assert_eq!(switched.count(), 1, "what was in force was changed again");
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_08_kill_in_a_cutover_that_the_router_then_refuses() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before("router.apply"));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    scene.stage.router.refuse_next(router_refuses());
    let next = scene.stage.next().await;
    let ended = fail(&next, wanted.id, "router_refused").await;
    assert_eq!(ended.failure.unwrap().step, Some(StepName::Promote));
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_09_kill_in_a_cutover_in_force_and_not_written_down() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before_commit(ends(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    assert_eq!(scene.stage.served_by().await, Some(wanted.id));
    // The route and the store differ. Who looks must not "mend" that.
    let fate = Fate::default();
    let claim = fate.hold(before("queue.claim"));
    let next = scene.stage.engine(&fate).await;
    claim.reached().await;
    assert_eq!(scene.stage.served_by().await, Some(wanted.id), "the switch was undone");
    // Both are protected until it is decided.
    scene.stage.pass(std::time::Duration::from_secs(300)).await;
    assert!(scene.stage.runs(scene.first.id) && scene.stage.runs(wanted.id));
    assert_eq!(scene.stage.served_by().await, Some(wanted.id), "the switch was undone");
    claim.open();
    succeed(&next, wanted.id).await;
    let standby = scene.stage.app().await.serving.standby.unwrap();
    assert_eq!(standby.occupant.deployment, scene.first.id);
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_09_and_the_new_version_dies_before_the_restart() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before_commit(ends(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    assert!(scene.stage.runtime.kill(&container_name(wanted.id)));
    let next = scene.stage.next().await;
    fail(&next, wanted.id, "exited").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_09_and_the_machine_is_restarted() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before_commit(ends(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.fate.kill();
    for id in [scene.first.id, wanted.id] {
        assert!(scene.stage.runtime.kill(&container_name(id)));
    }
    let next = scene.stage.next().await;
    fail(&next, wanted.id, "exited").await;
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_41_cancel_before_the_intent_of_the_cutover() {
    let scene = Scene::new().await;
    let gate = scene.fate.hold(before_commit(begins(StepName::Promote)));
    let wanted = scene.second().await;
    gate.reached().await;
    scene.engine.cancel(wanted.id, "alice").await.unwrap();
    gate.open();
    let ended = end(&scene.engine, wanted.id).await;
    assert_eq!((ended.conclusion, ended.failure), (Some(Conclusion::Cancelled), None));
    let routed = |switch: &quark_core::memory::Switch| switch.active == Some(Slot::Green);
    assert!(!scene.stage.router.switches().iter().any(routed), "users were sent to what was cancelled");
    assert_eq!(scene.stage.served_by().await, Some(scene.first.id));
    scene.stage.at_rest().await;
}

#[tokio::test(start_paused = true)]
async fn row_41_cancel_after_the_intent_of_the_cutover() {
    for point in [before("router.apply"), before_commit(ends(StepName::Promote))] {
        let scene = Scene::new().await;
        let gate = scene.fate.hold(point);
        let wanted = scene.second().await;
        gate.reached().await;
        assert_eq!(scene.stage.deployment(wanted.id).await.state, State::Promoting);
        let late = scene.engine.cancel(wanted.id, "alice").await.unwrap_err();
        assert_eq!((late.kind(), late.code()), (ErrorKind::Conflict, "too_late"));
        assert!(late.hint().is_some(), "nobody is told what to do instead");
        gate.open();
        succeed(&scene.engine, wanted.id).await;
        scene.stage.at_rest().await;
    }
}
