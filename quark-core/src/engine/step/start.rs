//! Start the container.

use super::StepContext;
use crate::backend::{Call, ContainerState, Snapshot};
use crate::deployment::StepOutput;
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let runtime = &context.shared.runtime;
    let mut reused = true;
    for instance in snapshot.instances.iter().filter(|instance| instance.deployment == snapshot.deployment.id) {
        let Some(observed) = runtime.inspect(&instance.name).await? else {
            return Err(Error::new(ErrorKind::NotFound, format!("container `{}` has disappeared", instance.name))
                .with_code("container_gone")
                .with_hint("somebody removed it by hand; deploy again"));
        };
        // One that was started before an engine died and has exited since is
        // not started again: the probe says what became of it.
        if observed.state == ContainerState::Created {
            runtime.start(call, &observed.id).await?;
            reused = false;
        }
        context.log.say(&format!("started {} at {}", instance.name, instance.endpoint));
    }
    Ok(StepOutput { reused, ..StepOutput::default() })
}
