//! `SqliteQueue`: the queue in the same file as the store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, NewJob, Queue, QueueDepth};
use quark_core::deployment::OwnerId;
use quark_core::{Result, Timestamp};
use rusqlite::Connection;

use super::jobs::{self, Nack};
use super::store::Shared;

/// How long a job that another process queued may go unseen.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// A [`Queue`] in the same file as its [`SqliteStore`](super::SqliteStore), so
/// that a deployment and its job are written in one transaction.
///
/// Jobs queued by this process wake [`Queue::wait`] at once, or when they are
/// due if that is later than a second from then; those of another
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

    /// What is written is decided by the time at which it is written.
    async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection, Timestamp) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let clock = Arc::clone(&self.shared.clock);
        self.shared.writer.write(move |connection| work(connection, clock.now())).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.shared.readers.small(jobs::next_due).await
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
        let run_at = job.run_at;
        let enqueued = self.write(move |connection, now| jobs::add(connection, &job, now)).await?;
        self.shared.wake_for(run_at);
        Ok(enqueued)
    }

    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        let owner = owner.clone();
        self.write(move |connection, now| jobs::claim(connection, &owner, most, visibility, now)).await
    }

    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        self.write(move |connection, now| jobs::heartbeat(connection, token, visibility, now)).await
    }

    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        self.write(move |connection, now| jobs::ack(connection, token, now)).await
    }

    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        let nack = Nack { delay, counted, reason: reason.to_owned() };
        let claim = self.write(move |connection, now| jobs::nack(connection, token, &nack, now)).await?;
        self.shared.wake_for(self.shared.clock.now().after(delay));
        Ok(claim)
    }

    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        let owner = owner.clone();
        let freed = self.write(move |connection, _| jobs::reclaim(connection, &owner)).await?;
        self.shared.jobs.notify_waiters();
        Ok(freed)
    }

    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        let now = self.shared.clock.now();
        self.shared.readers.large(move |connection| jobs::dead(connection, most, now)).await
    }

    async fn depth(&self) -> Result<QueueDepth> {
        let now = self.shared.clock.now();
        self.shared.readers.large(move |connection| jobs::depth(connection, now)).await
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
