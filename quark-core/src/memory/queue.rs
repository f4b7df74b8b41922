//! `MemoryQueue`: a queue that lives as long as its program.

mod jobs;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use self::jobs::{Jobs, Moment};
use crate::Result;
use crate::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, NewJob, Queue, QueueDepth};
use crate::clock::Clock;
use crate::deployment::OwnerId;
use crate::platform::{Platform, TokioPlatform};

/// A queue that lives as long as its program. Clones share their jobs.
///
/// Claims run out by the clock's monotonic time, so that no step of the time of
/// day ends one; `run_at` is compared with the time of day.
///
/// ```
/// # async fn example(job: quark_core::backend::NewJob) -> quark_core::Result<()> {
/// use std::sync::Arc;
/// use quark_core::{OwnerId, Queue, SystemClock, memory::MemoryQueue};
/// let queue = MemoryQueue::new(Arc::new(SystemClock::new()));
/// queue.enqueue(job).await?;
/// let claimed = queue.claim(&OwnerId::unique(), 1, std::time::Duration::from_secs(30)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    jobs: Mutex<Jobs>,
    queued: Notify,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_names(clock, Arc::new(TokioPlatform))
    }

    /// An empty queue that takes the names of jobs and claims from `platform`.
    pub(crate) fn with_names(clock: Arc<dyn Clock>, platform: Arc<dyn Platform>) -> Self {
        let jobs = Mutex::new(Jobs::new(platform));
        Self { shared: Arc::new(Shared { clock, jobs, queued: Notify::new() }) }
    }

    /// Loses all jobs, as a queue does whose disk is gone.
    #[cfg(feature = "test-util")]
    pub(crate) fn flush(&self) {
        self.jobs().flush();
    }

    /// Queues a job at once; cannot fail, so that a store can make it part of
    /// its own critical section.
    pub(super) fn push(&self, job: NewJob) -> Enqueued {
        let enqueued = self.jobs().push(job, self.moment());
        self.shared.queued.notify_waiters();
        enqueued
    }

    /// Acknowledges a claim at once, as part of a store's critical section.
    pub(super) fn done(&self, claim: ClaimToken) {
        // Whoever has a lost claim by now keeps it.
        self.jobs().ack(claim, self.moment());
    }

    /// The jobs, whatever became of other threads: each change to them is
    /// complete before the lock is given back.
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        Moment { now: self.shared.clock.now(), monotonic: self.shared.clock.monotonic() }
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("depth", &self.jobs().depth(self.moment())).finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        Ok(self.push(job))
    }

    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        Ok(self.jobs().claim(owner, most, visibility, self.moment()))
    }

    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        Ok(self.jobs().heartbeat(token, visibility, self.moment()))
    }

    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        Ok(self.jobs().ack(token, self.moment()))
    }

    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        let claim = self.jobs().nack(token, delay, counted, reason, self.moment());
        self.shared.queued.notify_waiters();
        Ok(claim)
    }

    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        let freed = self.jobs().reclaim(owner, self.moment());
        self.shared.queued.notify_waiters();
        Ok(freed)
    }

    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        Ok(self.jobs().dead(most, self.moment()))
    }

    async fn depth(&self) -> Result<QueueDepth> {
        Ok(self.jobs().depth(self.moment()))
    }

    async fn wait(&self, longest: Duration) {
        // Listen before looking, or a job queued in between would be missed.
        let mut queued = std::pin::pin!(self.shared.queued.notified());
        queued.as_mut().enable();
        let next = self.jobs().next_ready(self.moment());
        let rest = next.map_or(longest, |next| next.min(longest));
        if rest.is_zero() {
            return;
        }
        tokio::select! {
            biased;
            () = queued => {}
            () = self.shared.clock.sleep(rest) => {}
        }
    }
}
