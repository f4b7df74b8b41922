//! What must hold of what is deployed: that it is what was asked for, in its time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Invariant;
use super::records::promoted;
use crate::app::{App, Artifact, EnvKey, Secret};
use crate::backend::ContainerSpec;
use crate::clock::Timestamp;
use crate::deployment::{ContainerName, Deployment, DeploymentId, DeploymentKind, Revision, State, StepName, Trigger};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// A rollback brings back exactly what was released: image, commit, variables
/// and settings; and what is started is what the deployment says.
#[derive(Debug, Default)]
pub(super) struct ExactRelease {
    known: BTreeMap<DeploymentId, Release>,
}

#[derive(Debug)]
struct Release {
    app: Arc<App>,
    revision: Revision,
    artifact: Option<Artifact>,
}

impl ExactRelease {
    fn created(&mut self, ledger: &Ledger, deployment: &Deployment) -> Verdict {
        let release = Release {
            app: Arc::clone(&deployment.release),
            revision: deployment.revision.clone(),
            artifact: deployment.artifact.clone(),
        };
        let mut told = Ok(());
        if let DeploymentKind::Rollback { to } = deployment.kind
            && let Some(target) = self.known.get(&to)
        {
            let differs = [
                (release.app != target.app, "settings"),
                (release.revision != target.revision, "commit"),
                (release.artifact != target.artifact, "image"),
            ];
            if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
                let (app, number) = (&deployment.app, deployment.sequence);
                told = Err(format!("{app}#{number} goes back to {} with another {what}", ledger.label(to)));
            }
        }
        self.known.insert(deployment.id, release);
        told
    }

    fn written(&mut self, ledger: &Ledger, deployment: &Deployment) -> Verdict {
        let Some(known) = self.known.get_mut(&deployment.id) else { return Ok(()) };
        if known.revision != deployment.revision {
            known.revision = deployment.revision.clone();
        }
        if known.artifact != deployment.artifact {
            known.artifact.clone_from(&deployment.artifact);
        }
        if known.app != deployment.release {
            return Err(format!("{} was asked for with other settings", ledger.label(deployment.id)));
        }
        Ok(())
    }

    fn started(&self, ledger: &Ledger, spec: &ContainerSpec) -> Verdict {
        // A hook has a command of its own.
        let (Some(known), Some(instance)) = (self.known.get(&spec.deployment), spec.instance()) else { return Ok(()) };
        // Some more say which instance it is.
        let own = |(key, _): &(&EnvKey, &Secret)| !key.as_str().starts_with("QUARK_");
        let (then, now) = (known.app.env.iter().filter(own), spec.env.iter().filter(own));
        let differs = [
            (known.artifact.as_ref() != Some(&spec.artifact), "image"),
            (known.app.port != instance.port, "port"),
            (known.app.command != spec.command, "command"),
            (known.app.resources != spec.resources, "resources"),
            (!then.eq(now), "environment"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(format!("a container of {} has another {what}", ledger.label(spec.deployment))),
            None => Ok(()),
        }
    }
}

impl Invariant for ExactRelease {
    fn name(&self) -> &'static str {
        "exact-release"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::DeploymentCreated(created) if !created.existing => self.created(ledger, &created.deployment),
            Change::Committed(commit) => self.written(ledger, &commit.deployment),
            Change::ContainerCreated(spec) => self.started(ledger, spec),
            // What was known of deployments may be what was lost.
            Change::StoreRestored(_) => {
                self.known.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The time that an attempt at a step was given does not move once it was
/// begun, however often engines are started anew; nor does that of the whole.
#[derive(Debug)]
pub(super) struct DeadlinesStay;

impl Invariant for DeadlinesStay {
    fn name(&self) -> &'static str {
        "deadlines-stay"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let Some(known) = ledger.deployment(commit.deployment.id) else { return Ok(()) };
        let label = ledger.label(known.id);
        if known.started_at.is_some() && known.started_at != commit.deployment.started_at {
            return Err(format!("{label} was begun, and the time at which it was begun has moved"));
        }
        // What cleans up gets its time anew: it must happen.
        let goes_forward = |name| {
            use StepName::{Build, Create, Fetch, Probe, Promote, Start};
            matches!(name, Fetch | Build | Create | Start | Probe | Promote)
        };
        for step in commit.steps.iter().filter(|step| goes_forward(step.name)) {
            let same = known.steps.iter().find(|it| (it.name, it.attempt) == (step.name, step.attempt));
            if same.is_some_and(|same| same.deadline != step.deadline) {
                return Err(format!("the deadline of {} {} of {label} has moved", step.name, step.attempt));
            }
        }
        Ok(())
    }
}

/// Nothing is promoted before one and the same process was found well as often
/// as its check asks for.
#[derive(Debug, Default)]
pub(super) struct OftenEnough {
    asked_for: BTreeMap<DeploymentId, u32>,
    answers: BTreeMap<ContainerName, (Option<Timestamp>, u32)>,
}

impl OftenEnough {
    fn check(&self, ledger: &Ledger, deployment: &Deployment) -> Verdict {
        let Some(asked_for) = self.asked_for.get(&deployment.id) else { return Ok(()) };
        // What is gone back to, and still runs, was found well in its own time.
        for container in ledger.containers().filter(|it| it.deployment == deployment.id && !it.harmed) {
            let answers = self.answers.get(&container.name).map_or(0, |(_, answers)| *answers);
            if answers < *asked_for {
                let label = ledger.label(deployment.id);
                return Err(format!("{label} is promoted after {answers} good answers of {asked_for}"));
            }
        }
        Ok(())
    }
}

impl Invariant for OftenEnough {
    fn name(&self) -> &'static str {
        "often-enough"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::DeploymentCreated(created) => {
                let deployment = &created.deployment;
                self.asked_for.insert(deployment.id, deployment.release.health.successes);
            }
            Change::FoundWell(endpoint) => {
                if let Some(container) = ledger.at(endpoint) {
                    let known = self.answers.entry(container.name.clone()).or_default();
                    if known.0 != container.started_at {
                        *known = (container.started_at, 0);
                    }
                    known.1 += 1;
                }
            }
            // What the store has forgotten may answer at the same address.
            Change::Committed(_) if ledger.was_restored() => {}
            Change::Committed(commit) if matches!(commit.deployment.state, State::Canary | State::Promoting) => {
                let known = ledger.deployment(commit.deployment.id);
                if known.is_some_and(|known| known.state != commit.deployment.state) {
                    return self.check(ledger, &commit.deployment);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A push that is told late is never deployed over a newer commit.
#[derive(Debug)]
pub(super) struct NewestCommit;

impl Invariant for NewestCommit {
    fn name(&self) -> &'static str {
        "newest-commit"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let Change::Committed(commit) = change else { return Ok(()) };
        let Some(live) = promoted(ledger, commit).and_then(|live| ledger.deployment(live)) else { return Ok(()) };
        // A person may want an older one, by name or by going back.
        if live.trigger != Trigger::Push || live.kind != DeploymentKind::Deploy {
            return Ok(());
        }
        let number = live.commit.as_ref().map_or(0, |commit| ledger.push_of(commit));
        let newest = ledger.app(&live.app).map_or(0, |app| app.newest_commit);
        if number > 0 && number < newest {
            let label = ledger.label(live.id);
            return Err(format!("{label} brings push {number} into service after push {newest}"));
        }
        Ok(())
    }
}
