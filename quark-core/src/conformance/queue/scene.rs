//! A queue with jobs in it, and what can be seen of them.

use std::sync::Arc;
use std::time::Duration;

use super::fixture::QueueFixture;
use crate::app::AppName;
use crate::backend::{Claim, ClaimedJob, Enqueued, JobId, JobKind, NewJob, Priority, Queue, QueueDepth};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, worked};
use crate::deployment::{DeploymentId, OwnerId};

/// Longer than any case takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);
/// Soon over, and yet longer than the time between two calls.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// More than [`SHORT`].
pub(super) const PAST_SHORT: Duration = Duration::from_secs(6);
/// More jobs than any case has.
pub(super) const ALL: usize = 1000;

pub(super) struct Scene<'a> {
    pub(super) fixture: &'a dyn QueueFixture,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) one: OwnerId,
    pub(super) other: OwnerId,
    app: AppName,
}

impl<'a> Scene<'a> {
    pub(super) fn new(fixture: &'a dyn QueueFixture) -> CaseResult<Self> {
        Ok(Self {
            fixture,
            queue: fixture.queue(),
            one: owner("one")?,
            other: owner("other")?,
            app: worked("making a name", AppName::parse("shop"))?,
        })
    }

    /// A job that no other is like, and that may run at once.
    pub(super) fn job(&self) -> NewJob {
        let deployment = DeploymentId::generate();
        NewJob::new(JobKind::Deploy, deployment, self.app.clone(), Priority::DEPLOY, self.fixture.now())
    }

    /// Queues a job that must be new.
    pub(super) async fn push(&self, job: &NewJob) -> CaseResult<JobId> {
        match worked("queueing a job", self.queue.enqueue(job.clone()).await)? {
            Enqueued::New(id) => Ok(id),
            Enqueued::Duplicate(id) => Err(format!("the new job {job:?} was taken for {id:?}")),
        }
    }

    /// A queued job that may run at once.
    pub(super) async fn queued(&self) -> CaseResult<NewJob> {
        let job = self.job();
        self.push(&job).await?;
        Ok(job)
    }

    pub(super) async fn claim(
        &self,
        owner: &OwnerId,
        most: usize,
        visibility: Duration,
    ) -> CaseResult<Vec<ClaimedJob>> {
        worked("claiming jobs", self.queue.claim(owner, most, visibility).await)
    }

    /// Claims the only job that is ready, which must be `job`.
    pub(super) async fn claim_only(
        &self,
        owner: &OwnerId,
        job: &NewJob,
        visibility: Duration,
    ) -> CaseResult<ClaimedJob> {
        let mut claimed = self.claim(owner, ALL, visibility).await?;
        let jobs: Vec<_> = claimed.iter().map(|claimed| &claimed.job).collect();
        ensure!(jobs == [job], "the job {job:?} should be ready, and {jobs:?} are");
        claimed.pop().ok_or_else(|| "nothing is ready".to_owned())
    }

    /// Checks that nothing can be claimed.
    pub(super) async fn nothing_is_ready(&self, when: &str) -> CaseResult {
        let claimed = self.claim(&owner("nobody")?, ALL, LONG).await?;
        ensure!(claimed.is_empty(), "{when}, {claimed:?} can be claimed");
        Ok(())
    }

    pub(super) async fn ack(&self, claimed: &ClaimedJob) -> CaseResult {
        held("ack", worked("ack", self.queue.ack(claimed.token).await)?)
    }

    pub(super) async fn nack(&self, claimed: &ClaimedJob, delay: Duration, counted: bool) -> CaseResult {
        let claim = self.queue.nack(claimed.token, delay, counted, "it did not work out").await;
        held("nack", worked("nack", claim)?)
    }

    pub(super) async fn depth(&self) -> CaseResult<QueueDepth> {
        worked("counting jobs", self.queue.depth().await)
    }
}

pub(super) fn owner(name: &str) -> CaseResult<OwnerId> {
    worked("making an owner", OwnerId::parse(name))
}

pub(super) fn held(what: &str, claim: Claim) -> CaseResult {
    ensure!(claim == Claim::Held, "{what} with a claim that is valid was {claim:?}");
    Ok(())
}
