//! An engine whose process dies at one of its commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use quark_core::backend::{Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, NewJob, Queue, QueueDepth};
use quark_core::memory::MemoryQueue;
use quark_core::{DeploymentEngine, Error, ErrorKind, OwnerId, Result};

use super::hooked_store::{HookedStore, Touch};
use super::world::World;

/// What is left of the life of a process.
#[derive(Clone, Debug)]
pub(crate) struct Life(Arc<AtomicI64>);

impl Life {
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst) <= 0
    }

    fn check(&self) -> Result<()> {
        if self.is_over() { Err(Error::new(ErrorKind::Unavailable, "this process is dead")) } else { Ok(()) }
    }
}

/// An engine whose process dies at its `n`-th commit: before that is written,
/// or `after` it was written and before anybody was told. From then on neither
/// its store nor its queue works.
pub(crate) async fn mortal(world: &World, n: i64, after: bool) -> (DeploymentEngine, Life) {
    let life = Life(Arc::new(AtomicI64::new(n)));
    let left = life.clone();
    let hook = move |touch: Touch<'_>| {
        let counts = match touch {
            Touch::Commit(_) => !after,
            Touch::Committed => after,
            Touch::Call => false,
        };
        if counts {
            left.0.fetch_sub(1, Ordering::SeqCst);
        }
        let alive = left.check();
        Box::pin(async { alive }) as BoxFuture<'static, Result<()>>
    };
    let store = HookedStore::new(&world.store, Arc::new(hook));
    let queue = MortalQueue { inner: world.queue.clone(), life: life.clone() };
    (world.engine_on(Arc::new(store), Arc::new(queue)).await, life)
}

/// The queue of the same process: it dies with the store.
#[derive(Debug)]
struct MortalQueue {
    inner: MemoryQueue,
    life: Life,
}

impl MortalQueue {
    fn alive(&self) -> Result<&MemoryQueue> {
        self.life.check().map(|()| &self.inner)
    }
}

#[async_trait]
impl Queue for MortalQueue {
    async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        self.alive()?.enqueue(job).await
    }
    async fn claim(&self, owner: &OwnerId, most: usize, visibility: Duration) -> Result<Vec<ClaimedJob>> {
        self.alive()?.claim(owner, most, visibility).await
    }
    async fn heartbeat(&self, token: ClaimToken, visibility: Duration) -> Result<Claim> {
        self.alive()?.heartbeat(token, visibility).await
    }
    async fn ack(&self, token: ClaimToken) -> Result<Claim> {
        self.alive()?.ack(token).await
    }
    async fn nack(&self, token: ClaimToken, delay: Duration, counted: bool, reason: &str) -> Result<Claim> {
        self.alive()?.nack(token, delay, counted, reason).await
    }
    async fn reclaim(&self, owner: &OwnerId) -> Result<u64> {
        self.alive()?.reclaim(owner).await
    }
    async fn dead(&self, most: usize) -> Result<Vec<DeadJob>> {
        self.alive()?.dead(most).await
    }
    async fn depth(&self) -> Result<QueueDepth> {
        self.alive()?.depth().await
    }
    async fn wait(&self, longest: Duration) {
        self.inner.wait(longest).await;
    }
}
