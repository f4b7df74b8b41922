//! What must hold of the programs that run beside a deployment.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use super::records::wish_of;
use crate::app::{HookPoint, Hooks};
use crate::backend::container_runtime::label;
use crate::backend::{ContainerState, ObservedContainer};
use crate::clock::Timestamp;
use crate::deployment::{ContainerName, DeploymentId, DeploymentKind};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::faults::Op;
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// The deployment that a container is of.
fn deployment_of(observed: &ObservedContainer) -> Option<DeploymentId> {
    observed.labels.get(label::DEPLOYMENT)?.parse().ok()
}

/// The hook that a container runs, if it is one.
fn point_of(observed: &ObservedContainer) -> Option<HookPoint> {
    let name = observed.labels.get(label::HOOK)?;
    HookPoint::ALL.into_iter().find(|point| point.as_str() == name)
}

/// A hook of a deployment is started once, unless the world has harmed it.
#[derive(Debug, Default)]
pub(super) struct HookOnce {
    started: BTreeMap<ContainerName, Timestamp>,
}

impl Invariant for HookOnce {
    fn name(&self) -> &'static str {
        "hook-once"
    }

    fn after(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::ContainerSeen(observed) = change else { return Ok(()) };
        let (Some(point), Some(at)) = (point_of(observed), observed.started_at) else { return Ok(()) };
        let before = self.started.insert(observed.name.clone(), at);
        let harmed = ledger.hook(&observed.name).is_none_or(|hook| hook.harmed) || ledger.was_restored();
        if harmed || before.is_none_or(|before| before == at) {
            return Ok(());
        }
        let label = deployment_of(observed).map(|id| ledger.label(id)).unwrap_or_default();
        Err(format!("the {point} hook of {label} was started twice"))
    }
}

/// Nothing of a deployment is started before its first hook went well, and it
/// is not promoted before its second did; the others run when they should.
#[derive(Debug, Default)]
pub(super) struct HooksInOrder {
    hooks: BTreeMap<DeploymentId, Hooks>,
    /// Those that an engine has stopped before they had ended by themselves. One
    /// that is killed does not say that it went well.
    stopped: BTreeSet<ContainerName>,
    /// Those that went well.
    well: BTreeSet<(DeploymentId, HookPoint)>,
}

impl HooksInOrder {
    fn lacks(&self, id: DeploymentId, point: HookPoint) -> bool {
        let wanted = self.hooks.get(&id).is_some_and(|hooks| hooks.at(point).is_some());
        wanted && !self.well.contains(&(id, point))
    }

    fn seen(&mut self, ledger: &Ledger, observed: &ObservedContainer) -> Verdict {
        let (Some(id), Some(_)) = (deployment_of(observed), observed.started_at) else { return Ok(()) };
        let label = || ledger.label(id);
        let Some(point) = point_of(observed) else {
            if self.lacks(id, HookPoint::PreDeploy) {
                return Err(format!("{} was started before its pre_deploy hook went well", label()));
            }
            return Ok(());
        };
        let went_well = matches!(observed.state, ContainerState::Exited { code: Some(0), .. });
        if went_well && !self.stopped.contains(&observed.name) {
            self.well.insert((id, point));
        }
        let was_live = ledger.deployment(id).is_some_and(|entry| entry.was_live);
        let runs = ledger.containers().any(|it| it.deployment == id && it.is_running() && !it.harmed && !it.misled);
        match point {
            HookPoint::PostPromote if !was_live => Err(format!("the {point} hook of {} ran before it served", label())),
            HookPoint::PostRetire if runs => Err(format!("the {point} hook ran before {} was gone", label())),
            _ => Ok(()),
        }
    }
}

impl Invariant for HooksInOrder {
    fn name(&self) -> &'static str {
        "hooks-in-order"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        if ledger.was_restored() {
            // What the store has forgotten may be done once more.
            return Ok(());
        }
        match change {
            Change::Committed(commit) => {
                let deployment = &commit.deployment;
                if deployment.kind == DeploymentKind::Deploy && !deployment.release.hooks.is_empty() {
                    self.hooks.insert(deployment.id, deployment.release.hooks.clone());
                }
                Ok(())
            }
            Change::ContainerSeen(observed) => self.seen(ledger, observed),
            // One that is made anew under that name is another.
            Change::ContainerRemoved(name) => {
                self.stopped.remove(*name);
                Ok(())
            }
            Change::Asked { op: Op::RuntimeStop, container: Some(name), .. } => {
                let runs = ledger.hook(name).is_some_and(|hook| hook.state == ContainerState::Running);
                if runs {
                    self.stopped.insert(ContainerName::clone(name));
                }
                Ok(())
            }
            Change::Asked { op: Op::RouterApply, call, .. } => match wish_of(call) {
                Some((id, "promote")) if self.lacks(id, HookPoint::PrePromote) => {
                    Err(format!("{} is promoted before its pre_promote hook went well", ledger.label(id)))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
