//! Remove containers of a deployment that has ended and that no instance
//! refers to: what a call made that was given up and took effect later.

use super::{StepContext, labels};
use crate::Result;
use crate::backend::{Call, Snapshot};
use crate::deployment::StepOutput;
use crate::engine::reconcile::strays;

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let runtime = &context.shared.runtime;
    let deployment = &snapshot.deployment;
    for stray in strays(&context.shared, snapshot).await? {
        context.reassure().await?;
        runtime.stop(call, &stray.id, deployment.release.timing.stop).await?;
        runtime.remove(call, &stray.id, &labels(&context.shared.installation, deployment.id)).await?;
        context.log.say(&format!("removed {}, which nothing referred to", stray.name));
    }
    Ok(StepOutput::default())
}
