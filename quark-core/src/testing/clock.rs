//! `ManualClock`: time that passes when a test says so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};

/// A clock that stands still until it is advanced. Clones show the same time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// use quark_core::{Clock, testing::ManualClock};
/// let clock = ManualClock::new();
/// let sleeper = tokio::spawn({
///     let clock = clock.clone();
///     async move { clock.sleep(Duration::from_secs(3600)).await }
/// });
/// clock.sleepers(1).await;
/// clock.advance(Duration::from_secs(3600));
/// sleeper.await.unwrap();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    origin: Timestamp,
    /// The monotonic time. A watch wakes whoever waits for a later one.
    elapsed: Arc<watch::Sender<Duration>>,
    sleeping: Arc<watch::Sender<usize>>,
}

impl ManualClock {
    /// A clock that stands at 2023-11-14T22:13:20Z.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_micros(1_700_000_000_000_000))
    }

    /// A clock that stands at `origin`.
    #[must_use]
    pub fn starting_at(origin: Timestamp) -> Self {
        Self { origin, elapsed: Arc::new(watch::Sender::default()), sleeping: Arc::new(watch::Sender::default()) }
    }

    /// Lets `by` pass and wakes the sleepers whose time has come.
    pub fn advance(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed = elapsed.saturating_add(by));
    }

    /// Waits until at least `count` tasks sleep, so that a test knows that they
    /// have come that far before it lets time pass.
    pub async fn sleepers(&self, count: usize) {
        // It fails only when the sender is gone, and this clock has it.
        let _ = self.sleeping.subscribe().wait_for(|sleeping| *sleeping >= count).await;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.origin.after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut elapsed = self.elapsed.subscribe();
        let until = elapsed.borrow().saturating_add(duration);
        let _sleeping = Sleeping::count(&self.sleeping);
        // It fails only when the sender is gone, and this clock has it.
        let _ = elapsed.wait_for(|elapsed| *elapsed >= until).await;
    }
}

/// Counts a sleeper until its sleep ends or is dropped.
struct Sleeping<'a>(&'a watch::Sender<usize>);

impl<'a> Sleeping<'a> {
    fn count(sleeping: &'a watch::Sender<usize>) -> Self {
        sleeping.send_modify(|count| *count += 1);
        Self(sleeping)
    }
}

impl Drop for Sleeping<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_times_move_together_and_only_when_told() {
        let clock = ManualClock::new();
        let (now, monotonic) = (clock.now(), clock.monotonic());
        tokio::task::yield_now().await;
        assert_eq!((clock.now(), clock.monotonic()), (now, monotonic));
        clock.clone().advance(Duration::from_millis(1500));
        assert_eq!(clock.now().since(now), Duration::from_millis(1500));
        assert_eq!(clock.monotonic() - monotonic, Duration::from_millis(1500));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::new();
        let early = sleeper_for(&clock, 10);
        let late = sleeper_for(&clock, 20);
        clock.sleepers(2).await;
        clock.advance(Duration::from_secs(10));
        early.await.unwrap();
        assert!(!late.is_finished());
        clock.advance(Duration::from_secs(10));
        late.await.unwrap();
    }

    #[tokio::test]
    async fn a_sleep_that_was_dropped_is_not_counted() {
        let clock = ManualClock::new();
        let sleeper = sleeper_for(&clock, 10);
        clock.sleepers(1).await;
        sleeper.abort();
        assert!(sleeper.await.unwrap_err().is_cancelled());
        assert_eq!(*clock.sleeping.borrow(), 0);
    }

    fn sleeper_for(clock: &ManualClock, seconds: u64) -> tokio::task::JoinHandle<()> {
        let clock = clock.clone();
        tokio::spawn(async move { clock.sleep(Duration::from_secs(seconds)).await })
    }
}
