//! `SimClock`: the virtual time, as one process sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::executor::{Executor, ProcessId};
use crate::clock::{Clock, Timestamp};
use crate::platform::Platform;

/// 2023-11-14T22:13:20Z, when every simulated world begins.
const BEGINNING: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// The virtual time, as one machine sees it: the monotonic time is the same
/// for all, the time of day can be wrong.
#[derive(Clone)]
pub struct SimClock {
    executor: Arc<Executor>,
    /// How wrong the time of day is, in microseconds.
    offset: Arc<AtomicI64>,
}

impl SimClock {
    pub(crate) fn new(executor: Arc<Executor>) -> Self {
        Self { executor, offset: Arc::default() }
    }

    /// Sets how wrong the time of day is, in microseconds.
    pub(crate) fn set_offset(&self, micros: i64) {
        self.offset.store(micros, Ordering::Relaxed);
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClock").field("now", &self.now()).finish()
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let right = BEGINNING.after(self.executor.now());
        Timestamp::from_micros(right.as_micros().saturating_add(self.offset.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        self.executor.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.executor.timers().sleep(duration).await;
    }
}

/// A process of the simulated world, as the engine in it sees it.
pub(crate) struct SimPlatform {
    pub(crate) executor: Arc<Executor>,
    pub(crate) process: ProcessId,
    pub(crate) clock: SimClock,
    /// Counts the names that the whole world has given.
    pub(crate) names: Arc<AtomicU64>,
}

impl fmt::Debug for SimPlatform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimPlatform").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Platform for SimPlatform {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.executor.spawn(self.process, task);
    }

    /// Shaped like a UUID of version 7: the time of day, then a count.
    fn unique(&self) -> Uuid {
        let count = self.names.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(self.clock.now().as_micros() / 1000).unwrap_or(0);
        let count = u128::from(count);
        let random = (count >> 48 << 64) | (count & 0xffff_ffff_ffff);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes(random)).into_uuid()
    }
}

/// The last ten bytes of a number, which is how many a UUID has beside its time.
fn bytes(number: u128) -> [u8; 10] {
    let mut bytes = [0; 10];
    for (to, from) in bytes.iter_mut().rev().zip(number.to_le_bytes()) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::Chance;

    #[test]
    fn names_are_unique_and_sort_by_time() {
        let executor = Arc::new(Executor::new(Chance::new(1)));
        let clock = SimClock::new(Arc::clone(&executor));
        let process = ProcessId::WORLD;
        let platform = SimPlatform { executor, process, clock: clock.clone(), names: Arc::default() };
        let (first, second) = (platform.unique(), platform.unique());
        clock.set_offset(5_000);
        let third = platform.unique();
        assert_eq!(first.get_version_num(), 7);
        assert!(first < second && second < third, "{first} {second} {third}");
    }
}
