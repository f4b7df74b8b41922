//! Each case of the queue suite finds the faults that it is there for.

mod broken;
mod fault;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::conformance::queue::{QueueFixture, cases};
use quark_core::memory::MemoryQueue;
use quark_core::testing::ManualClock;
use quark_core::{Clock, Queue, Timestamp};

use self::broken::Broken;
use self::fault::{Fault, faults};
use crate::memory_store::MemoryQueueFixture;

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&MemoryQueueFixture::new()).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture::new(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

/// A suite that fails whatever is wrong would prove nothing: each fault is
/// found by the cases that it concerns, and by few others.
#[tokio::test(start_paused = true)]
async fn each_fault_concerns_few_cases() {
    for fault in cases().iter().flat_map(|case| faults(case.name())) {
        let mut found = Vec::new();
        for case in cases() {
            if case.run(&BrokenFixture::new(*fault)).await.is_err() {
                found.push(case.name());
            }
        }
        assert!(found.len() <= cases().len() / 2, "{fault:?} is found by {found:?}");
    }
}

struct BrokenFixture {
    clock: ManualClock,
    queue: Arc<Broken>,
}

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        let clock = ManualClock::new();
        let inner = MemoryQueue::new(Arc::new(clock.clone()));
        let queue = Arc::new(Broken::new(fault, inner, clock.clone()));
        Self { clock, queue }
    }
}

#[async_trait]
impl QueueFixture for BrokenFixture {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue) as Arc<dyn Queue>
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}
