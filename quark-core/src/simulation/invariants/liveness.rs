//! What must hold of what falls ill while it is live.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Invariant;
use super::bake::Looks;
use super::records::{promoted, wish_of};
use crate::app::LivenessPolicy;
use crate::backend::ContainerState;
use crate::deployment::{ContainerName, DeploymentId, EventKind, Trigger};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::faults::Op;
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// What is live and runs is not restarted when it was just found well.
#[derive(Debug, Default)]
pub(super) struct RestartedForCause(Looks);

impl Invariant for RestartedForCause {
    fn name(&self) -> &'static str {
        "restarted-for-cause"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        self.0.note(change, when.at);
        let Change::Asked { op: Op::RuntimeStop, call, container: Some(name), .. } = change else { return Ok(()) };
        let Some((_, "restart")) = wish_of(call) else { return Ok(()) };
        let Some(container) = ledger.container(name).filter(|it| it.is_running()) else { return Ok(()) };
        // Whoever has lost the lease may look at something else.
        let holds = ledger.app(&container.app).is_some_and(|app| app.lease.fence == call.fence);
        if holds && self.0.just_well(&container.app, &container.endpoint) {
            return Err(format!("{} is restarted, and was just found well", ledger.label(container.deployment)));
        }
        Ok(())
    }
}

/// How long after its intent a start may be asked for.
const LATE: Duration = Duration::from_secs(65);

/// What is live is restarted no more often than its policy allows.
#[derive(Debug, Default)]
pub(super) struct FewRestarts {
    policies: BTreeMap<DeploymentId, LivenessPolicy>,
    started: BTreeMap<DeploymentId, Vec<Duration>>,
}

impl FewRestarts {
    fn started(&mut self, ledger: &Ledger, id: DeploymentId, name: &ContainerName, at: Duration) -> Verdict {
        let Some(policy) = self.policies.get(&id) else { return Ok(()) };
        // One that was removed is made anew, however often that happens.
        let died = ledger.container(name).is_some_and(|it| matches!(it.state, ContainerState::Exited { .. }));
        // A clock that was ahead has let time pass for restarts.
        if !died || ledger.was_restored() || ledger.store_ahead() > Duration::ZERO {
            return Ok(());
        }
        let window = policy.window.saturating_sub(LATE);
        let started = self.started.entry(id).or_default();
        started.retain(|before| at.saturating_sub(*before) < window);
        started.push(at);
        if started.len() > policy.restarts as usize {
            let (count, most) = (started.len(), policy.restarts);
            return Err(format!("{} was restarted {count} times in {window:?}, of {most}", ledger.label(id)));
        }
        Ok(())
    }
}

impl Invariant for FewRestarts {
    fn name(&self) -> &'static str {
        "few-restarts"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::DeploymentCreated(created) => {
                if let Some(policy) = &created.deployment.release.liveness {
                    self.policies.insert(created.deployment.id, policy.clone());
                }
                Ok(())
            }
            Change::Asked { op: Op::RuntimeStart, call, container: Some(name), .. } => match wish_of(call) {
                Some((id, "restart" | "mend")) => self.started(ledger, id, name, when.at),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The engine goes back from what is live, and people were told is not well, to
/// what it has just found well; once at most.
#[derive(Debug, Default)]
pub(super) struct LeftForCause {
    /// Of which people were told that they are not well.
    told: BTreeSet<DeploymentId>,
    /// Deployments by which the engine goes back, and from what.
    back: BTreeMap<DeploymentId, DeploymentId>,
    looks: Looks,
}

impl Invariant for LeftForCause {
    fn name(&self) -> &'static str {
        "left-for-cause"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        self.looks.note(change, when.at);
        match change {
            Change::Asked { op: Op::RouterApply, call, route: Some(route), .. } => {
                let Some((id, "promote")) = wish_of(call) else { return Ok(()) };
                let Some(from) = self.back.get(&id) else { return Ok(()) };
                // Whoever has lost the lease is refused.
                let holds = ledger.app(&route.app).is_some_and(|app| app.lease.fence == call.fence);
                let endpoint = route.endpoint(route.active);
                if holds && !self.looks.just_well(&route.app, endpoint) {
                    let from = ledger.label(*from);
                    return Err(format!("the engine goes back from {from} to {endpoint}, which was not found well"));
                }
            }
            Change::DeploymentCreated(created) if !created.existing => {
                let deployment = &created.deployment;
                let wished = deployment.key.as_ref().filter(|_| deployment.trigger == Trigger::Unwell);
                let from = wished.and_then(|key| key.as_str().strip_prefix("unwell:")?.parse().ok());
                let Some(from) = from else { return Ok(()) };
                if !self.told.contains(&from) && !ledger.was_restored() {
                    return Err(format!("the engine goes back from {}, and nobody knows why", ledger.label(from)));
                }
                if self.back.values().any(|before| *before == from) && !ledger.was_restored() {
                    return Err(format!("the engine goes back from {} a second time", ledger.label(from)));
                }
                self.back.insert(deployment.id, from);
            }
            Change::Committed(commit) => {
                let id = commit.deployment.id;
                let alarms =
                    |kind: &EventKind| matches!(kind, EventKind::Unhealthy { .. } | EventKind::CrashLoop { .. });
                if commit.events.iter().any(alarms) {
                    self.told.insert(id);
                }
                let Some(live) = promoted(ledger, commit) else { return Ok(()) };
                let Some(from) = self.back.get(&live) else { return Ok(()) };
                let before = ledger.app(&commit.deployment.app).and_then(|app| app.serving.live.as_ref());
                if before.is_none_or(|before| before.deployment != *from) {
                    let (label, from) = (ledger.label(live), ledger.label(*from));
                    return Err(format!("{label} goes back from {from}, and something else was live"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
