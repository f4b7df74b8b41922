//! The memory store and queue keep their contracts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{JobKind, NewJob, Priority};
use quark_core::conformance::queue::QueueFixture;
use quark_core::conformance::store::StoreFixture;
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::testing::ManualClock;
use quark_core::{Clock, DeploymentId, OwnerId, Queue, Store, Timestamp};

mod store {
    quark_core::store_conformance!(async { super::MemoryStoreFixture::with_queue() });
}

mod store_without_queue {
    quark_core::store_conformance!(async { super::MemoryStoreFixture::without_queue() });
}

mod queue {
    quark_core::queue_conformance!(async { super::MemoryQueueFixture::new() });
}

#[tokio::test]
async fn wait_ends_when_time_makes_a_job_ready() {
    let MemoryQueueFixture { clock, queue } = MemoryQueueFixture::new();
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let app = quark_core::AppName::parse("shop").unwrap();
    let later = clock.now().after(minute);
    let job = NewJob::new(JobKind::Deploy, DeploymentId::generate(), app, Priority::DEPLOY, later);
    queue.enqueue(job).await.unwrap();
    let wait = || {
        let queue = queue.clone();
        tokio::spawn(async move { queue.wait(hour).await })
    };
    let delayed = wait();
    clock.sleepers(1).await;
    clock.advance(minute);
    delayed.await.unwrap();

    let owner = OwnerId::unique();
    assert_eq!(queue.claim(&owner, 1, minute).await.unwrap().len(), 1);
    let claimed = wait();
    clock.sleepers(1).await;
    clock.advance(minute);
    claimed.await.unwrap();
    assert_eq!(queue.claim(&owner, 1, minute).await.unwrap().len(), 1);

    let nothing = wait();
    clock.sleepers(1).await;
    clock.advance(hour);
    nothing.await.unwrap();
}

/// A memory store, with a queue that shares its lock or with none.
pub(crate) struct MemoryStoreFixture {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryStore,
    pub(crate) queue: Option<MemoryQueue>,
}

impl MemoryStoreFixture {
    pub(crate) fn with_queue() -> Self {
        let clock = ManualClock::new();
        let queue = MemoryQueue::new(Arc::new(clock.clone()));
        let store = MemoryStore::with_queue(Arc::new(clock.clone()), queue.clone());
        Self { clock, store, queue: Some(queue) }
    }

    fn without_queue() -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::new(Arc::new(clock.clone()));
        Self { clock, store, queue: None }
    }
}

#[async_trait]
impl StoreFixture for MemoryStoreFixture {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn queue(&self) -> Option<Arc<dyn Queue>> {
        self.queue.clone().map(|queue| Arc::new(queue) as Arc<dyn Queue>)
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn is_durable(&self) -> bool {
        false
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// A memory queue with a clock that is moved by hand.
pub(crate) struct MemoryQueueFixture {
    pub(crate) clock: ManualClock,
    pub(crate) queue: MemoryQueue,
}

impl MemoryQueueFixture {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new();
        let queue = MemoryQueue::new(Arc::new(clock.clone()));
        Self { clock, queue }
    }
}

#[async_trait]
impl QueueFixture for MemoryQueueFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
