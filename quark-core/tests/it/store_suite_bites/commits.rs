//! A store with one fault: what is written to it.

use quark_core::backend::store::refusal;
use quark_core::backend::{Commit, Guard};
use quark_core::deployment::{InstanceState, Version};
use quark_core::{Error, Queue, Result, Store};
use tokio::task::yield_now;

use super::broken::Broken;
use super::fault::Fault;

impl Broken {
    pub(super) async fn write(&self, mut commit: Commit) -> Result<Version> {
        let wanted = commit.clone();
        let id = commit.deployment.id;
        if let Some(refused) = self.misjudge_room(&mut commit).await {
            return Err(refused);
        }
        if let Some(refused) = self.change_on_the_way(&mut commit).await {
            return Err(refused);
        }
        if self.fault == Fault::RacesForVersions {
            let found = self.inner.deployment(id).await?.map(|deployment| deployment.version);
            yield_now().await;
            if found == Some(commit.guard.version) {
                commit.guard.version = self.inner.deployment(id).await?.unwrap().version;
            }
        }
        match self.inner.commit(commit.clone()).await {
            Ok(version) => {
                self.remember(&wanted).await?;
                Ok(if self.fault == Fault::ReturnsTheOldVersion { wanted.guard.version } else { version })
            }
            Err(error) => self.after_refusal(commit, error).await,
        }
    }

    /// Changes a commit before the sound store gets it, or refuses it.
    async fn change_on_the_way(&self, commit: &mut Commit) -> Option<Error> {
        let id = commit.deployment.id;
        let stored = self.inner.deployment(id).await.unwrap();
        match self.fault {
            Fault::RepeatsFences | Fault::FencesNamesakesAnew => {
                commit.guard.lease = self.real_lease(&commit.guard.lease);
            }
            Fault::IgnoresCancels => commit.guard.unless_cancelled = false,
            Fault::AdmitsInAnyOrder => commit.guard.admits = false,
            Fault::WritesOneStep => commit.steps.truncate(1),
            Fault::ForgetsSteps => commit.steps.clear(),
            Fault::ForgetsInstances => commit.instances.clear(),
            Fault::ForgetsServing => commit.serving = None,
            Fault::ForgetsEvents => commit.events.clear(),
            Fault::ForgetsJobs => commit.jobs.clear(),
            Fault::KeepsLeases => commit.hand_back = None,
            Fault::KeepsClaims => commit.hand_back.iter_mut().for_each(|back| back.claim = None),
            Fault::EndsWhatItQueues if commit.hand_back.as_ref().is_some_and(|back| back.claim.is_some()) => {
                commit.jobs.clear();
            }
            Fault::EndsClaimsOfOthers => self.end_claims(commit).await,
            Fault::KeepsApps => commit.forget_app = false,
            Fault::FreezesCompleted if stored.as_ref().is_some_and(|stored| stored.state.is_terminal()) => {
                return Some(refusal::deployment_ended(id));
            }
            Fault::TakesTheWritersVersion => {
                // Its own words for the version are taken back.
                let read = self.memory().versions.get(&id).copied();
                if let Some(stored) = stored.filter(|_| read == Some(commit.guard.version)) {
                    commit.guard.version = stored.version;
                }
            }
            Fault::CancelsAsAWrite if stored.as_ref().is_some_and(|stored| stored.cancel.is_some()) => {
                commit.guard.version = Version(commit.guard.version.0 - 1);
            }
            Fault::KeepsEndpoints => {
                let app = &commit.deployment.app;
                let held = &self.memory().endpoints;
                let wanted = commit.serving.iter().flat_map(|serving| [&serving.blue, &serving.green]).flatten();
                for endpoint in wanted {
                    if held.get(endpoint).is_some_and(|holder| holder != app) {
                        return Some(refusal::endpoint_taken(endpoint.as_str()));
                    }
                }
            }
            _ => {}
        }
        None
    }

    /// Ends the job of a claim, whoever has that by now.
    async fn end_claims(&self, commit: &Commit) {
        if commit.hand_back.as_ref().is_some_and(|back| back.claim.is_some()) {
            let worker = quark_core::OwnerId::parse("worker").unwrap();
            self.queue.reclaim(&worker).await.unwrap();
            for claimed in self.queue.claim(&worker, 100, std::time::Duration::from_secs(9)).await.unwrap() {
                self.queue.ack(claimed.token).await.unwrap();
            }
        }
    }

    /// Takes down what a faulty store will show.
    async fn remember(&self, commit: &Commit) -> Result<()> {
        let deployment = &commit.deployment;
        let app = deployment.app.clone();
        let history = self.inner.deployments(&app, None, usize::MAX).await?.len() as u64;
        let mut memory = self.memory();
        memory.versions.insert(deployment.id, deployment.version);
        memory.told.insert(deployment.id, deployment.clone());
        memory.steps.entry(deployment.id).or_default().extend(commit.steps.clone());
        let removed = commit.instances.iter().filter(|instance| instance.state == InstanceState::Removed);
        memory.removed.extend(removed.cloned());
        if let Some(serving) = &commit.serving {
            let held = [&serving.blue, &serving.green].into_iter().flatten();
            memory.endpoints.extend(held.map(|endpoint| (endpoint.clone(), app.clone())));
        }
        if commit.forget_app {
            memory.forgotten.insert(app, history);
            if self.fault == Fault::KeepsNamesOfForgotten {
                memory.given_up.extend(deployment.release.domains.clone());
            }
        }
        Ok(())
    }

    /// What a faulty store does with a commit that the sound one refused.
    async fn after_refusal(&self, commit: Commit, error: Error) -> Result<Version> {
        let next = commit.guard.version.next();
        let Some(stored) = self.inner.deployment(commit.deployment.id).await? else { return Err(error) };
        let anyhow = Guard {
            lease: self.real_lease(&commit.guard.lease),
            version: stored.version,
            unless_cancelled: false,
            admits: false,
            room: None,
        };
        match (self.fault, error.code()) {
            (Fault::IgnoresFences, "fenced") => {
                let guard = Guard { lease: anyhow.lease, ..commit.guard };
                return self.inner.commit(Commit { guard, ..commit }).await;
            }
            (Fault::KeepsLeasesAtLeaps, "fenced") if self.has_leapt() => return Ok(next),
            (Fault::IgnoresVersions, "version_changed") => {
                let guard = Guard { version: stored.version, ..commit.guard };
                return self.inner.commit(Commit { guard, ..commit }).await;
            }
            (Fault::AdmitsASecond, "app_busy") => {
                let unfinished = self.inner.unfinished(None).await?;
                let active = unfinished.iter().any(|other| other.app == stored.app && other.state.is_active());
                return if active { Ok(next) } else { Err(error) };
            }
            (Fault::ReopensCompleted, "deployment_ended") => return Ok(next),
            (Fault::SharesEndpoints, "endpoint_taken") => {
                return self.inner.commit(Commit { serving: None, ..commit }).await;
            }
            (Fault::ChecksOneSlot, "endpoint_taken") => {
                let mut commit = commit;
                commit.serving.iter_mut().for_each(|serving| serving.green = None);
                return self.inner.commit(commit).await;
            }
            _ => {}
        }
        let nothing = Commit {
            guard: anyhow,
            deployment: stored,
            serving: None,
            steps: Vec::new(),
            instances: Vec::new(),
            events: Vec::new(),
            jobs: Vec::new(),
            forget_app: false,
            hand_back: None,
            at: commit.at,
        };
        let trace = match self.fault {
            Fault::LeavesSteps => Commit { steps: commit.steps, ..nothing },
            Fault::LeavesInstances => Commit { instances: commit.instances, ..nothing },
            Fault::LeavesServing => Commit { serving: commit.serving, ..nothing },
            Fault::LeavesEvents => Commit { events: commit.events, ..nothing },
            Fault::LeavesJobs => {
                for job in commit.jobs {
                    self.queue.enqueue(job).await?;
                }
                return Err(error);
            }
            _ => return Err(error),
        };
        // A trace cannot be left where no lease allows it.
        self.inner.commit(trace).await.ok();
        Err(error)
    }
}
