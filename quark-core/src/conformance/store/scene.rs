//! A store with apps, deployments and leases in it, and what can be seen of them.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use crate::app::{App, AppName};
use crate::backend::{Commit, Guard, JobKind, Lease, NewJob, Priority, QueueDepth, Store};
use crate::clock::Timestamp;
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{
    AppRecord, Conclusion, Deployment, DeploymentId, Event, EventKind, Instance, InstanceState, LogLine, OwnerId, Slot,
    State, StepName, StepRecord, SupersedePolicy, Version,
};
use crate::{Error, ErrorKind};

/// Longer than any case takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Soon over, and yet longer than the time between two calls.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// More than [`SHORT`].
pub(super) const PAST_SHORT: Duration = Duration::from_secs(6);

pub(super) struct Scene<'a> {
    pub(super) fixture: &'a dyn StoreFixture,
    pub(super) store: Arc<dyn Store>,
}

/// Everything that a refused write might have changed.
#[derive(Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) apps: Vec<AppRecord>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) unfinished: Vec<DeploymentId>,
    pub(super) steps: Vec<StepRecord>,
    pub(super) instances: Vec<Instance>,
    pub(super) events: Vec<Event>,
    pub(super) log: Vec<LogLine>,
    pub(super) position: u64,
    pub(super) jobs: Option<QueueDepth>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(fixture: &'a dyn StoreFixture) -> Self {
        Self { fixture, store: fixture.store() }
    }

    pub(super) async fn app(&self, name: &str) -> CaseResult<AppRecord> {
        self.create(worked("making an app", sample::app(name))?).await
    }

    pub(super) async fn create(&self, spec: App) -> CaseResult<AppRecord> {
        worked("creating an app", self.store.create_app(spec, moment(0)).await)
    }

    pub(super) async fn record(&self, name: &AppName) -> CaseResult<AppRecord> {
        let found = worked("reading an app", self.store.app(name).await)?;
        found.ok_or_else(|| format!("the app `{name}` cannot be read"))
    }

    /// A deployment that is queued, whatever waits before it.
    pub(super) async fn deploy(&self, app: &AppRecord, at: Timestamp) -> CaseResult<Deployment> {
        self.submit(worked("making a deployment", sample::deployment(&app.spec, at))?).await
    }

    pub(super) async fn submit(&self, draft: Deployment) -> CaseResult<Deployment> {
        let job = job(&draft);
        let created = self.store.create_deployment(draft, job, SupersedePolicy::Serial).await;
        Ok(worked("creating a deployment", created)?.deployment)
    }

    pub(super) async fn read(&self, id: DeploymentId) -> CaseResult<Deployment> {
        let found = worked("reading a deployment", self.store.deployment(id).await)?;
        found.ok_or_else(|| format!("the deployment `{id}` cannot be read"))
    }

    pub(super) async fn lease(&self, app: &AppName) -> CaseResult<Lease> {
        worked("acquiring a lease", self.store.acquire_lease(app, &owner("first")?, LONG).await)
    }

    pub(super) async fn commit(&self, commit: Commit) -> CaseResult<Version> {
        worked("a commit", self.store.commit(commit).await)
    }

    /// Brings a deployment to `state` and returns it as it is then.
    pub(super) async fn bring(&self, lease: &Lease, deployment: &Deployment, state: State) -> CaseResult<Deployment> {
        let mut commit = unchanged(lease, deployment);
        commit.deployment.state = state;
        if state.is_terminal() {
            commit.deployment.conclusion = Some(Conclusion::Failed);
            commit.deployment.failure = Some(sample::failure());
            commit.deployment.finished_at = Some(moment(70));
        }
        self.commit(commit).await?;
        self.read(deployment.id).await
    }

    /// An app with a deployment that is active, and the lease to act on it.
    pub(super) async fn active(&self, name: &str) -> CaseResult<(AppRecord, Deployment, Lease)> {
        let app = self.app(name).await?;
        let deployment = self.deploy(&app, moment(1)).await?;
        let lease = self.lease(&app.spec.name).await?;
        let deployment = self.bring(&lease, &deployment, State::Admitted).await?;
        Ok((app, deployment, lease))
    }

    pub(super) async fn events(&self, id: Option<DeploymentId>) -> CaseResult<Vec<Event>> {
        worked("reading events", self.store.events(id, 0, ALL).await)
    }

    pub(super) async fn unfinished(&self) -> CaseResult<Vec<DeploymentId>> {
        let unfinished = worked("reading what is unfinished", self.store.unfinished(None).await)?;
        Ok(unfinished.into_iter().map(|deployment| deployment.id).collect())
    }

    /// How many jobs there are, if the store has a queue.
    pub(super) async fn jobs(&self) -> CaseResult<Option<QueueDepth>> {
        match self.fixture.queue() {
            Some(queue) => worked("counting jobs", queue.depth().await).map(Some),
            None if self.store.queues_jobs() => Err("the store queues jobs, but the fixture has no queue".to_owned()),
            None => Ok(None),
        }
    }

    /// Everything that can be seen, of one deployment in detail.
    pub(super) async fn picture(&self, id: DeploymentId) -> CaseResult<Picture> {
        let snapshot = worked("reading a snapshot", self.store.snapshot(id).await)?;
        let snapshot = snapshot.ok_or_else(|| format!("the deployment `{id}` has no snapshot"))?;
        let deployments = self.store.deployments(&snapshot.deployment.app, None, ALL).await;
        Ok(Picture {
            apps: worked("reading all apps", self.store.apps().await)?,
            deployments: worked("reading all deployments", deployments)?,
            unfinished: self.unfinished().await?,
            steps: snapshot.steps,
            instances: snapshot.instances,
            events: self.events(None).await?,
            log: worked("reading a log", self.store.log(id, 0, ALL).await)?,
            position: worked("reading the position", self.store.position().await)?,
            jobs: self.jobs().await?,
        })
    }

    /// Checks that a commit is refused and changes nothing.
    pub(super) async fn refuses(
        &self,
        what: &str,
        commit: Commit,
        kind: ErrorKind,
        code: Option<&str>,
    ) -> CaseResult<Error> {
        let id = commit.deployment.id;
        let before = self.picture(id).await?;
        let error = refused(what, self.store.commit(commit).await, kind, code)?;
        let after = self.picture(id).await?;
        ensure!(before == after, "{what} was refused and left a trace:\nbefore {before:?}\nafter {after:?}");
        Ok(error)
    }
}

pub(super) fn owner(name: &str) -> CaseResult<OwnerId> {
    worked("making an owner", OwnerId::parse(name))
}

/// The job that comes with a deployment.
pub(super) fn job(deployment: &Deployment) -> NewJob {
    NewJob::new(JobKind::Deploy, deployment.id, deployment.app.clone(), Priority::DEPLOY, moment(0))
}

/// A commit that changes nothing but the version.
pub(super) fn unchanged(lease: &Lease, deployment: &Deployment) -> Commit {
    Commit {
        guard: Guard {
            lease: lease.clone(),
            version: deployment.version,
            unless_cancelled: false,
            admits: false,
            room: None,
        },
        deployment: deployment.clone(),
        serving: None,
        steps: Vec::new(),
        instances: Vec::new(),
        events: Vec::new(),
        jobs: Vec::new(),
        forget_app: false,
        hand_back: None,
        at: moment(50),
    }
}

/// A commit that makes the deployment its app's active one.
pub(super) fn admitting(lease: &Lease, deployment: &Deployment) -> Commit {
    let mut commit = unchanged(lease, deployment);
    commit.guard.admits = true;
    commit.deployment.state = State::Admitted;
    commit
}

/// A commit that changes everything else that a commit can change.
pub(super) fn loaded(lease: &Lease, deployment: &Deployment) -> Commit {
    let retire = NewJob::new(JobKind::Retire, deployment.id, deployment.app.clone(), Priority::RETIRE, moment(0));
    Commit {
        serving: Some(sample::serving(deployment, DeploymentId::generate())),
        steps: vec![sample::step(StepName::Clear, 7, moment(50))],
        instances: vec![sample::instance(deployment, Slot::Green, InstanceState::Planned)],
        events: vec![EventKind::StepStarted { step: StepName::Clear, attempt: 7 }, EventKind::Retired],
        jobs: vec![retire],
        ..unchanged(lease, deployment)
    }
}
