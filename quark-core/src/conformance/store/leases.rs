//! Cases about the right to act on an app.

use std::sync::Arc;

use super::apps::one_succeeds;
use super::fixture::StoreFixture;
use super::sample::ALL;
use super::scene::{LONG, PAST_SHORT, SHORT, Scene, job, owner, unchanged};
use crate::ErrorKind;
use crate::backend::{Claim, Commit, HandBack};
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::Version;

const HELD: (ErrorKind, Option<&str>) = (ErrorKind::Conflict, Some("lease_held"));

/// `acquire_lease` yields a growing fence; while it lasts no other owner gets it (`Conflict`, `lease_held`).
pub async fn a_lease_excludes_other_owners(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?.spec.name, scene.app("blog").await?.spec.name);
    let (first, second) = (owner("first")?, owner("second")?);
    let lease = worked("acquiring a lease", scene.store.acquire_lease(&shop, &first, LONG).await)?;
    ensure!((&lease.app, &lease.owner) == (&shop, &first), "the lease of `{shop}` for `{first}` is {lease:?}");

    let error = refused(
        "acquiring a lease that is held",
        scene.store.acquire_lease(&shop, &second, LONG).await,
        HELD.0,
        HELD.1,
    )?;
    let wait = error.retry_after();
    ensure!(wait.is_some_and(|wait| wait <= LONG), "whoever meets a held lease is told to wait {wait:?}");
    worked("acquiring the lease of another app", scene.store.acquire_lease(&blog, &second, LONG).await)?;

    let mut fence = lease.fence;
    worked("releasing a lease", scene.store.release_lease(&lease).await)?;
    for owner in [&second, &first, &second] {
        let lease = worked("acquiring a released lease", scene.store.acquire_lease(&shop, owner, LONG).await)?;
        ensure!(lease.fence > fence, "after the fence {fence:?} came {:?}", lease.fence);
        fence = lease.fence;
        worked("releasing a lease", scene.store.release_lease(&lease).await)?;
    }

    let said = at_once((0..CROWD).map(|number| {
        let (store, shop) = (Arc::clone(&scene.store), shop.clone());
        async move { store.acquire_lease(&shop, &crate::OwnerId::parse(format!("crowd-{number}"))?, LONG).await }
    }));
    one_succeeds("acquiring one lease at once", said.await?, HELD.0, HELD.1)
}

/// `commit` with `hand_back` releases its lease in the same transaction.
pub async fn a_last_commit_releases_its_lease(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, deployment, lease) = scene.active("shop").await?;
    let mut last = unchanged(&lease, &deployment);
    last.hand_back = Some(HandBack::default());
    let mut outdated = last.clone();
    outdated.guard.version = Version(deployment.version.0 + 7);
    refused("a last commit that is outdated", scene.store.commit(outdated).await, ErrorKind::Conflict, None)?;
    worked("renewing after a last commit was refused", scene.store.renew_lease(&lease, LONG).await)?;
    scene.commit(last).await?;
    refused(
        "renewing a lease that was handed back",
        scene.store.renew_lease(&lease, LONG).await,
        ErrorKind::Fenced,
        None,
    )?;
    let next = scene.store.acquire_lease(&app.spec.name, &owner("next")?, LONG).await;
    let next = worked("acquiring a lease that was handed back", next)?;
    ensure!(next.fence > lease.fence, "after the fence {:?} came {:?}", lease.fence, next.fence);
    Ok(())
}

/// `commit` with `hand_back` acknowledges the claim that it names in the same transaction, where the store queues jobs; a
/// claim that is lost is left to whoever has it.
pub async fn a_last_commit_acknowledges_its_job(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    if !scene.store.queues_jobs() {
        return Ok(());
    }
    let queue = fixture.queue().ok_or("the store queues jobs, and the fixture has no queue to look into")?;
    let (_, deployment, lease) = scene.active("shop").await?;
    let worker = owner("worker")?;
    let claim = async || {
        let mut claimed = worked("claiming a job", queue.claim(&worker, ALL, LONG).await)?;
        claimed.pop().map(|claimed| claimed.token).ok_or_else(|| "there is no job to claim".to_owned())
    };
    let lost = claim().await?;
    worked("reclaiming", queue.reclaim(&worker).await)?;
    let held = claim().await?;
    let mut last = unchanged(&lease, &deployment);
    last.hand_back = Some(HandBack { claim: Some(lost) });
    scene.commit(last.clone()).await?;
    let beat = worked("keeping a claim", queue.heartbeat(held, LONG).await)?;
    ensure!(beat == Claim::Held, "a lost claim that was handed back took the job from whoever has it");

    let lease = scene.lease(&deployment.app).await?;
    let deployment = scene.read(deployment.id).await?;
    let last = Commit { hand_back: Some(HandBack { claim: Some(held) }), ..unchanged(&lease, &deployment) };
    let mut outdated = last.clone();
    outdated.guard.version = Version(deployment.version.0 + 7);
    refused("a last commit that is outdated", scene.store.commit(outdated).await, ErrorKind::Conflict, None)?;
    let beat = worked("keeping a claim", queue.heartbeat(held, LONG).await)?;
    ensure!(beat == Claim::Held, "a last commit that was refused ended the job");
    scene.commit(last).await?;
    let beat = worked("keeping a claim", queue.heartbeat(held, LONG).await)?;
    ensure!(beat == Claim::Lost, "a job whose claim was handed back is still claimed");
    worked("reclaiming", queue.reclaim(&worker).await)?;
    let left = worked("claiming what is left", queue.claim(&worker, ALL, LONG).await)?;
    ensure!(left.is_empty(), "a job whose claim was handed back comes again: {left:?}");

    // The work goes on in a job of the same name: the old one must not be taken for it.
    let lease = scene.lease(&deployment.app).await?;
    let deployment = scene.read(deployment.id).await?;
    let job = job(&deployment);
    worked("queueing a job", queue.enqueue(job.clone()).await)?;
    let held = claim().await?;
    let last =
        Commit { hand_back: Some(HandBack { claim: Some(held) }), jobs: vec![job], ..unchanged(&lease, &deployment) };
    scene.commit(last).await?;
    let left = worked("claiming what is queued anew", queue.claim(&worker, ALL, LONG).await)?;
    ensure!(left.len() == 1, "a last commit acknowledged one job and queued one; there are {left:?}");
    Ok(())
}

/// The same owner gets its lease again, with a higher fence; anyone gets one that ran out.
pub async fn a_lease_goes_to_its_owner_or_when_it_ran_out(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?.spec.name, scene.app("blog").await?.spec.name);
    let (first, second) = (owner("first")?, owner("second")?);
    let lease = worked("acquiring a lease", scene.store.acquire_lease(&shop, &first, LONG).await)?;
    let again = worked("acquiring an own lease again", scene.store.acquire_lease(&shop, &first, LONG).await)?;
    ensure!(again.fence > lease.fence, "after the fence {:?} came {:?}", lease.fence, again.fence);
    refused("renewing the earlier lease", scene.store.renew_lease(&lease, LONG).await, ErrorKind::Fenced, None)?;

    let lease = worked("acquiring a lease", scene.store.acquire_lease(&blog, &first, SHORT).await)?;
    fixture.advance(PAST_SHORT).await;
    let taken = worked("acquiring a lease that ran out", scene.store.acquire_lease(&blog, &second, LONG).await)?;
    ensure!(taken.fence > lease.fence, "after the fence {:?} came {:?}", lease.fence, taken.fence);
    let held = scene.store.acquire_lease(&blog, &first, LONG).await;
    refused("acquiring a lease that was taken over", held, HELD.0, HELD.1)?;
    Ok(())
}

/// `renew_lease` extends; with an old fence it is `Fenced`.
pub async fn renew_lease_extends(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let shop = scene.app("shop").await?.spec.name;
    let (first, second) = (owner("first")?, owner("second")?);
    let lease = worked("acquiring a lease", scene.store.acquire_lease(&shop, &first, SHORT).await)?;
    worked("renewing a lease", scene.store.renew_lease(&lease, LONG).await)?;
    fixture.advance(PAST_SHORT).await;
    let held = scene.store.acquire_lease(&shop, &second, LONG).await;
    refused("acquiring a lease that was renewed", held, HELD.0, HELD.1)?;

    // From now, not from the end it had: what is renewed briefly ends soon.
    worked("renewing a lease briefly", scene.store.renew_lease(&lease, SHORT).await)?;
    fixture.advance(PAST_SHORT).await;
    let taken = worked("acquiring a lease that ran out", scene.store.acquire_lease(&shop, &second, LONG).await)?;
    refused("renewing a lost lease", scene.store.renew_lease(&lease, LONG).await, ErrorKind::Fenced, None)?;
    worked("renewing the new lease", scene.store.renew_lease(&taken, LONG).await)?;

    worked("releasing a lost lease", scene.store.release_lease(&lease).await)?;
    worked("renewing after another's late release", scene.store.renew_lease(&taken, LONG).await)?;
    worked("releasing a lease", scene.store.release_lease(&taken).await)?;
    refused("renewing a released lease", scene.store.renew_lease(&taken, LONG).await, ErrorKind::Fenced, None)?;
    Ok(())
}

/// `check_lease` with an old fence is `Fenced`, and extends nothing.
pub async fn check_lease_extends_nothing(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let shop = scene.app("shop").await?.spec.name;
    let (first, second) = (owner("first")?, owner("second")?);
    let earlier = worked("acquiring a lease", scene.store.acquire_lease(&shop, &first, LONG).await)?;
    let lease = worked("acquiring an own lease again", scene.store.acquire_lease(&shop, &first, SHORT).await)?;
    refused("checking an earlier lease", scene.store.check_lease(&earlier).await, ErrorKind::Fenced, None)?;
    worked("checking a lease", scene.store.check_lease(&lease).await)?;
    fixture.advance(PAST_SHORT).await;
    worked("checking a lease that ran out and that nobody took", scene.store.check_lease(&lease).await)?;
    let taken = scene.store.acquire_lease(&shop, &second, LONG).await;
    let taken = worked("acquiring a lease that ran out, and was checked", taken)?;
    refused("checking a lost lease", scene.store.check_lease(&lease).await, ErrorKind::Fenced, None)?;
    worked("checking the new lease", scene.store.check_lease(&taken).await)?;
    worked("releasing a lease", scene.store.release_lease(&taken).await)?;
    refused("checking a released lease", scene.store.check_lease(&taken).await, ErrorKind::Fenced, None)?;
    Ok(())
}
