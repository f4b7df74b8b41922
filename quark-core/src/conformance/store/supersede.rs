//! Cases about deployments that take the place of earlier ones, or of which
//! there is one already.

use std::sync::Arc;

use super::apps::one_succeeds;
use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use super::scene::{Scene, job};
use crate::ErrorKind;
use crate::backend::CreatedDeployment;
use crate::clock::Timestamp;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{
    AppRecord, CancelRequest, Conclusion, Deployment, DeploymentId, DeploymentKind, EventKind, IdempotencyKey, State,
    SupersedePolicy, Superseding,
};

/// Every policy but the one that refuses.
const POLICIES: [SupersedePolicy; 3] =
    [SupersedePolicy::Coalesce, SupersedePolicy::QueuedOnly, SupersedePolicy::Serial];
const UNDER_WAY: (ErrorKind, Option<&str>) = (ErrorKind::Conflict, Some("deployment_under_way"));

/// `create_deployment` with a key that a deployment of the app has already yields that one and writes nothing.
pub async fn a_key_names_one_deployment(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let shop = scene.app("shop").await?;
    let first = scene.deploy(&shop, moment(1)).await?;
    // It would give way to a newer one.
    scene.deploy(&shop, moment(2)).await?;
    is_known(&scene, &first).await?;
    let lease = scene.lease(&shop.spec.name).await?;
    for state in [State::Probing, State::Promoting, State::Completed] {
        let brought = scene.bring(&lease, &scene.read(first.id).await?, state).await?;
        is_known(&scene, &brought).await?;
    }

    // A key is its app's own, and whoever gives none wants another one each time.
    let blog = scene.app("blog").await?;
    let draft = worked("making a deployment", sample::deployment(&blog.spec, moment(3)))?;
    let created = ask(&scene, Deployment { key: first.key.clone(), ..draft }, SupersedePolicy::Serial).await?;
    ensure!(!created.existing, "a key of another app yields {:?}", created.deployment);
    for sequence in [2, 3] {
        let draft = worked("making a deployment", sample::deployment(&blog.spec, moment(4)))?;
        let created = ask(&scene, Deployment { key: None, ..draft }, SupersedePolicy::Serial).await?;
        let counted = created.deployment.sequence;
        ensure!(!created.existing && counted == sequence, "number {sequence}, without a key, is {created:?}");
    }

    // Also while nothing new is deployed any more.
    let draft = worked("making a deployment", sample::deployment(&shop.spec, moment(5)))?;
    let removal = scene.submit(Deployment { kind: DeploymentKind::Remove, ..draft }).await?;
    is_known(&scene, &removal).await?;
    is_known(&scene, &scene.read(first.id).await?).await?;
    one_key_at_once(&scene).await
}

/// `deployment_by_key` yields the deployment of an app that was created with a key, and `None` for a key of another app.
pub async fn a_key_finds_its_deployment(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let (shop, blog) = (scene.app("shop").await?, scene.app("blog").await?);
    let first = scene.deploy(&shop, moment(1)).await?;
    scene.deploy(&shop, moment(2)).await?;
    let first = scene.read(first.id).await?;
    let Some(key) = &first.key else { return Err("the deployment has no key".to_owned()) };
    let find = async |app| worked("reading by a key", scene.store.deployment_by_key(app, key).await);
    let found = find(&shop.spec.name).await?;
    ensure!(found.as_ref() == Some(&first), "under its key {first:?} is found as {found:?}");
    let found = find(&blog.spec.name).await?;
    ensure!(found.is_none(), "under the key of another app there is {found:?}");
    Ok(())
}

/// Checks that asking again under the key of `known` yields it and writes nothing.
async fn is_known(scene: &Scene<'_>, known: &Deployment) -> CaseResult {
    let before = scene.picture(known.id).await?;
    for policy in POLICIES.into_iter().chain([SupersedePolicy::Reject]) {
        let draft = worked("making a deployment", sample::deployment(&known.release, moment(40)))?;
        let again = ask(scene, Deployment { key: known.key.clone(), ..draft }, policy).await?;
        let untouched = again.ended.is_empty() && again.stopping.is_empty();
        ensure!(again.existing && untouched, "asking again for what is {} yields {again:?}", known.state);
        ensure!(again.deployment == *known, "asking again for {known:?} yields {:?}", again.deployment);
    }
    let after = scene.picture(known.id).await?;
    ensure!(before == after, "asking again left a trace:\nbefore {before:?}\nafter {after:?}");
    Ok(())
}

async fn one_key_at_once(scene: &Scene<'_>) -> CaseResult {
    let app = scene.app("crowd").await?;
    let key = worked("making a key", IdempotencyKey::parse("push/1"))?;
    let said = at_once((0..CROWD).map(|_| {
        let (store, draft, key) = (Arc::clone(&scene.store), sample::deployment(&app.spec, moment(6)), key.clone());
        async move {
            let draft = Deployment { key: Some(key), ..draft? };
            let job = job(&draft);
            store.create_deployment(draft, job, SupersedePolicy::Serial).await
        }
    }));
    let mut created = Vec::new();
    for one in said.await? {
        created.push(worked("asking under one key at once", one)?);
    }
    let new: Vec<_> = created.iter().filter(|one| !one.existing).map(|one| one.deployment.id).collect();
    ensure!(new.len() == 1, "asking under one key at once created {new:?}");
    let same = created.iter().all(|one| new.contains(&one.deployment.id));
    ensure!(same, "asking under one key at once yields {created:?}");
    let listed = worked("reading deployments", scene.store.deployments(&app.spec.name, None, ALL).await)?;
    ensure!(listed.len() == 1, "under one key there are {listed:?}");
    Ok(())
}

/// What stands before a newer deployment.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// Only those that wait.
    Nothing,
    /// One that is under way in this state.
    Active(State),
    /// One that is under way in this state and was asked to stop.
    Cancelled(State),
}

/// `create_deployment` does to each unfinished deployment of the app what `SupersedePolicy::verdict` says: one that
/// ends is `Completed` as `Superseded`, one that stops gets a cancel request, both naming the newer one.
pub async fn a_newer_deployment_supersedes_earlier_ones(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let neighbour = scene.deploy(&scene.app("neighbour").await?, moment(1)).await?;
    let rollback = DeploymentKind::Rollback { to: DeploymentId::generate() };
    // What is no deployment of something new outranks the policies that spare the earlier ones.
    let (serial, reject) = (SupersedePolicy::Serial, SupersedePolicy::Reject);
    let newer = POLICIES.map(|policy| (policy, DeploymentKind::Deploy)).into_iter().chain([
        (serial, rollback.clone()),
        (serial, DeploymentKind::Remove),
        (reject, rollback),
        (reject, DeploymentKind::Remove),
    ]);
    let mut number = 0;
    let mut ended = Vec::new();
    for (policy, kind) in newer {
        for before in [
            Before::Nothing,
            Before::Active(State::Probing),
            Before::Active(State::Promoting),
            Before::Cancelled(State::Fetching),
        ] {
            number += 1;
            let app = scene.app(&format!("app-{number}")).await?;
            let earlier = stand(&scene, &app, before).await?;
            let draft = worked("making a deployment", sample::deployment(&app.spec, moment(30)))?;
            ended.extend(supersedes(&scene, Deployment { kind: kind.clone(), ..draft }, policy, &earlier).await?);
        }
    }
    let unfinished = scene.unfinished().await?;
    let wrong = ended.iter().find(|deployment| unfinished.contains(&deployment.id));
    ensure!(wrong.is_none(), "among the unfinished is {wrong:?}");
    let read = scene.read(neighbour.id).await?;
    ensure!(read == neighbour, "the deployments of other apps changed {neighbour:?} to {read:?}");
    only_the_newest_of_a_crowd_is_left(&scene).await
}

/// The deployments of an app: one that has ended, a rollback that waits, one
/// under way, and one that waits behind it.
async fn stand(scene: &Scene<'_>, app: &AppRecord, before: Before) -> CaseResult<Vec<Deployment>> {
    let lease = scene.lease(&app.spec.name).await?;
    let ended = scene.deploy(app, moment(1)).await?;
    let ended = scene.bring(&lease, &ended, State::Completed).await?;
    let draft = worked("making a deployment", sample::deployment(&app.spec, moment(2)))?;
    let rollback = scene.submit(Deployment { kind: DeploymentKind::Rollback { to: ended.id }, ..draft }).await?;
    let mut earlier = vec![ended, rollback];
    if let Before::Active(state) | Before::Cancelled(state) = before {
        let active = scene.deploy(app, moment(3)).await?;
        let active = scene.bring(&lease, &active, State::Admitted).await?;
        if let Before::Cancelled(_) = before {
            let asked = scene.store.request_cancel(active.id, CancelRequest::new("ann", moment(4))).await;
            worked("asking to cancel", asked)?;
        }
        earlier.push(scene.bring(&lease, &active, state).await?);
    }
    earlier.push(scene.deploy(app, moment(5)).await?);
    Ok(earlier)
}

/// Checks what a newer deployment does to each earlier one, and returns those
/// that have ended because of it.
async fn supersedes(
    scene: &Scene<'_>,
    draft: Deployment,
    policy: SupersedePolicy,
    earlier: &[Deployment],
) -> CaseResult<Vec<Deployment>> {
    let position = worked("reading the position", scene.store.position().await)?;
    let (newer, by, at) = (draft.id, draft.created_by.clone(), draft.created_at);
    let mut created = ask(scene, draft.clone(), policy).await?;
    let (sequence, version) = (earlier.len() as u64 + 1, created.deployment.version);
    let expected = Deployment { sequence, version, ..draft.clone() };
    ensure!(created.deployment == expected, "{expected:?} was created as {:?}", created.deployment);
    ensure!(!created.existing, "a new deployment was there already");
    let (mut ended, mut stopping) = (Vec::new(), Vec::new());
    for before in earlier {
        let verdict = if before.state.is_terminal() { Superseding::Stays } else { policy.verdict(&draft, before) };
        let what = format!("{policy:?}, {:?} after {:?} that was {}", draft.kind, before.kind, before.state);
        let read = scene.read(before.id).await?;
        let cancel = Some(CancelRequest { by: by.clone(), at, superseded_by: Some(newer) });
        let expected = match verdict {
            Superseding::Ends => {
                ensure!(read.version > before.version, "{what}: it ended, and its version is {:?} still", read.version);
                ended.push(read.clone());
                let (state, conclusion, finished_at) = (State::Completed, Some(Conclusion::Superseded), Some(at));
                Deployment { state, conclusion, cancel, finished_at, version: read.version, ..before.clone() }
            }
            Superseding::Stops => {
                stopping.push(before.id);
                Deployment { cancel, ..before.clone() }
            }
            Superseding::Stays | Superseding::Refuses => before.clone(),
        };
        ensure!(read == expected, "{what}: {expected:?} is read as {read:?}");
        let events = worked("reading events", scene.store.events(Some(before.id), position, ALL).await)?;
        let told: Vec<_> = events.into_iter().map(|event| (event.at, event.kind)).collect();
        let expected: Vec<_> = events_of(verdict, &by).into_iter().map(|kind| (at, kind)).collect();
        ensure!(told == expected, "{what}: the events are {told:?} instead of {expected:?}");
    }
    created.ended.sort_by_key(|deployment| deployment.sequence);
    ensure!(created.ended == ended, "{ended:?} ended and the store says {:?}", created.ended);
    created.stopping.sort_unstable();
    stopping.sort_unstable();
    ensure!(created.stopping == stopping, "{stopping:?} shall stop and the store says {:?}", created.stopping);
    Ok(ended)
}

/// What is told of an earlier deployment.
fn events_of(verdict: Superseding, by: &str) -> Vec<EventKind> {
    let asked = EventKind::CancelRequested { by: by.to_owned() };
    match verdict {
        Superseding::Ends => vec![
            asked,
            EventKind::StateChanged { from: State::Queued, to: State::Completed },
            EventKind::Completed { conclusion: Conclusion::Superseded, failure: None },
        ],
        Superseding::Stops => vec![asked],
        Superseding::Stays | Superseding::Refuses => Vec::new(),
    }
}

/// Of many that are asked for at once, each gives way to the next.
async fn only_the_newest_of_a_crowd_is_left(scene: &Scene<'_>) -> CaseResult {
    let app = scene.app("crowd").await?;
    for created in create_at_once(scene, &app, moment(7), SupersedePolicy::Coalesce).await? {
        worked("creating a deployment at the same time as others", created)?;
    }
    let listed = worked("reading deployments", scene.store.deployments(&app.spec.name, None, ALL).await)?;
    let mut newer = None;
    for deployment in listed {
        let by = deployment.cancel.as_ref().and_then(|cancel| cancel.superseded_by);
        let expected = newer.map(|_| Conclusion::Superseded);
        let gave_way = (by, deployment.conclusion) == (newer, expected);
        ensure!(gave_way, "in a crowd, {deployment:?} came before {newer:?}");
        newer = Some(deployment.id);
    }
    Ok(())
}

/// `create_deployment` that the policy refuses is a `Conflict` (`deployment_under_way`) and changes nothing.
pub async fn create_deployment_is_refused_while_one_is_under_way(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    for state in State::ALL {
        let app = scene.app(&state.as_str().replace('_', "-")).await?;
        let lease = scene.lease(&app.spec.name).await?;
        let mut earlier = scene.deploy(&app, moment(1)).await?;
        if state != State::Queued {
            earlier = scene.bring(&lease, &earlier, state).await?;
        }
        let draft = worked("making a deployment", sample::deployment(&app.spec, moment(2)))?;
        if !state.is_terminal() {
            let before = scene.picture(earlier.id).await?;
            let created = scene.store.create_deployment(draft.clone(), job(&draft), SupersedePolicy::Reject).await;
            refused(&format!("deploying while one is {state}"), created, UNDER_WAY.0, UNDER_WAY.1)?;
            let after = scene.picture(earlier.id).await?;
            ensure!(before == after, "what was refused left a trace:\nbefore {before:?}\nafter {after:?}");
            scene.bring(&lease, &earlier, State::Completed).await?;
        }
        let created = ask(&scene, draft, SupersedePolicy::Reject).await?;
        ensure!(!created.existing, "the key of a deployment that was refused is known: {created:?}");
    }
    let app = scene.app("crowd").await?;
    let created = create_at_once(&scene, &app, moment(3), SupersedePolicy::Reject).await?;
    one_succeeds("wanting the only deployment at once", created, UNDER_WAY.0, UNDER_WAY.1)
}

async fn create_at_once(
    scene: &Scene<'_>,
    app: &AppRecord,
    at: Timestamp,
    policy: SupersedePolicy,
) -> CaseResult<Vec<crate::Result<CreatedDeployment>>> {
    at_once((0..CROWD).map(|_| {
        let (store, draft) = (Arc::clone(&scene.store), sample::deployment(&app.spec, at));
        async move {
            let draft = draft?;
            let job = job(&draft);
            store.create_deployment(draft, job, policy).await
        }
    }))
    .await
}

async fn ask(scene: &Scene<'_>, draft: Deployment, policy: SupersedePolicy) -> CaseResult<CreatedDeployment> {
    let job = job(&draft);
    worked("creating a deployment", scene.store.create_deployment(draft, job, policy).await)
}
