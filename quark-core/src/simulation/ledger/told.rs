//! A change in words, without any name that differs from run to run.

use std::fmt;

use super::Ledger;
use crate::backend::{Commit, ContainerState, Purpose, Route};
use crate::deployment::{ContainerName, EventKind, StepPhase};
use crate::simulation::change::Change;

/// A change in words.
pub(crate) struct Told<'a>(pub(crate) &'a Ledger, pub(crate) &'a Change<'a>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ledger, change) = self;
        match change {
            Change::AppCreated(record) => write!(f, "app {} created", record.spec.name),
            Change::DeploymentCreated(created) => {
                let it = &created.deployment;
                let verb = if created.existing { "found" } else { "created" };
                write!(f, "{}#{} {verb}: {}", it.app, it.sequence, it.kind.as_str())?;
                for ended in &created.ended {
                    write!(f, ", {} ended", ledger.label(ended.id))?;
                }
                for stopping in &created.stopping {
                    write!(f, ", {} shall stop", ledger.label(*stopping))?;
                }
                Ok(())
            }
            Change::Committed(commit) => committed(f, ledger, commit),
            Change::CancelAccepted(id, outcome, _) => write!(f, "{} shall stop: {outcome:?}", ledger.label(*id)),
            Change::LeaseTaken(lease, _) => write!(f, "{} leased, fence {}", lease.app, lease.fence.0),
            Change::LeaseRenewed(lease, _) => write!(f, "{} lease renewed, fence {}", lease.app, lease.fence.0),
            Change::LeaseReleased(lease) => write!(f, "{} lease released, fence {}", lease.app, lease.fence.0),
            Change::Asked { op, call, container, .. } => asked(f, ledger, op.as_str(), &call.key, *container),
            Change::ContainerCreated(spec) => {
                let label = ledger.label(spec.deployment);
                match &spec.purpose {
                    Purpose::Instance(instance) => write!(f, "container {label} created at {}", instance.endpoint),
                    Purpose::Hook(point) => write!(f, "hook {label} {point} created"),
                }
            }
            Change::ContainerSeen(observed) => {
                named(f, ledger, &observed.name)?;
                match &observed.state {
                    ContainerState::Created => f.write_str(" is created"),
                    ContainerState::Running => f.write_str(" runs"),
                    ContainerState::Exited { code, .. } => write!(f, " has exited ({})", code.unwrap_or(-1)),
                }
            }
            Change::ContainerRemoved(name) => {
                named(f, ledger, name)?;
                f.write_str(" removed")
            }
            Change::ContainerHarmed(name) => {
                named(f, ledger, name)?;
                f.write_str(" harmed")
            }
            Change::Misled(name) => {
                f.write_str("gets an old answer about ")?;
                named(f, ledger, name)
            }
            Change::RouteUnseen(app) => write!(f, "is not told of the route of {app}"),
            Change::FoundWell(endpoint) => write!(f, "{endpoint} is well"),
            Change::Routed(route) => routed(f, route),
            Change::Unrouted(app) => write!(f, "{app} has no route"),
            Change::Pushed(app, _) => write!(f, "{app} has a new commit"),
            Change::SafeMode(true) => f.write_str("touches nothing any more"),
            Change::SafeMode(false) => f.write_str("was resumed"),
            Change::GoesOn => f.write_str("goes on"),
            Change::StoreRestored(_) => f.write_str("the store has gone back in time"),
            Change::StoreLeapt => f.write_str("the store counts on from higher numbers"),
            Change::StoreClockSet(micros) => write!(f, "the store's clock is wrong by {} ms", micros / 1000),
            Change::Healed => f.write_str("nothing goes wrong any more"),
            Change::ProjectWritten(written, apps) => {
                let (project, removed) = (&written.project, written.removals.len());
                write!(f, "project {} version {}: ", project.spec.name, project.version.0)?;
                write!(f, "{} apps, {} of them new, {removed} go", apps.len(), written.created.len())
            }
        }
    }
}

fn named(f: &mut fmt::Formatter<'_>, ledger: &Ledger, name: &ContainerName) -> fmt::Result {
    match (ledger.container(name), ledger.hook(name)) {
        (Some(entry), _) => write!(f, "container {}", ledger.label(entry.deployment)),
        (None, Some(hook)) => write!(f, "hook {} {}", ledger.label(hook.deployment), hook.point),
        (None, None) => f.write_str("unknown container"),
    }
}

fn routed(f: &mut fmt::Formatter<'_>, route: &Route) -> fmt::Result {
    let (slot, endpoint) = (route.active, route.endpoint(route.active));
    write!(f, "{} routed to {slot} at {endpoint}, generation {}", route.app, route.generation.0)?;
    write!(f, ", fence {}{}", route.fence.0, if route.backup { ", with backup" } else { "" })
}

fn asked(
    f: &mut fmt::Formatter<'_>,
    ledger: &Ledger,
    op: &str,
    key: &str,
    container: Option<&ContainerName>,
) -> fmt::Result {
    // `<deployment>:<step>`, or a key without a deployment.
    let (first, rest) = key.split_once(':').unwrap_or((key, ""));
    match first.parse() {
        Ok(id) => write!(f, "asks {op} for {}:{rest}", ledger.label(id))?,
        Err(_) => write!(f, "asks {op} for {key}")?,
    }
    match container {
        Some(name) => {
            f.write_str(" on ")?;
            named(f, ledger, name)
        }
        None => Ok(()),
    }
}

fn committed(f: &mut fmt::Formatter<'_>, ledger: &Ledger, commit: &Commit) -> fmt::Result {
    let deployment = &commit.deployment;
    write!(f, "{} {}", ledger.label(deployment.id), deployment.state)?;
    for step in &commit.steps {
        let phase = match step.phase {
            StepPhase::Intent => "intent",
            StepPhase::Done => "done",
            StepPhase::Failed => "failed",
        };
        write!(f, ", {} {} {phase}", step.name, step.attempt)?;
    }
    for event in &commit.events {
        match event {
            EventKind::StepFailed { failure, .. } => write!(f, " ({})", failure.code)?,
            EventKind::Completed { conclusion, .. } => write!(f, ", {conclusion}")?,
            EventKind::Promoted { slot, .. } => write!(f, ", promoted in {slot}")?,
            EventKind::Retired => f.write_str(", retired")?,
            _ => {}
        }
    }
    for instance in &commit.instances {
        write!(f, ", row {} {:?}", ledger.label(instance.deployment), instance.state)?;
    }
    write!(f, ", fence {}, version {}", commit.guard.lease.fence.0, commit.guard.version.0)
}
