//! What is not as the store says: pure, so that it can be tested by the thousand.

use std::collections::BTreeSet;

use crate::backend::{ContainerState, EffectiveRoute, ObservedContainer, container_runtime::label};
use crate::deployment::{AppRecord, ContainerName, DeploymentId, Instance, Share, Slot};

/// One thing about an app that is not as the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// A live instance has no container.
    Missing(ContainerName),
    /// The container of a live instance does not run.
    Stopped(ContainerName),
    /// The app has no route.
    Unrouted,
    /// The route points at the other slot.
    Misrouted(Slot),
    /// The slot that is not live gets this share of the requests, or none, and
    /// shall get another one.
    Misshared(Option<Share>),
    /// Nothing is live and there is a route.
    Routed,
}

/// What is not as it shall be with what is live of an app. `switching` says
/// that a deployment is changing the route right now: it finishes that itself.
pub(super) fn drift(
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
        Some(route) if route.canary != app.serving.canary && !switching => found.push(Drift::Misshared(route.canary)),
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
pub(super) fn epoch(number: u64) -> u64 {
    number >> 32
}

/// The containers that nothing refers to. `containers` must have been read
/// before `known`: an instance is written down before its container is made, so
/// that a young container is never an orphan.
pub(super) fn orphans(containers: &[ObservedContainer], known: &BTreeSet<ContainerName>) -> Vec<Orphan> {
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

/// What carries our labels and nothing refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// The containers.
    pub orphans: Vec<Orphan>,
    /// How many containers carry our labels in all.
    pub managed: usize,
}

impl Garbage {
    /// Whether there is so much of it (over 30 %, and more than a few) that the
    /// store is more likely to be wrong than the machine. Nothing is removed
    /// then until a person says so.
    #[must_use]
    pub fn is_suspicious(&self) -> bool {
        let count = self.orphans.len();
        count > A_FEW && count * 10 > self.managed * 3
    }

    /// The deployments whose orphans are removed in the pass of this number:
    /// others each time, so that some that cannot be removed keep no place.
    pub(super) fn of_pass(&self, pass: usize) -> BTreeSet<DeploymentId> {
        let all = self.orphans.len();
        let first = pass.wrapping_mul(AT_ONCE).checked_rem(all).unwrap_or(0);
        let in_turn = self.orphans.iter().cycle().skip(first).take(AT_ONCE.min(all));
        in_turn.map(|orphan| orphan.deployment).collect()
    }
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

    fn garbage(orphans: usize, managed: usize) -> Garbage {
        Garbage { orphans: many(orphans), managed }
    }

    #[test]
    fn too_many_orphans_are_suspicious() {
        assert!(garbage(4, 12).is_suspicious());
        assert!(garbage(60, 100).is_suspicious());
        assert!(!garbage(4, 14).is_suspicious());
        assert!(!garbage(3, 3).is_suspicious());
    }

    #[test]
    fn the_turn_of_each_comes_although_the_first_cannot_be_removed() {
        for count in [6, 7, 11, 20] {
            let garbage = garbage(count, 100);
            let passes = (0..count).flat_map(|pass| garbage.of_pass(pass));
            assert_eq!(passes.collect::<BTreeSet<_>>().len(), count);
        }
    }

    #[test]
    fn orphans_are_collected_a_few_at_a_time() {
        assert_eq!(garbage(3, 3).of_pass(7).len(), 3);
        assert_eq!(garbage(20, 100).of_pass(0).len(), AT_ONCE);
        assert_eq!(garbage(0, 0).of_pass(1), BTreeSet::new());
    }
}
