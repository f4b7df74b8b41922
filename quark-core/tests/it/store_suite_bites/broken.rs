//! A store with one fault: apps, leases and cancel requests.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::store::refusal;
use quark_core::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot,
};
use quark_core::deployment::{CancelRequest, Fence, IdempotencyKey, Instance, StepRecord, SupersedePolicy, Version};
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{
    App, AppName, AppRecord, Deployment, DeploymentId, Domain, Endpoint, Error, Event, EventKind, LogLine, LogStream,
    OwnerId, Result, Store, Timestamp,
};
use tokio::task::yield_now;

use super::fault::Fault;

/// A memory store with one fault.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    pub(super) inner: MemoryStore,
    pub(super) queue: MemoryQueue,
    memory: Mutex<Memory>,
}

/// What a broken store remembers beside the sound one.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The leases that the sound store gave last.
    pub(super) leases: HashMap<AppName, Lease>,
    pub(super) sequences: HashMap<DeploymentId, u64>,
    pub(super) steps: HashMap<DeploymentId, Vec<StepRecord>>,
    pub(super) versions: HashMap<DeploymentId, Version>,
    /// The deployments as writers have told them.
    pub(super) told: HashMap<DeploymentId, Deployment>,
    pub(super) removed: Vec<Instance>,
    pub(super) given_up: HashSet<Domain>,
    pub(super) endpoints: HashMap<Endpoint, AppName>,
    pub(super) forgotten: HashMap<AppName, u64>,
    pub(super) cancels: HashMap<DeploymentId, Vec<CancelRequest>>,
    pub(super) seen: HashSet<u64>,
    pub(super) closed: bool,
    pub(super) leapt: bool,
    /// Whether logs were to be forgotten.
    pub(super) forgot: bool,
    /// The apps that were created after a leap.
    pub(super) late: HashSet<AppName>,
    /// The last that was seen of each project.
    pub(super) projects: HashMap<ProjectName, ProjectSnapshot>,
    pub(super) refused: HashSet<IdempotencyKey>,
}

impl Broken {
    pub(super) fn new(fault: Fault, inner: MemoryStore, queue: MemoryQueue) -> Self {
        Self { fault, inner, queue, memory: Mutex::default() }
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// From now on the store has lost what it loses when it is closed.
    pub(super) fn close(&self) {
        self.memory().closed = true;
    }

    /// The lease of an app that the sound store would take.
    pub(super) fn real_lease(&self, lease: &Lease) -> Lease {
        self.memory().leases.get(&lease.app).cloned().unwrap_or_else(|| lease.clone())
    }

    async fn steal(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        let held = self.memory().leases.get(app).cloned();
        if let Some(held) = held {
            self.inner.release_lease(&held).await?;
        }
        self.inner.acquire_lease(app, owner, ttl).await
    }

    /// What a faulty store answers before it looks at anything.
    fn early_lease(&self, app: &AppName, owner: &OwnerId) -> Option<Result<Lease>> {
        let own = self.memory().leases.get(app).filter(|held| held.owner == *owner).cloned()?;
        match self.fault {
            Fault::RefusesOwners => Some(Err(refusal::lease_held(app, Duration::ZERO))),
            Fault::KeepsFenceOfOwners => Some(Ok(own)),
            _ => None,
        }
    }
}

#[async_trait]
impl Store for Broken {
    async fn installation(&self) -> Result<String> {
        self.inner.installation().await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        self.write_bent_project(write).await
    }
    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        self.read_project(name).await
    }
    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.read_projects().await
    }
    fn queues_jobs(&self) -> bool {
        self.fault != Fault::QueuesJobsInSecret
    }

    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        let free = self.inner.app(&spec.name).await?.is_none();
        if matches!(self.fault, Fault::RacesForNames | Fault::RacesForHostNames) {
            yield_now().await;
        }
        if spec.domains.iter().any(|domain| self.memory().given_up.contains(domain)) {
            return Err(refusal::domain_taken("kept"));
        }
        let error = match self.inner.create_app(spec.clone(), at).await {
            Ok(created) => {
                self.note_new(&spec.name);
                return Ok(self.bend_app(created));
            }
            Err(error) => error,
        };
        let first = self.inner.app(&spec.name).await?;
        match (self.fault, error.code()) {
            (Fault::TakesNamesTwice, "app_exists") => Ok(first.unwrap()),
            (Fault::RacesForNames, "app_exists") if free => Ok(first.unwrap()),
            (Fault::SharesHostNames, "domain_taken") => self.create_without_names(spec, at).await,
            (Fault::RacesForHostNames, "domain_taken") if spec.name.as_str().starts_with("crowd") => {
                self.create_without_names(spec, at).await
            }
            _ => Err(error),
        }
    }

    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        let before = self.inner.app(&spec.name).await?;
        let error = match self.inner.update_app(spec.clone(), expected, at).await {
            Ok(updated) => {
                if self.fault == Fault::KeepsHostNames {
                    let before = before.map(|before| before.spec.domains).unwrap_or_default();
                    let given_up = before.into_iter().filter(|domain| !spec.domains.contains(domain));
                    self.memory().given_up.extend(given_up);
                }
                return if spec.domains.iter().any(|domain| self.memory().given_up.contains(domain)) {
                    Err(refusal::domain_taken("kept"))
                } else {
                    Ok(updated)
                };
            }
            Err(error) => error,
        };
        let Some(before) = before else { return Err(error) };
        match (self.fault, error.code()) {
            (Fault::SharesHostNames, "domain_taken") | (Fault::ChangesRemovedApps, "app_removed") => Ok(before),
            (Fault::ChangesAppsItRefuses, "domain_taken") => {
                self.inner.update_app(App { port: 7, ..before.spec }, expected, at).await?;
                Err(error)
            }
            (Fault::ChangesAppsOfProjects, "app_of_project") => {
                self.change_app_of_project(spec, at).await?;
                Err(error)
            }
            (Fault::IgnoresAppVersions, "version_changed") => self.inner.update_app(spec, before.version, at).await,
            (Fault::ChangesOutdatedApps, "version_changed") => {
                self.inner.update_app(spec, before.version, at).await?;
                Err(error)
            }
            _ => Err(error),
        }
    }

    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        Ok(self.inner.app(name).await?.map(|app| self.bend_app(app)))
    }

    async fn apps(&self) -> Result<Vec<AppRecord>> {
        let apps = self.inner.apps().await?;
        let mut apps: Vec<_> = apps.into_iter().map(|app| self.bend_app(app)).collect();
        if self.fault == Fault::ListsAppsBackwards {
            apps.reverse();
        }
        Ok(apps)
    }

    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        self.create(deployment, job, policy).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        Ok(self.inner.deployment(id).await?.map(|deployment| self.bend(deployment)))
    }

    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        let found = self.inner.deployment_by_key(app, key).await?;
        match self.fault {
            Fault::FindsNoKey => Ok(None),
            Fault::FindsKeysOfOthers if found.is_none() => {
                let shop = AppName::parse("shop")?;
                self.inner.deployment_by_key(&shop, key).await
            }
            _ => Ok(found),
        }
    }

    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.read_deployments(app, before, most).await
    }

    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.read_snapshot(id).await
    }

    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        self.read_unfinished(app).await
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        let free = !self.memory().leases.contains_key(app);
        if let Some(answer) = self.early_lease(app, owner) {
            return answer;
        }
        if self.fault == Fault::RacesForLeases {
            yield_now().await;
        }
        let forever = Duration::MAX;
        let ttl = if self.fault == Fault::KeepsLeasesForEver { forever } else { ttl };
        if self.fault == Fault::LosesLeases && self.memory().closed {
            return self.steal(app, owner, ttl).await;
        }
        let mut lease = match self.inner.acquire_lease(app, owner, ttl).await {
            Ok(lease) => lease,
            Err(error) => match self.fault {
                Fault::SharesLeases => self.steal(app, owner, ttl).await?,
                Fault::RacesForLeases if free => self.steal(app, owner, ttl).await?,
                Fault::TellsNoWait => return Err(Error::new(error.kind(), error.message()).with_code("lease_held")),
                _ => return Err(error),
            },
        };
        self.memory().leases.insert(app.clone(), lease.clone());
        lease.fence = Fence(self.bend_fence(app, lease.fence.0));
        Ok(lease)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let lease = if self.fault == Fault::RepeatsFences { self.real_lease(lease) } else { lease.clone() };
        match self.fault {
            Fault::RenewsNothing => self.inner.renew_lease(&lease, Duration::ZERO).await,
            Fault::RenewsForEver => self.inner.renew_lease(&lease, Duration::MAX).await,
            Fault::KeepsLeasesAtLeaps if self.has_leapt() => Ok(()),
            Fault::RenewsOldLeases => self.inner.renew_lease(&lease, ttl).await.or(Ok(())),
            _ => self.inner.renew_lease(&lease, ttl).await,
        }
    }

    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        let lease = if self.fault == Fault::RepeatsFences { self.real_lease(lease) } else { lease.clone() };
        match self.fault {
            Fault::KeepsLeasesAtLeaps if self.has_leapt() => Ok(()),
            Fault::RenewsOldLeases | Fault::ChecksNothing => Ok(()),
            Fault::ChecksByRenewing => self.inner.renew_lease(&lease, Duration::from_secs(600)).await,
            _ => self.inner.check_lease(&lease).await,
        }
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let real = self.real_lease(lease);
        match self.fault {
            Fault::ReleasesNothing => Ok(()),
            Fault::ReleasesForOthers | Fault::RepeatsFences => self.inner.release_lease(&real).await,
            _ => {
                if real == *lease && self.fault != Fault::IgnoresFences {
                    self.memory().leases.remove(&lease.app);
                }
                self.inner.release_lease(lease).await
            }
        }
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        self.write(commit).await
    }

    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        self.cancel(id, request).await
    }

    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.read_instances(app).await
    }

    async fn now(&self) -> Result<Timestamp> {
        match self.fault {
            Fault::StandsStill => Ok(Timestamp::from_micros(1_700_000_000_000_000)),
            _ => self.inner.now().await,
        }
    }

    async fn position(&self) -> Result<u64> {
        self.read_position().await
    }

    async fn leap(&self) -> Result<()> {
        self.go_on().await
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.read_events(deployment, after, most).await
    }

    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        match self.fault {
            Fault::TearsLinesApart => {
                for line in lines {
                    yield_now().await;
                    self.inner.append_log(id, vec![line]).await?;
                }
                Ok(())
            }
            Fault::ForgetsEmptyLines => {
                let lines = lines.into_iter().filter(|(_, _, text)| !text.is_empty()).collect();
                self.inner.append_log(id, lines).await
            }
            Fault::LogsForNobody => self.inner.append_log(id, lines).await.or(Ok(())),
            _ => self.inner.append_log(id, lines).await,
        }
    }

    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        self.memory().forgot = true;
        match self.fault {
            Fault::ForgetsNoLogs => Ok(0),
            Fault::ForgetsEveryLog => self.inner.forget_logs(Timestamp::from_micros(i64::MAX), most).await,
            Fault::ForgetsManyLogs => self.inner.forget_logs(ended_before, usize::MAX).await,
            _ => self.inner.forget_logs(ended_before, most).await,
        }
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        let forgot = self.memory().forgot;
        if forgot && let Some(seen) = self.inner.snapshot(id).await? {
            let is_there = seen.instances.iter().any(|instance| instance.deployment == id);
            let ended = seen.deployment.state.is_terminal();
            if (self.fault == Fault::ForgetsLogsOfTheLive && is_there)
                || (self.fault == Fault::ForgetsLogsOfTheUnfinished && !ended)
            {
                return Ok(Vec::new());
            }
        }
        self.read_log(id, after, most).await
    }
}

impl Broken {
    async fn create_without_names(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        let created = self.inner.create_app(App { domains: Vec::new(), ..spec.clone() }, at).await?;
        Ok(AppRecord { spec, ..created })
    }
}

/// Whether an event is the wish to cancel.
pub(super) fn is_cancel(event: &Event) -> bool {
    matches!(event.kind, EventKind::CancelRequested { .. })
}
