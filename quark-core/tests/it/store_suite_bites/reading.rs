//! A store with one fault: what is read from it.

use std::sync::Arc;

use quark_core::backend::Snapshot;
use quark_core::deployment::{CancelRequest, Version};
use quark_core::{AppName, Conclusion, Deployment, DeploymentId, Event, EventKind, LogLine, Result, State, Store};

use super::broken::{Broken, is_cancel};
use super::fault::Fault;
use super::superseding::ended_unbegun;

impl Broken {
    /// A deployment as a faulty store shows it.
    pub(super) fn bend(&self, mut deployment: Deployment) -> Deployment {
        let memory = self.memory();
        let id = deployment.id;
        if let Some(sequence) = memory.sequences.get(&id) {
            deployment.sequence = *sequence;
        }
        if let Some(told) = memory.told.get(&id) {
            match self.fault {
                Fault::TakesTheWritersRelease => deployment.release = Arc::clone(&told.release),
                Fault::TakesTheWritersKind => deployment.kind = told.kind.clone(),
                Fault::TakesTheWritersName => deployment.created_by.clone_from(&told.created_by),
                _ => {}
            }
        }
        let cancels = memory.cancels.get(&id).map(Vec::as_slice).unwrap_or_default();
        match self.fault {
            Fault::ForgetsRevisions => deployment.revision.branch = None,
            Fault::ForgetsArtifacts => deployment.artifact = None,
            Fault::TakesTheWritersVersion => {
                deployment.version = memory.versions.get(&id).copied().unwrap_or(deployment.version);
            }
            Fault::TakesTheWritersCancel if memory.versions.get(&id) == Some(&Version(77)) => {
                deployment.cancel = Some(CancelRequest::new("writer", deployment.created_at));
            }
            Fault::TakesCancelsBack if memory.versions.contains_key(&id) => deployment.cancel = None,
            Fault::KeepsTheLastCancel => {
                deployment.cancel = cancels.last().cloned();
            }
            Fault::EndsAllAsCancelled if ended_unbegun(&deployment) => {
                deployment.conclusion = Some(Conclusion::Cancelled)
            }
            Fault::NamesNobody => deployment.cancel.iter_mut().for_each(|cancel| cancel.superseded_by = None),
            Fault::StopsInSilence if !deployment.state.is_terminal() => {
                deployment.cancel = deployment.cancel.filter(|cancel| cancel.superseded_by.is_none());
            }
            Fault::ShowsWhatEndedAsQueued if ended_unbegun(&deployment) => deployment.state = State::Queued,
            Fault::KeepsVersionsOfEnded if ended_unbegun(&deployment) => deployment.version.0 -= 1,
            Fault::EndsAtNoTime if ended_unbegun(&deployment) => deployment.finished_at = None,
            Fault::CancelsAsAWrite if deployment.cancel.is_some() => deployment.version = deployment.version.next(),
            _ => {}
        }
        deployment
    }

    pub(super) async fn read_deployments(
        &self,
        app: &AppName,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<Deployment>> {
        let before = match (self.fault, before) {
            (Fault::ListsTheOneBefore, Some(before)) => Some(before + 1),
            _ => before,
        };
        let most = if self.fault == Fault::ListsTooMany { most + 1 } else { most };
        let listed = self.inner.deployments(app, before, most).await?;
        let mut listed: Vec<_> = listed.into_iter().map(|deployment| self.bend(deployment)).collect();
        match self.fault {
            Fault::ListsOldestFirst => listed.reverse(),
            Fault::LosesHistory if self.memory().forgotten.contains_key(app) => listed.clear(),
            _ => {}
        }
        Ok(listed)
    }

    pub(super) async fn read_snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        let Some(mut snapshot) = self.inner.snapshot(id).await? else { return Ok(None) };
        snapshot.deployment = self.bend(snapshot.deployment);
        let memory = self.memory();
        let written = memory.steps.get(&id).cloned().unwrap_or_default();
        match self.fault {
            Fault::AppendsSteps => snapshot.steps = written,
            Fault::KnowsStepsByName => {
                snapshot.steps.clear();
                for step in written {
                    match snapshot.steps.iter_mut().find(|known| known.name == step.name) {
                        Some(known) => *known = step,
                        None => snapshot.steps.push(step),
                    }
                }
            }
            Fault::KeepsRemovedInstances => snapshot.instances.extend(memory.removed.iter().cloned()),
            _ => {}
        }
        Ok(Some(snapshot))
    }

    pub(super) async fn read_unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        let app = app.filter(|_| self.fault != Fault::MixesUnfinished);
        let unfinished = self.inner.unfinished(app).await?;
        let mut unfinished: Vec<_> = unfinished.into_iter().map(|deployment| self.bend(deployment)).collect();
        match self.fault {
            Fault::ForgetsWhatIsStuck => unfinished.retain(|deployment| deployment.state != State::Stuck),
            Fault::ForgetsWhatIsQueued => unfinished.retain(|deployment| deployment.state != State::Queued),
            Fault::KeepsWhatIsCompleted | Fault::KeepsWhatIsSuperseded => {
                let all = self.fault == Fault::KeepsWhatIsCompleted;
                for app in self.inner.apps().await? {
                    let mut completed = self.inner.deployments(&app.spec.name, None, usize::MAX).await?;
                    completed.retain(|deployment| deployment.state.is_terminal());
                    unfinished.extend(completed.into_iter().filter(|deployment| all || ended_unbegun(deployment)));
                }
            }
            _ => {}
        }
        Ok(unfinished)
    }

    pub(super) async fn read_events(
        &self,
        deployment: Option<DeploymentId>,
        after: u64,
        most: usize,
    ) -> Result<Vec<Event>> {
        let mut events = match self.fault {
            Fault::SkipsEvents if after > 0 => self.inner.events(deployment, after + 1, most).await?,
            Fault::RepeatsEvents => self.inner.events(deployment, after.saturating_sub(1), most).await?,
            Fault::MixesEvents => self.inner.events(None, after, most).await?,
            _ => self.inner.events(deployment, after, most).await?,
        };
        match self.fault {
            Fault::EndsInSilence => events.retain(|event| !matches!(event.kind, EventKind::Completed { .. })),
            Fault::LeapsWithoutEvents | Fault::RenumbersEvents => self.bend_sequences(&mut events),
            Fault::ReadsEventsBackwards => events.reverse(),
            Fault::TellsNoCreation => events.retain(|event| event.kind != EventKind::Created),
            Fault::TellsEveryCancel => {
                let memory = self.memory();
                let twice = |event: &Event| {
                    let asked = memory.cancels.get(&event.deployment).map_or(0, Vec::len);
                    is_cancel(event) && asked > 1
                };
                let again: Vec<_> = events.iter().filter(|event| twice(event)).cloned().collect();
                drop(memory);
                events.extend(again);
            }
            Fault::ShowsEventsLate => {
                // As a database does whose numbers are given before the commit.
                let seen = &mut self.memory().seen;
                events.retain(|event| event.sequence < 40 || event.sequence % 5 != 0 || !seen.insert(event.sequence));
            }
            _ => {}
        }
        Ok(events)
    }

    pub(super) async fn read_log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        let mut lines = self.inner.log(id, after, most).await?;
        match self.fault {
            Fault::NumbersLinesFromZero => lines.iter_mut().for_each(|line| line.sequence -= 1),
            Fault::NumbersLinesTogether => {
                let first = self.inner.deployment(id).await?.is_none_or(|deployment| deployment.sequence == 1);
                lines.iter_mut().filter(|_| !first).for_each(|line| line.sequence += 2);
            }
            Fault::LosesLogs if self.memory().closed => lines.clear(),
            _ => {}
        }
        Ok(lines)
    }
}
