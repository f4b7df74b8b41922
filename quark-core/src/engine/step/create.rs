//! Create the container in the idle slot.

use super::{STORE_AWAY, StepContext, app, dispose, undo};
use crate::backend::{Call, ContainerSpec, InstanceSpec, Purpose, Snapshot, container_runtime::label};
use crate::deployment::{ContainerName, Deployment, Endpoint, Instance, InstanceState, Slot, StepName, StepOutput};
use crate::engine::draft::Draft;
use crate::engine::injected::variables;
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// Chooses the slot, gives the slots their addresses and writes the instance
/// down, so that it can be found whatever happens next.
pub(super) async fn plan(context: &StepContext, draft: &mut Draft) -> Result<()> {
    let (id, name) = (draft.snapshot().deployment.id, draft.snapshot().deployment.app.clone());
    let mut serving = app(draft.snapshot())?.serving.clone();
    let slot = serving.idle_slot();
    for each in Slot::BOTH {
        let contested = serving.contested == Some(each) && each == slot;
        if serving.endpoint(each).is_none() || contested {
            let mut taken = endpoints_in_use(context).await?;
            taken.extend(Slot::BOTH.iter().filter_map(|slot| serving.endpoint(*slot).cloned()));
            let endpoint = context.shared.runtime.allocate_endpoint(&name, each, &taken).await?;
            serving.set_endpoint(each, endpoint);
            if contested {
                serving.contested = None;
            }
        }
    }
    let endpoint = serving.endpoint(slot).cloned();
    let endpoint = endpoint.ok_or_else(|| Error::new(ErrorKind::Internal, "the slot has no address"))?;
    draft.deployment().slot = Some(slot);
    draft.serve(|current| *current = serving);
    let again = planted!(NamedByAttempt) && crate::engine::decide::last(draft.snapshot(), StepName::Create).is_some();
    draft.instance(Instance {
        name: ContainerName::of(&name, id, u16::from(again)),
        deployment: id,
        replica: 0,
        slot,
        state: InstanceState::Planned,
        endpoint,
        resources: draft.snapshot().deployment.release.resources,
    });
    Ok(())
}

async fn endpoints_in_use(context: &StepContext) -> Result<Vec<Endpoint>> {
    let apps = context.shared.store.apps().await.map_err(|error| error.with_code(STORE_AWAY))?;
    Ok(apps.into_iter().flat_map(|app| [app.serving.blue, app.serving.green]).flatten().collect())
}

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let mut reused = false;
    for instance in snapshot.instances.iter().filter(|instance| instance.deployment == deployment.id) {
        let spec = spec(context, deployment, instance)?;
        replace_outdated(context, snapshot, instance, &spec, call).await?;
        let created = context.shared.runtime.create(call, &spec).await?;
        reused |= created.adopted;
        context.log.say(&format!("created {} in the {} slot", instance.name, instance.slot));
    }
    Ok(StepOutput { reused, ..StepOutput::default() })
}

/// Takes a container of this deployment away that was made for an address
/// which turned out to be taken.
async fn replace_outdated(
    context: &StepContext,
    snapshot: &Snapshot,
    instance: &Instance,
    spec: &ContainerSpec,
    call: &Call,
) -> Result<()> {
    let Some(observed) = context.shared.runtime.inspect(&instance.name).await? else { return Ok(()) };
    let (labels, wanted) = (&observed.labels, spec.labels());
    let same = |name: &str| labels.get(name) == wanted.get(name);
    if same(label::INSTALLATION) && same(label::DEPLOYMENT) && !same(label::SPEC) {
        // If it was made before the store went back in time it may be what serves.
        let seen = undo::doubt_if_ahead(context, snapshot, call).await?;
        if undo::serves(seen.as_ref(), &observed) {
            let text = format!("`{}` serves already, although it was never promoted as far as is known", instance.name);
            return Err(Error::new(ErrorKind::Conflict, text)
                .with_code(undo::SERVES_ALREADY)
                .with_hint("the store was older than what runs; deploy again, then remove this container"));
        }
        dispose(context, instance, call, snapshot.deployment.release.timing.stop).await?;
    }
    Ok(())
}

/// What the container of an instance is made from: the release of `deployment`,
/// which made it or has rolled back to it.
pub(super) fn spec(context: &StepContext, deployment: &Deployment, instance: &Instance) -> Result<ContainerSpec> {
    let Some(artifact) = &deployment.artifact else {
        return Err(Error::new(ErrorKind::Internal, "there is no image to start"));
    };
    let env = variables(deployment, instance, &context.shared.config.base_domain)?;
    Ok(ContainerSpec {
        name: instance.name.clone(),
        installation: context.shared.installation.clone(),
        app: deployment.app.clone(),
        deployment: instance.deployment,
        fence: context.lease.fence,
        artifact: artifact.clone(),
        command: deployment.release.command.clone(),
        env,
        resources: deployment.release.resources,
        purpose: Purpose::Instance(InstanceSpec {
            replica: instance.replica,
            slot: instance.slot,
            port: deployment.release.port,
            endpoint: instance.endpoint.clone(),
        }),
    })
}
