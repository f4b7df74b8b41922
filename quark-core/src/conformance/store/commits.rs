//! Cases about what a commit changes.

use std::sync::Arc;

use super::apps::one_succeeds;
use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use super::scene::{Scene, admitting, loaded, owner, unchanged};
use crate::ErrorKind;
use crate::app::AppName;
use crate::backend::Commit;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{
    Conclusion, ContainerName, Deployment, DeploymentId, DeploymentKind, Endpoint, EventKind, Fence, Instance,
    InstanceState, Slot, State, StepName, Trigger, Version,
};

/// One atomic change. All of it happens, or nothing.
pub async fn a_commit_happens_as_a_whole(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, first, lease) = scene.active("shop").await?;
    let mut commit = loaded(&lease, &first);
    commit.instances = vec![sample::instance(&first, Slot::Blue, InstanceState::Healthy)];
    scene.commit(commit).await?;
    let first = scene.read(first.id).await?;
    scene.bring(&lease, &first, State::Completed).await?;
    let queued = scene.deploy(&app, moment(2)).await?;
    let before = scene.picture(queued.id).await?;

    let mut commit = loaded(&lease, &queued);
    commit.guard.admits = true;
    commit.steps.push(sample::step(StepName::Create, 1, moment(50)));
    commit.serving = Some(sample::serving(&queued, first.id));
    // The version and the cancel request are not the writer's to set.
    commit.deployment = Deployment {
        state: State::Promoting,
        revision: crate::Revision { commit: Some(worked("making a commit", sample::commit_sha())?), ..queued.revision },
        artifact: Some(sample::artifact()),
        slot: Some(Slot::Green),
        failure: Some(sample::failure()),
        fence: lease.fence,
        started_at: Some(moment(51)),
        finished_at: Some(moment(52)),
        approval: Some(sample::approval()),
        bake: Some(worked("making a watch", sample::bake())?),
        liveness: Some(sample::liveness()),
        canary: Some(worked("making a share", sample::canary())?),
        version: Version(77),
        cancel: Some(crate::deployment::CancelRequest::new("nobody", moment(9))),
        ..commit.deployment
    };
    let wanted = commit.clone();
    let version = scene.commit(commit).await?;

    let read = scene.read(queued.id).await?;
    let expected = Deployment { version, cancel: None, ..wanted.deployment.clone() };
    ensure!(read == expected, "{expected:?} was written and {read:?} read back");
    let after = scene.picture(queued.id).await?;
    let record = scene.record(&app.spec.name).await?;
    ensure!(Some(&record.serving) == wanted.serving.as_ref(), "what serves is {:?}", record.serving);
    ensure!(record.spec == app.spec && record.version == app.version, "a commit changed what was said of the app");
    ensure!(after.steps == wanted.steps, "the steps are {:?}", after.steps);
    let mut instances = vec![sample::instance(&first, Slot::Blue, InstanceState::Healthy)];
    instances.extend(wanted.instances.clone());
    ensure!(after.instances == instances, "the instances of the app are {:?}", after.instances);
    let told = after.events.get(before.events.len()..).unwrap_or_default();
    let kinds: Vec<&EventKind> = told.iter().map(|event| &event.kind).collect();
    let meant = told.iter().all(|event| (event.deployment, event.at) == (queued.id, wanted.at));
    ensure!(kinds.iter().copied().eq(wanted.events.iter()) && meant, "the commit's events are {told:?}");

    // Only what is not removed is an instance.
    let mut commit = unchanged(&lease, &read);
    commit.instances = vec![sample::instance(&first, Slot::Blue, InstanceState::Removed)];
    scene.commit(commit).await?;
    let after = scene.picture(queued.id).await?;
    ensure!(after.instances == wanted.instances, "after a removal the instances are {:?}", after.instances);
    jobs_are_queued(&scene, &wanted).await
}

/// The jobs of a commit are in the queue, if the store queues them.
async fn jobs_are_queued(scene: &Scene<'_>, commit: &Commit) -> CaseResult {
    let Some(queue) = scene.fixture.queue().filter(|_| scene.store.queues_jobs()) else { return Ok(()) };
    let claimed = worked("claiming jobs", queue.claim(&owner("worker")?, ALL, super::scene::LONG).await)?;
    for job in &commit.jobs {
        let queued = claimed.iter().filter(|claimed| claimed.job == *job).count();
        ensure!(queued == 1, "the job {job:?} of a commit was queued {queued} times: {claimed:?}");
    }
    Ok(())
}

/// `commit` changes nothing of what was asked for: neither kind nor release, nor who asked, why, when and under which
/// key.
pub async fn a_commit_keeps_what_was_asked_for(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, created, lease) = scene.active("shop").await?;
    let mut commit = unchanged(&lease, &created);
    let other = worked("making an app", sample::app("blog"))?;
    commit.deployment = Deployment {
        kind: DeploymentKind::Remove,
        release: Arc::new(other),
        sequence: created.sequence + 7,
        created_by: "the writer".to_owned(),
        trigger: Trigger::Request,
        key: None,
        created_at: moment(70),
        ..commit.deployment
    };
    let version = scene.commit(commit).await?;
    let read = scene.read(created.id).await?;
    let expected = Deployment { version, ..created };
    ensure!(read == expected, "of `{}` {expected:?} was asked for, and {read:?} is read", app.spec.name);
    Ok(())
}

/// `instances` yields the instances of an app that are not removed, also when the app is gone.
pub async fn instances_are_those_that_are_left(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let instances = async |app: &AppName| worked("reading instances", scene.store.instances(app).await);
    let (app, first, lease) = scene.active("shop").await?;
    let name = &app.spec.name;
    let none = instances(name).await?;
    ensure!(none.is_empty(), "before there is an instance there are {none:?}");
    let (_, foreign, foreign_lease) = scene.active("blog").await?;
    scene.commit(loaded(&foreign_lease, &foreign)).await?;
    let next = scene.deploy(&app, moment(2)).await?;

    // The later ones first: they are read in another order.
    let replica = |number, state| Instance {
        name: ContainerName::of(&first.app, first.id, number),
        replica: number,
        ..sample::instance(&first, Slot::Blue, state)
    };
    let mut expected = vec![
        replica(0, InstanceState::Healthy),
        replica(1, InstanceState::Planned),
        replica(2, InstanceState::Planned),
        sample::instance(&next, Slot::Green, InstanceState::Planned),
    ];
    let mut commit = unchanged(&lease, &first);
    commit.instances = expected.iter().rev().cloned().collect();
    scene.commit(commit).await?;
    let read = instances(name).await?;
    ensure!(read == expected, "the instances {expected:?} are read as {read:?}");
    let gone = Instance { state: InstanceState::Removed, ..expected.remove(1) };
    let mut commit = unchanged(&lease, &scene.read(first.id).await?);
    commit.instances = vec![gone];
    commit.forget_app = true;
    scene.commit(commit).await?;
    let read = instances(name).await?;
    ensure!(read == expected, "of an app that is gone the instances {expected:?} are read as {read:?}");

    let mut commit = unchanged(&lease, &scene.read(first.id).await?);
    commit.instances = expected.drain(..).map(|left| Instance { state: InstanceState::Removed, ..left }).collect();
    scene.commit(commit).await?;
    let read = instances(name).await?;
    ensure!(read.is_empty(), "of an app that is gone and whose instances are removed there are {read:?}");
    Ok(())
}

/// A completed deployment keeps its state, conclusion and failure; a commit that says otherwise is a
/// `Conflict` (`deployment_ended`).
pub async fn a_completed_deployment_keeps_its_end(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (_, active, lease) = scene.active("shop").await?;
    let ended = scene.bring(&lease, &active, State::Completed).await?;
    let others: [fn(&mut Deployment); 6] = [
        |deployment| deployment.state = State::Unwinding,
        |deployment| deployment.state = State::Queued,
        |deployment| deployment.conclusion = Some(Conclusion::Succeeded),
        |deployment| deployment.conclusion = None,
        |deployment| deployment.failure = None,
        |deployment| deployment.failure.iter_mut().for_each(|failure| failure.code.push('x')),
    ];
    for other in others {
        let mut commit = loaded(&lease, &ended);
        other(&mut commit.deployment);
        let what = format!(
            "an end as ({}, {:?}, {:?})",
            commit.deployment.state, commit.deployment.conclusion, commit.deployment.failure
        );
        scene.refuses(&what, commit, ErrorKind::Conflict, Some("deployment_ended")).await?;
    }
    // Its standby is retired long after it has ended.
    scene.commit(loaded(&lease, &ended)).await?;
    let read = scene.read(ended.id).await?;
    let expected = Deployment { version: read.version, ..ended };
    ensure!(read == expected, "a step after the end changed {expected:?} to {read:?}");
    let picture = scene.picture(read.id).await?;
    ensure!(picture.steps.len() == 1, "the steps after the end are {:?}", picture.steps);
    Ok(())
}

/// Two apps never hold the same endpoint; the second is a `Conflict` (`endpoint_taken`).
pub async fn two_apps_never_hold_one_endpoint(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let taken = (ErrorKind::Conflict, Some("endpoint_taken"));
    let holding = |commit: &mut Commit, blue: Option<&str>, green: Option<&str>| {
        let (blue, green) = (blue.map(Endpoint::new), green.map(Endpoint::new));
        commit.serving = Some(crate::deployment::Serving { blue, green, ..Default::default() });
    };
    let (_, shop, shop_lease) = scene.active("shop").await?;
    let (_, blog, blog_lease) = scene.active("blog").await?;
    let mut commit = unchanged(&shop_lease, &shop);
    holding(&mut commit, Some("10.0.0.1:80"), Some("10.0.0.2:80"));
    scene.commit(commit).await?;
    for (blue, green) in
        [("10.0.0.1:80", "10.0.0.3:80"), ("10.0.0.3:80", "10.0.0.1:80"), ("10.0.0.2:80", "10.0.0.3:80")]
    {
        let mut commit = loaded(&blog_lease, &blog);
        holding(&mut commit, Some(blue), Some(green));
        scene.refuses("holding the endpoint of another app", commit, taken.0, taken.1).await?;
    }
    // What an app gives up is free, and it may keep what it has.
    let mut commit = unchanged(&shop_lease, &scene.read(shop.id).await?);
    holding(&mut commit, None, Some("10.0.0.2:80"));
    scene.commit(commit).await?;
    let mut commit = unchanged(&blog_lease, &blog);
    holding(&mut commit, Some("10.0.0.1:80"), None);
    scene.commit(commit).await?;

    let mut commits = Vec::new();
    for number in 0..CROWD {
        let (_, deployment, lease) = scene.active(&format!("crowd-{number}")).await?;
        let mut commit = unchanged(&lease, &deployment);
        holding(&mut commit, Some("10.0.0.9:80"), None);
        commits.push(commit);
    }
    let said = at_once(commits.into_iter().map(|commit| {
        let store = Arc::clone(&scene.store);
        async move { store.commit(commit).await }
    }));
    one_succeeds("wanting one endpoint at once", said.await?, taken.0, taken.1)
}

/// A step is identified by name and attempt: writing it again replaces it.
pub async fn a_step_is_identified_by_name_and_attempt(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (_, mut deployment, lease) = scene.active("shop").await?;
    let fetch = sample::step(StepName::Fetch, 1, moment(11));
    let build = sample::step(StepName::Build, 1, moment(12));
    let again = sample::step(StepName::Fetch, 2, moment(13));
    let mut failed = build.clone();
    failed.phase = crate::deployment::StepPhase::Failed;
    failed.failure = Some(sample::failure());
    let fetched = worked("making a step", sample::done(fetch.clone(), moment(14)))?;
    let written = [
        (fetch.clone(), vec![fetch.clone()]),
        (build.clone(), vec![fetch.clone(), build.clone()]),
        (again.clone(), vec![fetch, build.clone(), again.clone()]),
        (fetched.clone(), vec![fetched.clone(), build, again.clone()]),
        (failed.clone(), vec![fetched, failed, again]),
    ];
    for (step, expected) in written {
        let mut commit = unchanged(&lease, &deployment);
        commit.steps = vec![step.clone()];
        scene.commit(commit).await?;
        let steps = scene.picture(deployment.id).await?.steps;
        ensure!(steps == expected, "after {step:?} the steps are {steps:?} instead of {expected:?}");
        deployment = scene.read(deployment.id).await?;
    }
    let (_, other, _) = scene.active("blog").await?;
    let steps = scene.picture(other.id).await?.steps;
    ensure!(steps.is_empty(), "another deployment has the steps {steps:?}");
    Ok(())
}

/// A `commit` that is refused leaves no trace: no step, instance, event, job or serving.
pub async fn a_refused_commit_leaves_no_trace(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, active, lease) = scene.active("shop").await?;
    let (_, foreign, foreign_lease) = scene.active("blog").await?;
    let queued = scene.deploy(&app, moment(3)).await?;
    let mut commit = unchanged(&foreign_lease, &foreign);
    commit.serving = Some(sample::serving(&foreign, DeploymentId::generate()));
    scene.commit(commit).await?;

    let mut fenced = loaded(&lease, &active);
    fenced.guard.lease.fence = Fence(lease.fence.0 + 1);
    scene.refuses("a commit with a fence never given", fenced, ErrorKind::Fenced, None).await?;
    let mut outdated = loaded(&lease, &active);
    outdated.guard.version = Version(0);
    scene.refuses("a commit with an outdated version", outdated, ErrorKind::Conflict, None).await?;
    let mut second = loaded(&lease, &queued);
    second.guard.admits = true;
    second.deployment.state = State::Admitted;
    scene.refuses("admitting a second deployment", second, ErrorKind::Conflict, None).await?;
    // Refused last of all, when a careless store has written the rest already.
    let mut greedy = loaded(&lease, &active);
    greedy.deployment.slot = Some(Slot::Green);
    greedy.serving = Some(sample::serving(&foreign, DeploymentId::generate()));
    scene.refuses("holding the endpoint of another app", greedy, ErrorKind::Conflict, None).await?;

    let mut unknown = loaded(&lease, &active);
    unknown.deployment.id = DeploymentId::generate();
    let before = scene.picture(active.id).await?;
    refused("a commit of an unknown deployment", scene.store.commit(unknown).await, ErrorKind::NotFound, None)?;
    let after = scene.picture(active.id).await?;
    ensure!(before == after, "a commit of an unknown deployment left a trace:\nbefore {before:?}\nafter {after:?}");
    // None of it was in the way of the right one.
    scene.commit(loaded(&lease, &active)).await?;
    Ok(())
}

/// An app that is gone for good frees its names; its history stays, and an app
/// of the same name goes on counting.
pub async fn forgetting_an_app_keeps_its_history(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (app, active, lease) = scene.active("shop").await?;
    let name = &app.spec.name;
    let mut commit = unchanged(&lease, &active);
    commit.serving = Some(sample::serving(&active, DeploymentId::generate()));
    scene.commit(commit).await?;
    let active = scene.read(active.id).await?;
    let mut commit = unchanged(&lease, &active);
    commit.deployment.state = State::Completed;
    commit.deployment.conclusion = Some(Conclusion::Succeeded);
    commit.forget_app = true;
    scene.commit(commit).await?;

    let found = worked("reading an app", scene.store.app(name).await)?;
    ensure!(found.is_none(), "an app that is gone is read as {found:?}");
    let snapshot = worked("reading a snapshot", scene.store.snapshot(active.id).await)?;
    let (deployment, in_snapshot) = snapshot.map(|snapshot| (snapshot.deployment, snapshot.app)).unzip();
    ensure!(in_snapshot == Some(None), "the snapshot has the app {in_snapshot:?}");
    let listed = worked("reading deployments", scene.store.deployments(name, None, ALL).await)?;
    ensure!(listed.iter().eq(deployment.iter()), "the history of an app that is gone is {listed:?}");
    ensure!(!scene.events(Some(active.id)).await?.is_empty(), "the events went with the app");

    let heir = worked("making an app", sample::app("heir"))?;
    let heir = crate::App { domains: app.spec.domains.clone(), ..heir };
    let heir = scene.create(heir).await?;
    let deployment = scene.deploy(&heir, moment(3)).await?;
    let heir_lease = scene.lease(&heir.spec.name).await?;
    let mut commit = admitting(&heir_lease, &deployment);
    commit.serving = Some(sample::serving(&active, DeploymentId::generate()));
    scene.commit(commit).await?;

    let mut again = app.spec.clone();
    again.domains.clear();
    let again = scene.create(again).await?;
    let next = scene.deploy(&again, moment(4)).await?;
    ensure!(next.sequence == 2, "the first deployment of a namesake is counted as {}", next.sequence);
    let later = scene.lease(name).await?;
    ensure!(later.fence > lease.fence, "after the fence {:?} a namesake got {:?}", lease.fence, later.fence);
    Ok(())
}
