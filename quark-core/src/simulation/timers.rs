//! Who waits for which time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::executor::lock;

/// The virtual time, and who waits for which.
#[derive(Default)]
pub(crate) struct Timers {
    /// Microseconds since the beginning, the precision of every time of day: a
    /// wait for less would be over before a store or queue can tell.
    now: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    sleepers: BTreeMap<Alarm, Waker>,
    next: u64,
}

/// When a sleeper wakes, and its number, which tells it from others.
type Alarm = (u64, u64);

impl Timers {
    pub(crate) fn now(&self) -> Duration {
        Duration::from_micros(self.now.load(Ordering::Relaxed))
    }

    /// Waits. Nobody waits for less than a microsecond, so that a loop of waits
    /// for nothing does not keep the time from passing.
    pub(crate) fn sleep(&self, duration: Duration) -> Sleep<'_> {
        let micros = u64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        Sleep { timers: self, at: self.now.load(Ordering::Relaxed).saturating_add(micros), alarm: None }
    }

    /// Jumps to the next time that somebody waits for; whether there is one.
    pub(crate) fn advance(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        let Some((&(now, _), _)) = waiting.sleepers.first_key_value() else { return false };
        self.now.store(now, Ordering::Relaxed);
        while let Some(entry) = waiting.sleepers.first_entry()
            && entry.key().0 <= now
        {
            entry.remove().wake();
        }
        true
    }
}

/// A wait that ends by itself or when it is dropped.
pub(crate) struct Sleep<'a> {
    timers: &'a Timers,
    at: u64,
    alarm: Option<Alarm>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.timers.now.load(Ordering::Relaxed) >= self.at {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.timers.waiting);
        let alarm = self.alarm.unwrap_or_else(|| {
            waiting.next += 1;
            (self.at, waiting.next)
        });
        match waiting.sleepers.get_mut(&alarm) {
            Some(waker) => waker.clone_from(context.waker()),
            None => drop(waiting.sleepers.insert(alarm, context.waker().clone())),
        }
        drop(waiting);
        self.alarm = Some(alarm);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm {
            lock(&self.timers.waiting).sleepers.remove(&alarm);
        }
    }
}
