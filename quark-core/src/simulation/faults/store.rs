//! A store behind a network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::Op;
use crate::Result;
use crate::app::{App, AppName};
use crate::backend::{
    CancelOutcome, Commit, CreatedDeployment, Lease, NewJob, ProjectWrite, ProjectWritten, Snapshot, Store,
};
use crate::clock::Timestamp;
use crate::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, Event, IdempotencyKey, Instance, LogLine, LogStream, OwnerId,
    SupersedePolicy, Version,
};
use crate::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use crate::simulation::change::Change;

/// A store behind a network.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn Store>,
}

#[async_trait]
impl Store for FaultyStore {
    async fn installation(&self) -> Result<String> {
        self.gate.read(Op::StoreInstallation, self.inner.installation()).await
    }

    fn queues_jobs(&self) -> bool {
        self.inner.queues_jobs()
    }

    async fn create_app(&self, spec: App, at: Timestamp) -> Result<AppRecord> {
        let make = || {
            let (inner, gate, spec) = (Arc::clone(&self.inner), self.gate.clone(), spec.clone());
            let work = async move {
                let record = inner.create_app(spec, at).await?;
                gate.sim.change(gate.process, &Change::AppCreated(&record));
                Ok(record)
            };
            boxed(work)
        };
        self.gate.effect(Op::StoreCreateApp, make).await
    }

    async fn update_app(&self, spec: App, expected: Version, at: Timestamp) -> Result<AppRecord> {
        let make = || {
            let (inner, spec) = (Arc::clone(&self.inner), spec.clone());
            boxed(async move { inner.update_app(spec, expected, at).await })
        };
        self.gate.effect(Op::StoreUpdateApp, make).await
    }

    async fn app(&self, name: &AppName) -> Result<Option<AppRecord>> {
        self.gate.read(Op::StoreApp, self.inner.app(name)).await
    }

    async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.gate.read(Op::StoreApps, self.inner.apps()).await
    }

    async fn create_deployment(
        &self,
        deployment: Deployment,
        job: NewJob,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        let make = || {
            let (inner, gate) = (Arc::clone(&self.inner), self.gate.clone());
            let (deployment, job) = (deployment.clone(), job.clone());
            boxed(async move {
                let created = inner.create_deployment(deployment, job, policy).await?;
                gate.sim.change(gate.process, &Change::DeploymentCreated(&created));
                Ok(created)
            })
        };
        self.gate.effect(Op::StoreCreateDeployment, make).await
    }

    async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>> {
        self.gate.read(Op::StoreDeployment, self.inner.deployment(id)).await
    }

    async fn deployment_by_key(&self, app: &AppName, key: &IdempotencyKey) -> Result<Option<Deployment>> {
        self.gate.read(Op::StoreDeploymentByKey, self.inner.deployment_by_key(app, key)).await
    }

    async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.gate.read(Op::StoreDeployments, self.inner.deployments(app, before, most)).await
    }

    async fn snapshot(&self, id: DeploymentId) -> Result<Option<Snapshot>> {
        self.gate.read(Op::StoreSnapshot, self.inner.snapshot(id)).await
    }

    async fn unfinished(&self, app: Option<&AppName>) -> Result<Vec<Deployment>> {
        self.gate.read(Op::StoreUnfinished, self.inner.unfinished(app)).await
    }

    async fn acquire_lease(&self, app: &AppName, owner: &OwnerId, ttl: Duration) -> Result<Lease> {
        let make = || {
            let (inner, gate) = (Arc::clone(&self.inner), self.gate.clone());
            let (app, owner) = (app.clone(), owner.clone());
            boxed(async move {
                let lease = inner.acquire_lease(&app, &owner, ttl).await?;
                gate.sim.change(gate.process, &Change::LeaseTaken(&lease, ttl));
                Ok(lease)
            })
        };
        self.gate.effect(Op::StoreAcquireLease, make).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<()> {
        let make = || {
            let (inner, gate, lease) = (Arc::clone(&self.inner), self.gate.clone(), lease.clone());
            boxed(async move {
                inner.renew_lease(&lease, ttl).await?;
                gate.sim.change(gate.process, &Change::LeaseRenewed(&lease, ttl));
                Ok(())
            })
        };
        self.gate.effect(Op::StoreRenewLease, make).await
    }

    async fn check_lease(&self, lease: &Lease) -> Result<()> {
        self.gate.read(Op::StoreCheckLease, self.inner.check_lease(lease)).await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let make = || {
            let (inner, gate, lease) = (Arc::clone(&self.inner), self.gate.clone(), lease.clone());
            boxed(async move {
                inner.release_lease(&lease).await?;
                gate.sim.change(gate.process, &Change::LeaseReleased(&lease));
                Ok(())
            })
        };
        self.gate.effect(Op::StoreReleaseLease, make).await
    }

    async fn commit(&self, commit: Commit) -> Result<Version> {
        let commit = Arc::new(commit);
        let make = || {
            let (inner, gate, commit) = (Arc::clone(&self.inner), self.gate.clone(), Arc::clone(&commit));
            boxed(async move {
                let version = inner.commit(Commit::clone(&commit)).await?;
                gate.sim.change(gate.process, &Change::Committed(&commit));
                if commit.hand_back.is_some() {
                    gate.sim.change(gate.process, &Change::LeaseReleased(&commit.guard.lease));
                }
                Ok(version)
            })
        };
        self.gate.effect(Op::StoreCommit, make).await
    }

    async fn request_cancel(&self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        let make = || {
            let (inner, gate, request) = (Arc::clone(&self.inner), self.gate.clone(), request.clone());
            boxed(async move {
                let outcome = inner.request_cancel(id, request.clone()).await?;
                if outcome != CancelOutcome::TooLate {
                    gate.sim.change(gate.process, &Change::CancelAccepted(id, outcome, &request));
                }
                Ok(outcome)
            })
        };
        self.gate.effect(Op::StoreRequestCancel, make).await
    }

    async fn instances(&self, app: &AppName) -> Result<Vec<Instance>> {
        self.gate.read(Op::StoreInstances, self.inner.instances(app)).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.gate.read(Op::StoreNow, self.inner.now()).await
    }

    async fn position(&self) -> Result<u64> {
        self.gate.read(Op::StorePosition, self.inner.position()).await
    }

    async fn leap(&self) -> Result<()> {
        let make = || {
            let (inner, gate) = (Arc::clone(&self.inner), self.gate.clone());
            boxed(async move {
                inner.leap().await?;
                gate.sim.change(gate.process, &Change::StoreLeapt);
                Ok(())
            })
        };
        self.gate.effect(Op::StoreLeap, make).await
    }

    async fn events(&self, deployment: Option<DeploymentId>, after: u64, most: usize) -> Result<Vec<Event>> {
        self.gate.read(Op::StoreEvents, self.inner.events(deployment, after, most)).await
    }

    async fn append_log(&self, id: DeploymentId, lines: Vec<(Timestamp, LogStream, String)>) -> Result<()> {
        let make = || {
            let (inner, lines) = (Arc::clone(&self.inner), lines.clone());
            boxed(async move { inner.append_log(id, lines).await })
        };
        self.gate.effect(Op::StoreAppendLog, make).await
    }

    async fn forget_logs(&self, ended_before: Timestamp, most: usize) -> Result<usize> {
        let make = || {
            let inner = Arc::clone(&self.inner);
            boxed(async move { inner.forget_logs(ended_before, most).await })
        };
        self.gate.effect(Op::StoreForgetLogs, make).await
    }

    async fn log(&self, id: DeploymentId, after: u64, most: usize) -> Result<Vec<LogLine>> {
        self.gate.read(Op::StoreLog, self.inner.log(id, after, most)).await
    }

    async fn write_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        let make = || {
            let (inner, gate, write) = (Arc::clone(&self.inner), self.gate.clone(), write.clone());
            boxed(async move {
                let apps = write.apps.clone();
                let written = inner.write_project(write).await?;
                gate.sim.change(gate.process, &Change::ProjectWritten(&written, &apps));
                for app in &written.created {
                    gate.sim.change(gate.process, &Change::AppCreated(app));
                }
                for removal in &written.removals {
                    gate.sim.change(gate.process, &Change::DeploymentCreated(removal));
                }
                Ok(written)
            })
        };
        self.gate.effect(Op::StoreWriteProject, make).await
    }

    async fn project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        self.gate.read(Op::StoreProject, self.inner.project(name)).await
    }

    async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.gate.read(Op::StoreProjects, self.inner.projects()).await
    }
}

/// A future of its own, which can go on when its caller does not.
pub(super) fn boxed<T>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> futures_util::future::BoxFuture<'static, Result<T>> {
    Box::pin(work)
}
