//! Cases about deployments and their order.

use std::sync::Arc;

use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use super::scene::{Scene, job, owner};
use crate::ErrorKind;
use crate::app::AppName;
use crate::backend::{NewJob, QueueDepth};
use crate::clock::Timestamp;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{
    AppRecord, Deployment, DeploymentId, DeploymentKind, EventKind, Revision, State, SupersedePolicy,
};

/// `create_deployment` counts sequences per app from 1 without gaps, also when called at the same time.
pub async fn create_deployment_counts_without_gaps(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?, scene.app("blog").await?);
    for (app, expected) in [(&shop, 1), (&shop, 2), (&blog, 1), (&shop, 3)] {
        let created = scene.deploy(app, moment(expected)).await?;
        ensure!(created.sequence == expected, "number {expected} was counted as {}", created.sequence);
    }
    let said = at_once((0..CROWD).map(|_| {
        let (store, draft) = (Arc::clone(&scene.store), sample::deployment(&shop.spec, moment(4)));
        async move {
            let draft = draft?;
            let job = job(&draft);
            store.create_deployment(draft, job, SupersedePolicy::Serial).await
        }
    }));
    let mut sequences = vec![1, 2, 3];
    for created in said.await? {
        let created = worked("creating a deployment at the same time as others", created)?.deployment;
        let read = scene.read(created.id).await?;
        ensure!(read == created, "{created:?} was read back as {read:?}");
        sequences.push(created.sequence);
    }
    sequences.sort_unstable();
    let expected: Vec<u64> = (1..=3 + CROWD as u64).collect();
    ensure!(sequences == expected, "deployments that were created at the same time are counted {sequences:?}");
    Ok(())
}

/// `create_deployment` writes the deployment, its `Created` event and its job in one transaction.
pub async fn create_deployment_writes_event_and_job(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let app = scene.app("shop").await?;
    let mut draft = worked("making a deployment", sample::deployment(&app.spec, moment(1)))?;
    draft.kind = DeploymentKind::Rollback { to: DeploymentId::generate() };
    draft.revision.commit = Some(worked("making a commit", sample::commit_sha())?);
    let created = scene.submit(draft.clone()).await?;
    let expected = Deployment { sequence: 1, version: created.version, ..draft.clone() };
    ensure!(created == expected, "the deployment was created as {created:?} instead of {expected:?}");
    let read = scene.read(created.id).await?;
    ensure!(read == created, "{created:?} was read back as {read:?}");

    let events = scene.events(Some(created.id)).await?;
    let told: Vec<_> = events.iter().map(|event| (&event.app, event.deployment, event.at, &event.kind)).collect();
    let expected = [(&draft.app, draft.id, draft.created_at, &EventKind::Created)];
    ensure!(told == expected, "the events of a new deployment are {events:?}");

    let jobs = scene.jobs().await?;
    if !scene.store.queues_jobs() {
        let none = jobs.is_none_or(|jobs| jobs == QueueDepth::default());
        ensure!(none, "the store says that it queues no jobs, and there are {jobs:?}");
        return Ok(());
    }
    let queue = fixture.queue().ok_or("the store queues jobs, but the fixture has no queue")?;
    let claimed = worked("claiming the job", queue.claim(&owner("worker")?, ALL, super::scene::LONG).await)?;
    let claimed: Vec<NewJob> = claimed.into_iter().map(|claimed| claimed.job).collect();
    ensure!(claimed == [job(&draft)], "the jobs of a new deployment are {claimed:?}");
    Ok(())
}

/// `create_deployment` for an app that is unknown is `NotFound`, for one being removed a `Conflict` (`app_removed`).
pub async fn create_deployment_needs_an_app(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let app = scene.app("shop").await?;
    let first = remove(&scene, &app, moment(1)).await?;
    let before = scene.picture(first.id).await?;

    let create = async |draft: Deployment| {
        let job = job(&draft);
        scene.store.create_deployment(draft, job, SupersedePolicy::Serial).await
    };
    let draft = worked("making a deployment", sample::deployment(&app.spec, moment(2)))?;
    let created = create(draft.clone()).await;
    refused("deploying an app that is being removed", created, ErrorKind::Conflict, Some("app_removed"))?;
    let unknown = worked("making a name", AppName::parse("unknown"))?;
    let created = create(Deployment { app: unknown.clone(), ..draft }).await;
    refused("deploying an unknown app", created, ErrorKind::NotFound, None)?;

    let after = scene.picture(first.id).await?;
    ensure!(before == after, "what was refused left a trace:\nbefore {before:?}\nafter {after:?}");
    let listed = worked("reading deployments", scene.store.deployments(&unknown, None, ALL).await)?;
    ensure!(listed.is_empty(), "an unknown app has the deployments {listed:?}");
    Ok(())
}

/// A `Remove` deployment marks its app as being removed.
pub async fn a_remove_deployment_marks_its_app(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?, scene.app("blog").await?);
    scene.deploy(&shop, moment(1)).await?;
    let read = scene.record(&shop.spec.name).await?;
    ensure!(read == shop, "a deployment changed its app to {read:?}");

    let removal = remove(&scene, &shop, moment(2)).await?;
    let read = scene.record(&shop.spec.name).await?;
    ensure!(read.removed_at == Some(moment(2)), "an app that is being removed since 2 s has {:?}", read.removed_at);
    let snapshot = worked("reading a snapshot", scene.store.snapshot(removal.id).await)?;
    let in_snapshot = snapshot.and_then(|snapshot| snapshot.app);
    ensure!(in_snapshot.as_ref() == Some(&read), "the snapshot has the app {in_snapshot:?}");
    let read = scene.record(&blog.spec.name).await?;
    ensure!(read == blog, "removing one app changed another to {read:?}");

    let updated = scene.store.update_app(shop.spec.clone(), shop.version, moment(3)).await;
    refused("changing an app that is being removed", updated, ErrorKind::Conflict, Some("app_removed"))?;
    Ok(())
}

/// Reads the deployments of an app, newest first, at most `most`, with a
/// sequence below `before` if it is given.
pub async fn deployments_are_listed_newest_first(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?, scene.app("blog").await?);
    let mut expected = Vec::new();
    for number in 1..=7 {
        expected.insert(0, scene.deploy(&shop, moment(number)).await?);
        scene.deploy(&blog, moment(number)).await?;
    }
    let list = async |before, most| {
        worked("reading deployments", scene.store.deployments(&shop.spec.name, before, most).await)
    };
    let all = list(None, ALL).await?;
    ensure!(all == expected, "the deployments {expected:?} are listed as {all:?}");
    let none = list(None, 0).await?;
    ensure!(none.is_empty(), "at most none are {none:?}");
    // Page by page, as people turn them.
    let mut turned = Vec::new();
    let mut before = None;
    while turned.len() < expected.len() {
        let page = list(before, 3).await?;
        ensure!(!page.is_empty() && page.len() <= 3, "a page of 3 before {before:?} has {}", page.len());
        before = page.last().map(|last| last.sequence);
        turned.extend(page);
    }
    ensure!(turned == expected, "page by page the deployments are {turned:?}");
    let end = list(before, 3).await?;
    ensure!(end.is_empty(), "before the first come {end:?}");
    Ok(())
}

/// `unfinished` yields every deployment that has not ended, and nothing else.
pub async fn unfinished_is_what_has_not_ended(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let mut expected = Vec::new();
    // The states backwards, so that the order of states is not the order of time.
    for (number, state) in (1..).zip(State::ALL.into_iter().rev()) {
        let app = scene.app(&state.as_str().replace('_', "-")).await?;
        let mut deployment = scene.deploy(&app, moment(number)).await?;
        if state != State::Queued {
            let lease = scene.lease(&app.spec.name).await?;
            deployment = scene.bring(&lease, &deployment, State::Admitted).await?;
            deployment = scene.bring(&lease, &deployment, state).await?;
        }
        if !state.is_terminal() {
            expected.push(deployment);
        }
    }
    let unfinished = worked("reading what is unfinished", scene.store.unfinished(None).await)?;
    let states: Vec<State> = unfinished.iter().map(|deployment| deployment.state).collect();
    ensure!(unfinished == expected, "oldest first, the unfinished deployments are in the states {states:?}");
    Ok(())
}

/// `unfinished` of an app yields those of this app only.
pub async fn unfinished_of_an_app_is_its_own(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?, scene.app("blog").await?);
    let ended = scene.deploy(&shop, moment(1)).await?;
    let lease = scene.lease(&shop.spec.name).await?;
    let ended = scene.bring(&lease, &ended, State::Admitted).await?;
    scene.bring(&lease, &ended, State::Completed).await?;
    let active = scene.deploy(&shop, moment(2)).await?;
    let active = scene.bring(&lease, &active, State::Admitted).await?;
    let other = scene.deploy(&blog, moment(3)).await?;
    let queued = scene.deploy(&shop, moment(4)).await?;
    for (app, expected) in [(&shop, vec![active, queued]), (&blog, vec![other])] {
        let name = &app.spec.name;
        let unfinished = worked("reading what is unfinished of an app", scene.store.unfinished(Some(name)).await)?;
        ensure!(unfinished == expected, "of `{name}` the unfinished deployments are {unfinished:?}");
    }
    let unknown = worked("parsing a name", AppName::parse("unknown"))?;
    let unfinished = worked("reading what is unfinished of no app", scene.store.unfinished(Some(&unknown)).await)?;
    ensure!(unfinished.is_empty(), "of an app that is not there the unfinished deployments are {unfinished:?}");
    Ok(())
}

/// A deployment that removes `app`.
async fn remove(scene: &Scene<'_>, app: &AppRecord, at: Timestamp) -> CaseResult<Deployment> {
    let draft = worked("making a deployment", sample::deployment(&app.spec, at))?;
    scene.submit(Deployment { kind: DeploymentKind::Remove, revision: Revision::default(), ..draft }).await
}
