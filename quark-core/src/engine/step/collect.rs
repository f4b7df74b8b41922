//! Remove containers of a deployment that has ended and that no instance
//! refers to: what a call made that was given up and took effect later.

use super::{StepContext, labels};
use crate::backend::{Call, Snapshot};
use crate::deployment::{Serving, StepOutput};
use crate::engine::reconcile::strays;
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let runtime = &context.shared.runtime;
    let deployment = &snapshot.deployment;
    still_routed(context, snapshot, call).await?;
    for stray in strays(&context.shared, snapshot).await? {
        context.reassure().await?;
        runtime.stop(call, &stray.id, deployment.release.timing.stop).await?;
        runtime.remove(call, &stray.id, &labels(&context.shared.installation, deployment.id)).await?;
        context.log.say(&format!("removed {}, which nothing referred to", stray.name));
    }
    Ok(StepOutput::default())
}

/// A route that is not as it shall be may point at what looks like garbage: it
/// is put back first.
async fn still_routed(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<()> {
    let app = &snapshot.deployment.app;
    let Some(seen) = call.bound("router.observe", context.shared.router.observe(app)).await? else { return Ok(()) };
    let serving = snapshot.app.as_ref().map(|app| &app.serving);
    let is_right = |serving: &Serving| {
        serving.live.as_ref().is_some_and(|live| live.slot == seen.active) && serving.canary == seen.canary
    };
    if serving.is_some_and(is_right) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, format!("requests of `{app}` may still go to what nothing refers to"))
        .with_code("still_routed"))
}
