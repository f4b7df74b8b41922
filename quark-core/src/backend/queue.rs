//! `Queue`: hands work to engines, at least once.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Result;
use crate::app::AppName;
use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, OwnerId};

/// What a job is about. The names are part of stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobKind {
    /// Bring a deployment to its end.
    Deploy,
    /// Retire the standby that a deployment left.
    Retire,
}

impl JobKind {
    /// The name in stores and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Retire => "retire",
        }
    }
}

/// What is urgent comes first; the lowest number is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub u8);

impl Priority {
    /// A rollback.
    pub const ROLLBACK: Self = Self(0);
    /// A deployment that a person wants.
    pub const DEPLOY: Self = Self(20);
    /// The retirement of an old version: nobody waits for it.
    pub const RETIRE: Self = Self(30);
}

/// A job to be queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// What it is about.
    pub kind: JobKind,
    /// Which deployment.
    pub deployment: DeploymentId,
    /// Of which app.
    pub app: AppName,
    /// How urgent it is.
    pub priority: Priority,
    /// Not before this time.
    pub run_at: Timestamp,
    /// Claims after which the job is dead.
    pub max_attempts: u32,
}

impl NewJob {
    /// A job that may run at once and three times.
    #[must_use]
    pub fn new(kind: JobKind, deployment: DeploymentId, app: AppName, priority: Priority, run_at: Timestamp) -> Self {
        Self { kind, deployment, app, priority, run_at, max_attempts: 3 }
    }

    /// Names the job among those that are not finished: a second one with the
    /// same key is the same job.
    #[must_use]
    pub fn dedupe_key(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.deployment)
    }
}

/// Names a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

/// Proves a claim; another claim of the same job has another token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimToken {
    /// The job.
    pub job: JobId,
    /// This claim of it.
    pub claim: Uuid,
}

/// A job that a worker holds until its claim runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedJob {
    /// Proves the claim.
    pub token: ClaimToken,
    /// The job.
    pub job: NewJob,
    /// This is the claim number `attempt`, from 1.
    pub attempt: u32,
}

/// What [`Queue::enqueue`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a job is new or it is not")]
pub enum Enqueued {
    /// The job is new.
    New(JobId),
    /// An unfinished job has the same key; it stays as it was.
    Duplicate(JobId),
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a claim is held or it is not")]
pub enum Claim {
    /// The claim was valid and the call took effect.
    Held,
    /// The claim had run out, or the job is gone; nothing was changed.
    Lost,
}

/// A job that is not tried any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadJob {
    /// Which.
    pub id: JobId,
    /// What it was.
    pub job: NewJob,
    /// Why it died.
    pub reason: String,
}

/// How many jobs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Could be claimed now.
    pub ready: u64,
    /// Wait for their time.
    pub delayed: u64,
    /// Are held by workers.
    pub claimed: u64,
    /// Are not tried any more.
    pub dead: u64,
}

/// Hands work to engines, at least once.
///
/// # Contract
///
/// - A job is claimed by one worker at a time.
/// - `claim` yields the lowest priority number first, and within one priority the oldest first.
/// - A job is not claimed before its `run_at`.
/// - A second unfinished job with the same dedupe key is a `Duplicate` of the first.
/// - After `ack` a job is gone, and its dedupe key is free.
/// - A claim that was not extended runs out, and the job can be claimed again.
/// - `heartbeat` extends a claim.
/// - `ack`, `nack` and `heartbeat` with a claim that ran out are `Lost` and change nothing.
/// - Each claim counts as an attempt; after the last one the job is dead and says why.
/// - `nack` without `counted` gives the attempt back.
/// - `nack` with a delay makes the job wait that long.
/// - `reclaim` ends all claims of one owner at once, as if they had run out.
/// - `wait` returns when a job is queued that is ready.
#[async_trait]
pub trait Queue: std::fmt::Debug + Send + Sync + 'static {
    /// Queues a job.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), like every call of this trait.
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued>;

    /// Claims up to `most` jobs for `visibility`. A job whose claims are used
    /// up becomes dead here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>>;

    /// Extends a claim to `visibility` from now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim>;

    /// Ends a job.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn ack(&self, token: ClaimToken) -> Result<Claim>;

    /// Gives a job back, to be claimed again after `delay`. Unless `counted`,
    /// the attempt is taken back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim>;

    /// Ends the claims that an earlier process of the same owner left. They stay
    /// counted: that is how a job is found that its workers die of.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn reclaim(&self, owner: &OwnerId) -> Result<u64>;

    /// The jobs that are not tried any more, oldest first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>>;

    /// How many jobs there are.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable).
    async fn depth(&self) -> Result<QueueDepth>;

    /// Waits until a job may be ready, at most `longest`. A hint: it may return
    /// early, and need not return for a job that becomes ready by itself. Safe
    /// to drop.
    async fn wait(&self, longest: Duration);
}
