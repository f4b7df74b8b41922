//! `SqliteQueue`: the queue in the same file as the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, NewJob, Queue, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Clock, Result, Timestamp};

use super::jobs::{self, Nack};
use super::store::Shared;

/// How long a job that another process queued may go unseen.
const POLL: Duration = Duration::from_secs(1);

/// A [`Queue`] in the same file as its [`SqliteStore`](super::SqliteStore), so
/// that a deployment and its job are written in one transaction.
///
/// Jobs queued by this process wake [`Queue::wait`] at once; those of another
/// process on the same file are seen within a second. The queue ends when its
/// store is closed. Clones share everything.
#[derive(Clone)]
pub struct SqliteQueue {
    shared: Arc<Shared>,
}

impl SqliteQueue {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Read when a write begins, not when it is asked for.
    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        jobs::next_due(self.shared.readers.get().await?.connection()?).await
    }
}

impl fmt::Debug for SqliteQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteQueue").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        let clock = self.clock();
        let enqueued = self.shared.writer.only_quick(move || Ok(jobs::enqueue(&job, clock.now()))).await?;
        self.shared.jobs.notify_waiters();
        Ok(enqueued)
    }

    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        let (owner, clock) = (owner.clone(), self.clock());
        self.shared.writer.only_quick(move || Ok(jobs::claim(&owner, most, visibility, clock.now()))).await
    }

    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        let clock = self.clock();
        self.shared.writer.only_quick(move || Ok(jobs::heartbeat(token, visibility, clock.now()))).await
    }

    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        let clock = self.clock();
        self.shared.writer.only_quick(move || Ok(jobs::ack(token, clock.now()))).await
    }

    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        let (clock, nack) = (self.clock(), Nack { delay, counted, reason: reason.to_owned() });
        let claim = self.shared.writer.only_quick(move || Ok(jobs::nack(token, &nack, clock.now()))).await?;
        self.shared.jobs.notify_waiters();
        Ok(claim)
    }

    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        let owner = owner.clone();
        let freed = self.shared.writer.only_quick(move || Ok(jobs::reclaim(&owner))).await?;
        self.shared.jobs.notify_waiters();
        Ok(freed)
    }

    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        jobs::dead(self.shared.readers.get().await?.connection()?, most, self.shared.clock.now()).await
    }

    async fn depth(&self) -> Result<QueueDepth> {
        jobs::depth(self.shared.readers.get().await?.connection()?, self.shared.clock.now()).await
    }

    async fn wait(&self, longest: Duration) {
        let queued = self.shared.jobs.notified();
        tokio::pin!(queued);
        // From here on no job is missed, even before the first poll.
        queued.as_mut().enable();
        let rest = match self.next_due().await {
            Ok(Some(due)) => due.since(self.shared.clock.now()).min(POLL),
            // The caller is about to claim and will see the failure itself.
            Ok(None) | Err(_) => POLL,
        };
        tokio::select! {
            () = queued => {}
            () = self.shared.clock.sleep(rest.min(longest)) => {}
        }
    }
}
