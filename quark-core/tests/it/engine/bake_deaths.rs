//! A version that dies while it is watched: nothing else happens to it before
//! that was seen.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use quark_core::backend::{ContainerRuntime, ContainerState};
use quark_core::deployment::BakeOutcome;
use quark_core::{Conclusion, Error, ErrorKind, Result};

use super::bake::{Scene, bake};
use super::hooked::Hooked;
use super::mend::remove_by_hand;
use super::world::Parts;

/// What happens at the inspections of a runtime, counted from 0 once this is armed.
type AtInspection = Box<dyn Fn(usize) -> Result<()> + Send + Sync>;

/// A scene, and where to say what happens at its inspections from now on.
async fn scene() -> (Scene, Arc<Mutex<Option<AtInspection>>>) {
    let armed: Arc<Mutex<Option<AtInspection>>> = Arc::default();
    let happens = Arc::clone(&armed);
    let scene = Scene::with(move |world, parts| {
        let count = AtomicUsize::new(0);
        let hook = move |operation| {
            let done = match &*happens.lock().unwrap() {
                Some(happens) if operation == "inspect" => happens(count.fetch_add(1, Ordering::SeqCst)),
                _ => Ok(()),
            };
            Box::pin(async { done }) as BoxFuture<'static, Result<()>>
        };
        Parts { runtime: Arc::new(Hooked::new(world.runtime.clone(), Arc::new(hook))), ..parts }
    })
    .await;
    (scene, armed)
}

/// The version is rolled back because it was seen that it does not run.
async fn goes_back(scene: &Scene) {
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, ended.failure.unwrap().code.as_str()), (Some(Conclusion::RolledBack), "exited"));
    assert_eq!(scene.live().await.0, scene.before.id);
    scene.world.check_rest().await;
    scene.engine.shutdown().await;
}

/// It is compared with the world right after a look, and started again if it has died.
#[tokio::test(start_paused = true)]
async fn what_dies_right_after_a_look_is_not_started_again_unseen() {
    let (scene, armed) = scene().await;
    let (runtime, container) = (scene.world.runtime.clone(), scene.world.container(scene.new.id));
    *armed.lock().unwrap() = Some(Box::new(move |number| {
        assert!(number != 1 || runtime.kill(&container));
        Ok(())
    }));
    goes_back(&scene).await;
}

/// The version before is looked at next; what is not known of it is asked again.
#[tokio::test(start_paused = true)]
async fn one_question_without_an_answer_lets_nothing_pass() {
    let (scene, armed) = scene().await;
    assert!(scene.world.runtime.kill(&scene.world.container(scene.new.id)));
    *armed.lock().unwrap() = Some(Box::new(|number| match number {
        1 => Err(Error::new(ErrorKind::Unavailable, "the runtime is away")),
        _ => Ok(()),
    }));
    goes_back(&scene).await;
}

/// Nobody stands by, and what was removed is made anew; then the runtime fails.
#[tokio::test(start_paused = true)]
async fn what_was_made_anew_is_started_by_the_next_look() {
    let (scene, _) = scene().await;
    let world = &scene.world;
    let container = world.container(scene.new.id);
    assert!(world.runtime.kill(&world.container(scene.before.id)));
    remove_by_hand(world, &container).await;
    let away = || Error::new(ErrorKind::Unavailable, "the runtime is away");
    for _ in 0..3 {
        world.runtime.fail_next("start", away());
    }
    let state = async || world.runtime.inspect(&container).await.unwrap().map(|observed| observed.state);
    world.until("it is made anew", async || state().await == Some(ContainerState::Created)).await;
    world.until("it runs", async || state().await == Some(ContainerState::Running)).await;
    assert_eq!(bake(&scene.now().await).outcome, None, "only the end of the watch has helped it");
    let ended = scene.end().await;
    assert_eq!((ended.conclusion, bake(&ended).outcome), (Some(Conclusion::Succeeded), Some(BakeOutcome::Passed)));
    scene.engine.shutdown().await;
}
