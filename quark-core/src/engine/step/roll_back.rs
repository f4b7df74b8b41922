//! Point the route back at the version before, which stands by.

use super::probe::healthy_in;
use super::{StepContext, app};
use crate::backend::store::refusal::domain_taken;
use crate::backend::{Call, Snapshot};
use crate::deployment::{Serving, Standby, StepOutput};
use crate::engine::route::{enforce, route};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let app = app(snapshot)?;
    let standby = can_go_back(context, snapshot).await?;
    let bake = snapshot.deployment.bake.as_ref();
    let domains = bake.map_or(&app.serving.domains, |bake| &bake.domains).clone();
    let serving = Serving { domains, ..app.serving.clone() };
    let slot = standby.occupant.slot;
    let began = context.shared.clock.monotonic();
    // What is not well does not stand in for the other.
    let back = route(&app.spec.name, &serving, &context.lease, serving.generation, slot, false)?;
    enforce(context.shared.router.as_ref(), call, &back).await?;
    let took = context.shared.clock.monotonic().saturating_sub(began).as_secs_f64() * 1000.0;
    context
        .log
        .say(&format!("requests go to the version before again, in the {slot} slot; switching took {took:.1} ms"));
    Ok(StepOutput { note: Some(format!("switched back in {took:.1} ms")), ..StepOutput::default() })
}

/// What is gone back to, if it is well: never to one that is not.
pub(in crate::engine) async fn can_go_back(context: &StepContext, snapshot: &Snapshot) -> Result<Standby> {
    let standby = app(snapshot)?.serving.standby.as_ref().filter(|standby| !standby.retiring);
    let gone = || Error::new(ErrorKind::Unhealthy, "no version before it stands by").with_code("no_standby");
    let standby = standby.ok_or_else(gone)?;
    let before = context.shared.store.deployment(standby.occupant.deployment).await?.ok_or_else(gone)?;
    if let Some(domain) = context.shared.domain_of_others(&before.app, &before.release).await? {
        return Err(domain_taken(domain.as_str()));
    }
    if !planted!(GoesBackToTheDead) {
        let unwell = |error: Error| {
            let how =
                if error.kind() == ErrorKind::Unhealthy { "is not well either" } else { "could not be looked at" };
            let text = format!("the version before {how}: {}", error.message());
            Error::new(error.kind(), text).with_code("standby_unwell").with_class(error.class())
        };
        healthy_in(context, snapshot, standby.occupant.slot, &before.release).await.map_err(unwell)?;
    }
    Ok(standby.clone())
}
