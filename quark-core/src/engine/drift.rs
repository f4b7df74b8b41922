//! What is not as the store says: pure, so that it can be tested by the thousand.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::{ContainerState, EffectiveRoute, ObservedContainer, container_runtime::label};
use crate::deployment::{AppRecord, ContainerName, DeploymentId, Instance, Slot};

/// One thing about an app that is not as the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drift {
    /// A live instance has no container.
    Missing(ContainerName),
    /// The container of a live instance does not run.
    Stopped(ContainerName),
    /// The app has no route.
    Unrouted,
    /// The route points at the other slot.
    Misrouted(Slot),
    /// Nothing is live and there is a route.
    Routed,
}

/// What is not as it shall be with what is live of an app. `switching` says
/// that a deployment is changing the route right now: it finishes that itself.
#[must_use]
pub fn drift(
    app: &AppRecord,
    instances: &[Instance],
    containers: &[ObservedContainer],
    route: Option<EffectiveRoute>,
    switching: bool,
) -> Vec<Drift> {
    let mut found = Vec::new();
    if app.removed_at.is_some() {
        // An app that is being removed is not brought back to life.
        return found;
    }
    let Some(live) = &app.serving.live else {
        found.extend(route.filter(|_| !switching).map(|_| Drift::Routed));
        return found;
    };
    for instance in instances.iter().filter(|instance| instance.slot == live.slot) {
        match containers.iter().find(|container| container.name == instance.name) {
            None => found.push(Drift::Missing(instance.name.clone())),
            Some(container) if container.state != ContainerState::Running => {
                found.push(Drift::Stopped(instance.name.clone()));
            }
            Some(_) => {}
        }
    }
    match route {
        None => found.push(Drift::Unrouted),
        Some(route) if route.active != live.slot && !switching => found.push(Drift::Misrouted(route.active)),
        Some(_) => {}
    }
    found
}

/// A container that carries our labels and that no instance refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name.
    pub name: ContainerName,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// How often the store had leapt when it was made.
    pub epoch: u64,
}

/// How often a store has leapt that has come to this number: see `Store::leap`.
#[must_use]
pub fn epoch(number: u64) -> u64 {
    number >> 32
}

/// The containers that nothing refers to. `containers` must have been read
/// before `known`: an instance is written down before its container is made, so
/// that a young container is never an orphan.
#[must_use]
pub fn orphans(containers: &[ObservedContainer], known: &BTreeSet<ContainerName>) -> Vec<Orphan> {
    let unknown = containers.iter().filter(|container| !known.contains(&container.name));
    let orphan = |container: &ObservedContainer| {
        let deployment = container.labels.get(label::DEPLOYMENT)?.parse().ok()?;
        let fence: u64 = container.labels.get(label::FENCE)?.parse().ok()?;
        Some(Orphan { name: container.name.clone(), deployment, epoch: epoch(fence) })
    };
    unknown.filter_map(orphan).collect()
}

/// Orphans that are removed in one pass, at most.
const AT_ONCE: usize = 5;
/// Fewer orphans than this are never a sign that the store is wrong: a small
/// machine has three containers in all.
const A_FEW: usize = 3;

/// The orphans to remove now, by the deployment that made them. An error says
/// how many there are when they are so many (over 30 %) that the store is more
/// likely to be wrong than the machine.
///
/// # Errors
///
/// The number of orphans.
pub fn to_collect(orphans: Vec<Orphan>, managed: usize) -> Result<BTreeMap<DeploymentId, usize>, usize> {
    let count = orphans.len();
    if count > A_FEW && count * 10 > managed * 3 {
        return Err(count);
    }
    let mut chosen = BTreeMap::new();
    for orphan in orphans.into_iter().take(AT_ONCE) {
        *chosen.entry(orphan.deployment).or_default() += 1;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> Vec<Orphan> {
        let name = crate::AppName::parse("shop").unwrap();
        let orphan = |_| {
            let deployment = DeploymentId::generate();
            Orphan { name: ContainerName::of(&name, deployment, 0), deployment, epoch: 0 }
        };
        (0..count).map(orphan).collect()
    }

    #[test]
    fn too_many_orphans_stop_the_collection() {
        assert_eq!(to_collect(many(4), 12), Err(4));
        assert_eq!(to_collect(many(60), 100), Err(60));
        assert_eq!(to_collect(many(4), 14).unwrap().len(), 4);
    }

    #[test]
    fn a_few_are_collected_a_few_at_a_time() {
        assert_eq!(to_collect(many(3), 3).unwrap().len(), 3);
        assert_eq!(to_collect(many(20), 100).unwrap().len(), AT_ONCE);
        assert_eq!(to_collect(Vec::new(), 0), Ok(BTreeMap::new()));
    }
}
