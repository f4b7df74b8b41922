//! Cases about what a commit compares before it changes anything.

use std::sync::Arc;

use super::apps::one_succeeds;
use super::fixture::StoreFixture;
use super::sample::moment;
use super::scene::{LONG, PAST_SHORT, SHORT, Scene, admitting, loaded, owner, unchanged};
use crate::ErrorKind;
use crate::backend::CancelOutcome;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{CancelRequest, State};

const CHANGED: (ErrorKind, Option<&str>) = (ErrorKind::Conflict, Some("version_changed"));
const BUSY: (ErrorKind, Option<&str>) = (ErrorKind::Conflict, Some("app_busy"));

/// `commit` under an old or released lease is `Fenced` and changes nothing.
pub async fn commit_under_an_old_lease_is_fenced(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, deployment, old) = scene.active("shop").await?;
    let name = &app.spec.name;
    let (first, second) = (owner("first")?, owner("second")?);
    let lease = worked("acquiring an own lease again", scene.store.acquire_lease(name, &first, LONG).await)?;
    scene.refuses("a commit under an earlier fence", loaded(&old, &deployment), ErrorKind::Fenced, None).await?;
    scene.commit(loaded(&lease, &deployment)).await?;
    let deployment = scene.read(deployment.id).await?;

    worked("releasing a lease", scene.store.release_lease(&lease).await)?;
    let late = unchanged(&lease, &deployment);
    scene.refuses("a commit under a released lease", late, ErrorKind::Fenced, None).await?;

    let lost = worked("acquiring a lease", scene.store.acquire_lease(name, &first, SHORT).await)?;
    fixture.advance(PAST_SHORT).await;
    let taken = worked("acquiring a lease that ran out", scene.store.acquire_lease(name, &second, LONG).await)?;
    let late = unchanged(&lost, &deployment);
    scene.refuses("a commit under a lease that was taken over", late, ErrorKind::Fenced, None).await?;
    scene.commit(unchanged(&taken, &deployment)).await?;
    Ok(())
}

/// `commit` with an outdated version is a `Conflict` (`version_changed`) and changes nothing.
pub async fn commit_compares_the_version(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (_, outdated, lease) = scene.active("shop").await?;
    let version = scene.commit(unchanged(&lease, &outdated)).await?;
    ensure!(version > outdated.version, "after the version {:?} came {version:?}", outdated.version);
    let read = scene.read(outdated.id).await?;
    ensure!(read.version == version, "the commit returned {version:?} and wrote {:?}", read.version);

    let late = loaded(&lease, &outdated);
    scene.refuses("a commit with an outdated version", late, CHANGED.0, CHANGED.1).await?;
    let mut early = loaded(&lease, &read);
    early.guard.version = version.next();
    scene.refuses("a commit with a version of the future", early, CHANGED.0, CHANGED.1).await?;

    let said = at_once((0..CROWD).map(|_| {
        let (store, commit) = (Arc::clone(&scene.store), unchanged(&lease, &read));
        async move { store.commit(commit).await }
    }));
    one_succeeds("committing one version at once", said.await?, CHANGED.0, CHANGED.1)
}

/// `commit` with `unless_cancelled` after a cancel request is `Cancelled` and changes nothing.
pub async fn commit_stops_at_a_cancel_request(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (_, deployment, lease) = scene.active("shop").await?;
    let mut heedful = unchanged(&lease, &deployment);
    heedful.guard.unless_cancelled = true;
    scene.commit(heedful).await?;
    let deployment = scene.read(deployment.id).await?;

    let asked = scene.store.request_cancel(deployment.id, CancelRequest::new("ann", moment(9))).await;
    let outcome = worked("asking to cancel", asked)?;
    ensure!(outcome == CancelOutcome::Requested, "asking to cancel was {outcome:?}");
    let mut heedful = loaded(&lease, &deployment);
    heedful.guard.unless_cancelled = true;
    scene.refuses("a commit unless cancelled", heedful, ErrorKind::Cancelled, None).await?;

    // The request is no change of the deployment, and no commit takes it back.
    scene.commit(loaded(&lease, &deployment)).await?;
    let read = scene.read(deployment.id).await?;
    let cancel = read.cancel.as_ref().map(|cancel| (cancel.by.as_str(), cancel.at));
    ensure!(cancel == Some(("ann", moment(9))), "after a commit the cancel request is {cancel:?}");
    Ok(())
}

/// `commit` with `admits` while another deployment of the app is active is a `Conflict` (`app_busy`).
pub async fn commit_admits_one_active_deployment(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, mut active, lease) = scene.active("shop").await?;
    let next = scene.deploy(&app, moment(2)).await?;
    for state in State::ALL.into_iter().filter(|state| state.is_active()) {
        active = scene.bring(&lease, &active, state).await?;
        let what = format!("admitting a second deployment while one is {state}");
        scene.refuses(&what, admitting(&lease, &next), BUSY.0, BUSY.1).await?;
    }
    // Another app is not in the way, nor is a deployment that has ended.
    let (_, other, other_lease) = scene.active("blog").await?;
    scene.bring(&other_lease, &other, State::Probing).await?;
    scene.bring(&lease, &active, State::Completed).await?;
    scene.commit(admitting(&lease, &next)).await?;
    let read = scene.read(next.id).await?;
    ensure!(read.state == State::Admitted, "a deployment that was admitted is {}", read.state);
    Ok(())
}

/// `commit` with `admits` while an earlier deployment of the app is queued is a `Conflict` (`app_busy`).
pub async fn commit_admits_the_earliest_first(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let app = scene.app("shop").await?;
    let lease = scene.lease(&app.spec.name).await?;
    let blog = scene.app("blog").await?;
    scene.deploy(&blog, moment(0)).await?;
    let first = scene.deploy(&app, moment(1)).await?;
    let second = scene.deploy(&app, moment(2)).await?;
    let third = scene.deploy(&app, moment(3)).await?;
    let what = "admitting a deployment before an earlier one";
    scene.refuses(what, admitting(&lease, &second), BUSY.0, BUSY.1).await?;
    scene.refuses(what, admitting(&lease, &third), BUSY.0, BUSY.1).await?;

    // One that ends without ever being active is no longer in the way.
    scene.bring(&lease, &first, State::Completed).await?;
    refused(what, scene.store.commit(admitting(&lease, &third)).await, BUSY.0, BUSY.1)?;
    let drafts = [second.clone(), third];
    let said = at_once((0..CROWD).map(|number| {
        let wanted = if number % 2 == 0 { &drafts[0] } else { &drafts[1] };
        let (store, commit) = (Arc::clone(&scene.store), admitting(&lease, wanted));
        async move { (commit.deployment.id, store.commit(commit).await) }
    }));
    let admitted: Vec<_> = said.await?.into_iter().filter(|(_, done)| done.is_ok()).map(|(id, _)| id).collect();
    ensure!(admitted == [second.id], "of two deployments that were admitted at once, {admitted:?} were");
    Ok(())
}
