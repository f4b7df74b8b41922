//! The case about what is left when a store was closed.

use super::fixture::StoreFixture;
use super::sample::{self, ALL, ODD_TEXT, moment};
use super::scene::{LONG, Picture, Scene, loaded, owner, unchanged};
use crate::ErrorKind;
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{CancelRequest, Deployment, DeploymentId, LogStream};
use crate::project::ProjectRecord;

/// Everything written is there after the store was closed and opened again (where it is durable).
pub async fn everything_survives_reopening(fixture: &dyn StoreFixture) -> CaseResult {
    let mut scene = Scene::new(fixture);
    let (app, deployment, lease) = scene.active("shop").await?;
    scene.commit(loaded(&lease, &deployment)).await?;
    let request = CancelRequest::superseded_by(ODD_TEXT, DeploymentId::generate(), moment(3));
    let cancel = scene.store.request_cancel(deployment.id, request).await;
    worked("asking to cancel", cancel)?;
    let line = (moment(4), LogStream::Stderr, ODD_TEXT.to_owned());
    worked("appending to a log", scene.store.append_log(deployment.id, vec![line]).await)?;
    let removed = scene.app("blog").await?;
    let removal = worked("making a deployment", sample::deployment(&removed.spec, moment(5)))?;
    scene.submit(Deployment { kind: crate::DeploymentKind::Remove, ..removal }).await?;
    super::projects::keep(&scene).await?;
    let before = everything(&scene, &deployment).await?;

    let reopened = fixture.reopen().await;
    ensure!(
        reopened.is_some() == fixture.is_durable(),
        "a store that {} durable was {}",
        if fixture.is_durable() { "is" } else { "is not" },
        if reopened.is_some() { "reopened" } else { "not reopened" }
    );
    let Some(reopened) = reopened else { return Ok(()) };
    scene.store = reopened;
    let after = everything(&scene, &deployment).await?;
    ensure!(before == after, "reopening changed {before:?}\nto {after:?}");

    // Also what cannot be read: the lease, the names that are held, the counts.
    let name = &app.spec.name;
    let held = scene.store.acquire_lease(name, &owner("second")?, LONG).await;
    refused("acquiring a lease that is held", held, ErrorKind::Conflict, Some("lease_held"))?;
    let now = scene.read(deployment.id).await?;
    scene.commit(unchanged(&lease, &now)).await?;
    let again = scene.lease(name).await?;
    ensure!(again.fence > lease.fence, "after the fence {:?} came {:?}", lease.fence, again.fence);
    let mut thief = worked("making an app", sample::app("thief"))?;
    thief.domains.clone_from(&app.spec.domains);
    let taken = scene.store.create_app(thief, moment(6)).await;
    refused("taking a host name", taken, ErrorKind::Conflict, Some("domain_taken"))?;
    let next = scene.deploy(&app, moment(7)).await?;
    ensure!(next.sequence == 2, "the second deployment is counted as {}", next.sequence);
    let last = before.1.events.last().map(|event| event.sequence);
    let new = scene.events(Some(next.id)).await?.first().map(|event| event.sequence);
    ensure!(new > last, "after the event {last:?} came {new:?}");
    let listed = worked("reading deployments", scene.store.deployments(name, None, ALL).await)?;
    ensure!(listed.len() == 2, "the deployments are {listed:?}");
    Ok(())
}

/// The store's name and all that can be read.
async fn everything(scene: &Scene<'_>, deployment: &Deployment) -> CaseResult<(String, Picture, Vec<ProjectRecord>)> {
    let installation = worked("reading the installation", scene.store.installation().await)?;
    let projects = worked("reading all projects", scene.store.projects().await)?;
    Ok((installation, scene.picture(deployment.id).await?, projects))
}
