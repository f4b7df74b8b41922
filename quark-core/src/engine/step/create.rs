//! Create the container in the idle slot.

use super::{StepContext, app};
use crate::app::{EnvKey, Secret};
use crate::backend::{Call, ContainerSpec, Snapshot};
use crate::deployment::{ContainerName, Endpoint, Instance, InstanceState, Slot, StepOutput};
use crate::engine::settle::Change;
use crate::{Error, ErrorKind, Result};

/// Chooses the slot, gives the slots their addresses and writes the instance
/// down, so that it can be found whatever happens next.
pub(super) async fn plan(context: &StepContext, snapshot: &Snapshot) -> Result<Change> {
    let mut change = Change::of(snapshot);
    let app = app(snapshot)?;
    let slot = app.serving.idle_slot();
    let mut serving = app.serving.clone();
    for slot in Slot::BOTH {
        let contested = serving.contested == Some(slot) && slot == app.serving.idle_slot();
        if serving.endpoint(slot).is_none() || contested {
            let mut taken = endpoints_in_use(context).await?;
            taken.extend(Slot::BOTH.iter().filter_map(|slot| serving.endpoint(*slot).cloned()));
            let endpoint = context.shared.runtime.allocate_endpoint(&snapshot.deployment.app, slot, &taken).await?;
            serving.set_endpoint(slot, endpoint);
            if contested {
                serving.contested = None;
            }
        }
    }
    let endpoint = serving.endpoint(slot).cloned();
    let endpoint = endpoint.ok_or_else(|| Error::new(ErrorKind::Internal, "the slot has no address"))?;
    change.deployment.slot = Some(slot);
    change.serving = Some(serving);
    change.instances = vec![Instance {
        name: ContainerName::of(&snapshot.deployment.app, snapshot.deployment.id, 0),
        deployment: snapshot.deployment.id,
        replica: 0,
        slot,
        state: InstanceState::Planned,
        endpoint,
    }];
    Ok(change)
}

async fn endpoints_in_use(context: &StepContext) -> Result<Vec<Endpoint>> {
    let apps = context.shared.store.apps().await?;
    Ok(apps.into_iter().flat_map(|app| [app.serving.blue, app.serving.green]).flatten().collect())
}

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let Some(artifact) = &deployment.artifact else {
        return Err(Error::new(ErrorKind::Internal, "there is no image to start"));
    };
    let mut reused = false;
    for instance in snapshot.instances.iter().filter(|instance| instance.deployment == deployment.id) {
        let mut env = deployment.release.env.clone();
        for (key, value) in [
            ("QUARK_APP", deployment.app.to_string()),
            ("QUARK_DEPLOYMENT", deployment.id.to_string()),
            ("QUARK_SLOT", instance.slot.to_string()),
            ("QUARK_COMMIT", deployment.revision.commit.as_ref().map(ToString::to_string).unwrap_or_default()),
        ] {
            env.set(EnvKey::parse(key)?, Secret::new(value))?;
        }
        let spec = ContainerSpec {
            name: instance.name.clone(),
            installation: context.shared.installation.clone(),
            app: deployment.app.clone(),
            deployment: deployment.id,
            replica: instance.replica,
            slot: instance.slot,
            artifact: artifact.clone(),
            command: deployment.release.command.clone(),
            env,
            port: deployment.release.port,
            endpoint: instance.endpoint.clone(),
            resources: deployment.release.resources,
        };
        let created = context.shared.runtime.create(call, &spec).await?;
        reused |= created.adopted;
        context.log.say(&format!("created {} in the {} slot", instance.name, instance.slot));
    }
    Ok(StepOutput { reused, ..StepOutput::default() })
}
