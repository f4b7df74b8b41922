//! Each case of the store suite finds the faults that it is there for.

mod broken;
mod commits;
mod fault;
mod leaping;
mod projects;
mod reading;
mod room;
mod superseding;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::conformance::store::{StoreFixture, cases};
use quark_core::memory::{MemoryQueue, MemoryStore};
use quark_core::testing::ManualClock;
use quark_core::{Queue, Store};

use self::broken::Broken;
use self::fault::{Fault, faults};
use crate::memory_store::MemoryStoreFixture;

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&MemoryStoreFixture::with_queue()).await, Ok(()), "{name}");
        assert_eq!(case.run(&DurableFixture(MemoryStoreFixture::with_queue())).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture::new(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

/// A suite that fails whatever is wrong would prove nothing: each fault is
/// found by the cases that it concerns, and by no others.
#[tokio::test(start_paused = true)]
async fn each_fault_concerns_few_cases() {
    for fault in cases().iter().flat_map(|case| faults(case.name())) {
        let mut found = Vec::new();
        for case in cases() {
            if case.run(&BrokenFixture::new(*fault)).await.is_err() {
                found.push(case.name());
            }
        }
        assert!(found.len() <= cases().len() / 3, "{fault:?} is found by {found:?}");
    }
}

/// A memory store that is said to be durable: opening it again yields a clone.
struct DurableFixture(MemoryStoreFixture);

#[async_trait]
impl StoreFixture for DurableFixture {
    fn store(&self) -> Arc<dyn Store> {
        self.0.store()
    }

    fn queue(&self) -> Option<Arc<dyn Queue>> {
        self.0.queue()
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by).await;
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        Some(self.0.store())
    }
}

struct BrokenFixture {
    fault: Fault,
    clock: ManualClock,
    queue: MemoryQueue,
    store: Arc<Broken>,
}

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let queue = MemoryQueue::new(Arc::new(clock.clone()));
        let inner = match fault {
            Fault::QueuesNoJobs => MemoryStore::new(Arc::new(clock.clone())),
            _ => MemoryStore::with_queue(Arc::new(clock.clone()), queue.clone()),
        };
        let store = Arc::new(Broken::new(fault, inner, queue.clone()));
        Self { fault, clock, queue, store }
    }
}

#[async_trait]
impl StoreFixture for BrokenFixture {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn queue(&self) -> Option<Arc<dyn Queue>> {
        Some(Arc::new(self.queue.clone()))
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn is_durable(&self) -> bool {
        matches!(self.fault, Fault::LosesEverything | Fault::LosesLogs | Fault::LosesLeases | Fault::ClaimsToBeDurable)
    }

    async fn reopen(&self) -> Option<Arc<dyn Store>> {
        match self.fault {
            Fault::LosesEverything => {
                Some(Arc::new(MemoryStore::with_queue(Arc::new(self.clock.clone()), self.queue.clone())))
            }
            Fault::LosesLogs | Fault::LosesLeases => {
                self.store.close();
                Some(self.store())
            }
            Fault::DeniesToBeDurable => Some(self.store()),
            _ => None,
        }
    }
}
