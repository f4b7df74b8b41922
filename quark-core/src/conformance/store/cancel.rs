//! Cases about wishes that a deployment stop.

use std::sync::Arc;

use super::fixture::StoreFixture;
use super::sample::moment;
use super::scene::{Scene, admitting, unchanged};
use crate::ErrorKind;
use crate::backend::CancelOutcome;
use crate::clock::Timestamp;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{CancelRequest, Conclusion, Deployment, DeploymentId, EventKind, State};

/// `request_cancel` before promotion is `Requested`, once, with one event; later it is `TooLate`.
pub async fn request_cancel_comes_in_time_or_too_late(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    // One that waits ends at once: that is a case of its own.
    for state in State::ALL.into_iter().filter(|state| *state != State::Queued) {
        let app = scene.app(&format!("app-{}", state.as_str().replace('_', "-"))).await?;
        let deployment = scene.deploy(&app, moment(1)).await?;
        let lease = scene.lease(&app.spec.name).await?;
        let deployment = scene.bring(&lease, &deployment, state).await?;
        let expected = if state.can_cancel() { CancelOutcome::Requested } else { CancelOutcome::TooLate };
        for (by, at) in [("ann", moment(5)), ("ben", moment(6))] {
            let asked = ask(&scene, deployment.id, CancelRequest::new(by, at)).await?;
            ensure!(asked == expected, "asking to cancel what is {state} was {asked:?}");
        }
        let wish = state.can_cancel().then(|| CancelRequest::new("ann", moment(5)));
        let read = scene.read(deployment.id).await?;
        ensure!(read.cancel == wish, "what is {state} has the cancel request {:?}", read.cancel);
        ensure!(read.version == deployment.version, "a cancel request changed the version of what is {state}");
        let told = requests(&scene, deployment.id).await?;
        let expected: Vec<_> = wish.map(|wish| (wish.by, wish.at)).into_iter().collect();
        ensure!(told == expected, "asking twice to cancel what is {state} has the events {told:?}");
    }
    let nobody = scene.store.request_cancel(DeploymentId::generate(), CancelRequest::new("ann", moment(5))).await;
    refused("asking to cancel an unknown deployment", nobody, ErrorKind::NotFound, None)?;

    let (_, deployment, _) = scene.active("crowd").await?;
    for asked in ask_at_once(&scene, deployment.id).await? {
        ensure!(asked == CancelOutcome::Requested, "asking to cancel at once was {asked:?}");
    }
    let told = requests(&scene, deployment.id).await?;
    ensure!(told.len() == 1, "asking to cancel at once has the events {told:?}");
    Ok(())
}

/// `request_cancel` of a deployment that waits is `Ended`: it is `Completed` as the request's conclusion.
pub async fn request_cancel_ends_what_waits(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let newer = DeploymentId::generate();
    for (name, request, conclusion) in [
        ("shop", CancelRequest::new("ann", moment(5)), Conclusion::Cancelled),
        ("blog", CancelRequest::superseded_by("ann", newer, moment(5)), Conclusion::Superseded),
    ] {
        let app = scene.app(name).await?;
        let lease = scene.lease(&app.spec.name).await?;
        let waiting = scene.deploy(&app, moment(1)).await?;
        let next = scene.deploy(&app, moment(2)).await?;
        let told = scene.events(Some(waiting.id)).await?.len();
        let asked = ask(&scene, waiting.id, request.clone()).await?;
        ensure!(asked == CancelOutcome::Ended, "asking to cancel what waits was {asked:?}");
        let read = scene.read(waiting.id).await?;
        let expected = Deployment {
            state: State::Completed,
            conclusion: Some(conclusion),
            cancel: Some(request),
            finished_at: Some(moment(5)),
            version: read.version,
            ..waiting.clone()
        };
        ensure!(read == expected, "{waiting:?} ended as {read:?}");
        ensure!(read.version > waiting.version, "it ended, and its version is {:?} still", read.version);
        let events = scene.events(Some(waiting.id)).await?;
        let kinds: Vec<_> = events.into_iter().skip(told).map(|event| (event.at, event.kind)).collect();
        let expected = [
            EventKind::CancelRequested { by: "ann".to_owned() },
            EventKind::StateChanged { from: State::Queued, to: State::Completed },
            EventKind::Completed { conclusion, failure: None },
        ];
        ensure!(kinds == expected.map(|kind| (moment(5), kind)), "what waited and was cancelled has {kinds:?}");
        let unfinished = scene.unfinished().await?;
        ensure!(!unfinished.contains(&waiting.id), "what has ended is unfinished: {unfinished:?}");

        let before = scene.picture(waiting.id).await?;
        let again = ask(&scene, waiting.id, CancelRequest::new("ben", moment(6))).await?;
        ensure!(again == CancelOutcome::TooLate, "asking to cancel what has ended was {again:?}");
        let after = scene.picture(waiting.id).await?;
        ensure!(before == after, "asking too late left a trace:\nbefore {before:?}\nafter {after:?}");
        // Whoever read it before cannot begin it, and it is not in the way of the next one.
        let what = "admitting what has ended";
        scene.refuses(what, admitting(&lease, &waiting), ErrorKind::Conflict, Some("version_changed")).await?;
        let mut revived = unchanged(&lease, &read);
        revived.deployment.state = State::Admitted;
        scene.refuses(what, revived, ErrorKind::Conflict, Some("deployment_ended")).await?;
        scene.commit(admitting(&lease, &next)).await?;
    }

    let waiting = scene.deploy(&scene.app("crowd").await?, moment(1)).await?;
    let asked = ask_at_once(&scene, waiting.id).await?;
    let ended = asked.iter().filter(|asked| **asked == CancelOutcome::Ended).count();
    let late = asked.iter().filter(|asked| **asked == CancelOutcome::TooLate).count();
    ensure!((ended, late) == (1, CROWD - 1), "asking at once to cancel what waits was {asked:?}");
    let told = requests(&scene, waiting.id).await?;
    ensure!(told.len() == 1, "asking at once to cancel what waits has the events {told:?}");
    Ok(())
}

async fn ask(scene: &Scene<'_>, id: DeploymentId, request: CancelRequest) -> CaseResult<CancelOutcome> {
    worked("asking to cancel", scene.store.request_cancel(id, request).await)
}

async fn ask_at_once(scene: &Scene<'_>, id: DeploymentId) -> CaseResult<Vec<CancelOutcome>> {
    let said = at_once((0..CROWD).map(|number| {
        let store = Arc::clone(&scene.store);
        async move { store.request_cancel(id, CancelRequest::new(format!("crowd-{number}"), moment(5))).await }
    }));
    said.await?.into_iter().map(|asked| worked("asking to cancel at once", asked)).collect()
}

/// Who asked a deployment to stop, according to its events.
async fn requests(scene: &Scene<'_>, id: DeploymentId) -> CaseResult<Vec<(String, Timestamp)>> {
    let events = scene.events(Some(id)).await?;
    let requests = events.into_iter().filter_map(|event| match event.kind {
        EventKind::CancelRequested { by } => Some((by, event.at)),
        _ => None,
    });
    Ok(requests.collect())
}
