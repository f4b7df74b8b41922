//! Cases about how far a store has come, and about going on from further ahead.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use super::scene::{LONG, Picture, Scene, loaded, owner, unchanged};
use crate::ErrorKind;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{AppRecord, CancelRequest, Serving, Version};

/// What counts as far: more than a store gives between a backup and its use.
const FAR: u64 = 1 << 32;

/// `position` is the sequence number of the last event, and `0` without one; `leap` moves it on.
pub async fn position_is_the_last_event(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    at_the_last_event(&scene).await?;
    let app = scene.app("shop").await?;
    at_the_last_event(&scene).await?;
    let deployment = scene.deploy(&app, moment(1)).await?;
    at_the_last_event(&scene).await?;
    let lease = scene.lease(&app.spec.name).await?;
    scene.commit(loaded(&lease, &deployment)).await?;
    at_the_last_event(&scene).await?;
    let mut outdated = loaded(&lease, &deployment);
    outdated.guard.version = Version(77);
    refused("a commit with a wrong version", scene.store.commit(outdated).await, ErrorKind::Conflict, None)?;
    at_the_last_event(&scene).await?;
    let asked = scene.store.request_cancel(deployment.id, CancelRequest::new("ann", moment(2))).await;
    worked("asking to cancel", asked)?;
    at_the_last_event(&scene).await?;

    let deployments = at_once((0..CROWD).map(|number| {
        let (store, draft) = (Arc::clone(&scene.store), sample::app(&format!("crowd-{number}")));
        async move { store.create_app(draft?, moment(3)).await }
    }));
    for created in deployments.await? {
        scene.deploy(&worked("creating an app", created)?, moment(3)).await?;
        at_the_last_event(&scene).await?;
    }
    let before = position(&scene).await?;
    worked("leaping", scene.store.leap().await)?;
    let after = position(&scene).await?;
    ensure!(after >= before + FAR, "a leap brought the position from {before} to {after}");
    scene.deploy(&scene.app("later").await?, moment(4)).await?;
    at_the_last_event(&scene).await
}

async fn at_the_last_event(scene: &Scene<'_>) -> CaseResult {
    let events = scene.events(None).await?;
    let last = events.last().map_or(0, |event| event.sequence);
    let position = position(scene).await?;
    ensure!(position == last, "the position is {position} after the event {last}");
    Ok(())
}

/// `now` moves on with time.
pub async fn time_moves_on(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let first = worked("asking for the time", scene.store.now().await)?;
    fixture.advance(Duration::from_millis(50)).await;
    let later = worked("asking for the time", scene.store.now().await)?;
    ensure!(later > first, "50 ms later the time is {later} instead of after {first}");
    Ok(())
}

async fn position(scene: &Scene<'_>) -> CaseResult<u64> {
    worked("reading the position", scene.store.position().await)
}

/// After `leap` every fence, generation and event number that is given is far above every one given before, and
/// every lease is lost.
pub async fn leap_leaves_all_numbers_behind(fixture: &dyn StoreFixture) -> CaseResult {
    let mut scene = Scene::new(fixture);
    let (app, deployment, lease) = scene.active("shop").await?;
    scene.commit(loaded(&lease, &deployment)).await?;
    let app = scene.record(&app.spec.name).await?;
    let deployment = scene.read(deployment.id).await?;
    let before = scene.picture(deployment.id).await?;
    let highest = before.events.last().map_or(0, |event| event.sequence);
    worked("leaping", scene.store.leap().await)?;

    let held = scene.store.renew_lease(&lease, LONG).await;
    refused("renewing a lease from before a leap", held, ErrorKind::Fenced, None)?;
    let late = unchanged(&lease, &deployment);
    scene.refuses("a commit under a lease from before a leap", late, ErrorKind::Fenced, None).await?;
    let name = &app.spec.name;
    let taken = worked("acquiring", scene.store.acquire_lease(name, &owner("second")?, LONG).await)?;
    ensure!(taken.fence.0 >= lease.fence.0 + FAR, "after the fence {:?} a leap gave {:?}", lease.fence, taken.fence);
    let leapt = scene.record(name).await?;
    let (old, new) = (app.serving.generation, leapt.serving.generation);
    ensure!(new.0 >= old.0 + FAR, "a leap brought the generation from {old:?} to {new:?}");
    let expected = AppRecord { serving: Serving { generation: new, ..app.serving.clone() }, ..app.clone() };
    ensure!(leapt == expected, "a leap changed {expected:?} to {leapt:?}");

    // What was written has the numbers that it had.
    let after = scene.picture(deployment.id).await?;
    let (apps, position) = (after.apps.clone(), after.position);
    let expected = Picture { apps, position, ..before };
    ensure!(after == expected, "a leap changed {expected:?} to {after:?}");

    // What comes new is far above, also that of an app of which nothing is known:
    // it may be missing because of what made the leap necessary.
    let blog = goes_on_above(&scene, "blog", FAR.max(highest + FAR)).await?;
    worked("leaping again", scene.store.leap().await)?;
    let zoo = goes_on_above(&scene, "zoo", blog + FAR).await?;
    if let Some(reopened) = fixture.reopen().await {
        scene.store = reopened;
        goes_on_above(&scene, "heir", zoo).await?;
        let again = scene.lease(name).await?;
        ensure!(again.fence.0 >= taken.fence.0 + FAR, "after {:?} a second leap gave {:?}", taken.fence, again.fence);
    }
    Ok(())
}

/// Checks the numbers that a new app is given, and returns the number of its
/// first event.
async fn goes_on_above(scene: &Scene<'_>, name: &str, last: u64) -> CaseResult<u64> {
    let leaps = last / FAR * FAR;
    let app = scene.app(name).await?;
    let generation = app.serving.generation;
    ensure!(generation.0 >= leaps, "after a leap to {leaps}, a new app has the generation {generation:?}");
    let read = scene.record(&app.spec.name).await?;
    ensure!(read == app, "{app:?} was read back as {read:?}");
    let fence = scene.lease(&app.spec.name).await?.fence;
    ensure!(fence.0 >= leaps, "after a leap to {leaps}, a new app has the fence {fence:?}");
    let deployment = scene.deploy(&app, moment(9)).await?;
    let created = scene.events(Some(deployment.id)).await?.first().map_or(0, |event| event.sequence);
    ensure!(created > last, "after a leap to {last} came the event {created}");
    let read = worked("reading events", scene.store.events(None, last, ALL).await)?;
    let only = read.iter().all(|event| event.deployment == deployment.id) && read.len() == 1;
    ensure!(only, "after the event {last} come {read:?}");
    Ok(created)
}
