//! Bring what is live back to what the store says: containers that have gone
//! are made again, those that have stopped are started, the route is put back.

use super::clear::runs;
use super::restart::is_counted;
use super::{StepContext, app, create};
use crate::backend::{Call, Metric, Snapshot};
use crate::deployment::{RestartReason, StepOutput};
use crate::engine::drift::Drift;
use crate::engine::reconcile::compare;
use crate::engine::route::route;
use crate::engine::shared::Shared;
use crate::{Error, ErrorKind, Result};

/// What this step is for. What has died is started if this very intent has
/// counted that, and waits otherwise.
async fn found(shared: &Shared, snapshot: &Snapshot) -> Result<Vec<Drift>> {
    let mut found = compare(shared, snapshot).await?;
    if !is_counted(snapshot) {
        found.retain(|drift| !matches!(drift, Drift::Stopped(_)));
    }
    Ok(found)
}

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let shared = &context.shared;
    let mut done = Vec::new();
    for drift in found(shared, snapshot).await? {
        match drift {
            Drift::Missing(name) | Drift::Stopped(name) => {
                let instances = &snapshot.instances;
                let Some(instance) = instances.iter().find(|instance| instance.name == name) else { continue };
                let spec = create::spec(context, &snapshot.deployment, instance)?;
                let id = match shared.runtime.inspect(&name).await? {
                    Some(observed) => observed.id,
                    None => shared.runtime.create(call, &spec).await?.id,
                };
                shared.runtime.start(call, &id).await?;
                shared.metrics.record(Metric::Restarted { reason: RestartReason::Exited });
                done.push(format!("started {name}"));
            }
            Drift::Routed => {
                shared.router.remove(call, &snapshot.deployment.app).await?;
                done.push("took the route away".to_owned());
            }
            Drift::Unrouted | Drift::Misrouted(_) | Drift::Misshared(_) => {
                let app = app(snapshot)?;
                let Some(live) = &app.serving.live else { continue };
                let standby = app.serving.standby.as_ref();
                let backup = match standby.filter(|standby| !standby.retiring) {
                    Some(standby) => runs(context, snapshot, standby.occupant.slot).await?,
                    None => false,
                };
                let generation = app.serving.generation;
                let mut wanted = route(&app.spec.name, &app.serving, &context.lease, generation, live.slot, backup)?;
                // What gets a share is not live, and is watched by its own deployment.
                wanted.canary = app.serving.canary;
                shared.router.apply(call, &wanted).await?;
                let share = wanted.canary.map(|share| format!(", {share} to the other slot")).unwrap_or_default();
                done.push(format!("routed to {}{share}", live.slot));
            }
        }
    }
    for line in &done {
        context.log.say(line);
    }
    // Nothing is lost: the next look says it again.
    let left = found(shared, snapshot).await?;
    if let Some(left) = left.first() {
        return Err(Error::new(ErrorKind::Unhealthy, format!("it is still not as it shall be: {left:?}"))
            .with_code("not_mended"));
    }
    Ok(StepOutput { note: Some(done.join(", ")), ..StepOutput::default() })
}
