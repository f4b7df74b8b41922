//! Looks at everything that an explanation is made from. A part of the world
//! that does not answer is a finding, not an error: that is when explanations
//! are asked for.

use super::{Facts, Told, Wait};
use crate::Result;
use crate::app::AppName;
use crate::backend::container_runtime::label;
use crate::backend::store::refusal;
use crate::deployment::{Deployment, DeploymentId};
use crate::engine::shared::Shared;

/// How many deployments are looked through for the last one that has ended.
const RECENT: usize = 20;

/// Reads the store and looks at the world.
pub(in crate::engine) async fn gather(shared: &Shared, name: &AppName) -> Result<Facts> {
    let mut labels = shared.labels();
    labels.insert(label::APP.to_owned(), name.to_string());
    // Read before the store, like everywhere: what is written down is made later.
    let containers = shared.ask("the runtime", shared.runtime.list(&labels)).await.map_err(|error| error.to_string());
    let route = shared.ask("the router", shared.router.observe(name)).await.map_err(|error| error.to_string());
    let app = shared.store.app(name).await?.ok_or_else(|| refusal::app_not_found(name))?;
    let instances = shared.store.instances(name).await?;
    let recent = shared.store.deployments(name, None, RECENT).await?;
    let mut unfinished = shared.store.unfinished(Some(name)).await?;
    unfinished.sort_by_key(|deployment| deployment.sequence);
    let building = unfinished.iter().find_map(|deployment| {
        let place = shared.places.ahead_of(deployment.id);
        let place = place.map(|ahead| Wait::Build { at_once: shared.places.most(), ahead });
        Some((deployment.id, place.or_else(|| shared.waits_for_host(deployment.id))?))
    });
    let steps = match unfinished.iter().find(|deployment| deployment.state.is_active()) {
        Some(active) => shared.store.snapshot(active.id).await?.map(|snapshot| snapshot.steps).unwrap_or_default(),
        None => Vec::new(),
    };
    let live = app.serving.live.as_ref().map(|live| live.deployment);
    let standby = app.serving.standby.as_ref().map(|standby| standby.occupant.deployment);
    let ended = |deployment: &&Deployment| deployment.state.is_terminal() && deployment.created_at >= app.created_at;
    Ok(Facts {
        at: shared.now(),
        safe_mode: shared.safe_mode.reason(),
        live: read(shared, live).await?,
        standby: read(shared, standby).await?,
        last: recent.iter().find(ended).cloned(),
        unfinished,
        building,
        steps,
        instances,
        containers,
        route,
        app,
    })
}

async fn read(shared: &Shared, id: Option<DeploymentId>) -> Result<Option<Told>> {
    let Some(id) = id else { return Ok(None) };
    let snapshot = shared.store.snapshot(id).await?;
    Ok(snapshot.map(|snapshot| Told { deployment: snapshot.deployment, steps: snapshot.steps }))
}
