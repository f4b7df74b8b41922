//! `TokioClock`: the time of tokio, which jumps when a test pauses it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};

/// A clock whose times are both those of tokio. In a test whose runtime is
/// paused (`#[tokio::test(start_paused = true)]`) it stands still while there
/// is work to do and jumps to the next moment that somebody waits for when
/// there is none: an hour of an engine passes in no time, and nothing is late
/// because the machine is slow.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Timestamp,
    began: Instant,
}

impl TokioClock {
    /// A clock that shows 2023-11-14T22:13:20Z now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Timestamp::from_micros(1_700_000_000_000_000), began: Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.origin.after(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_times_jump_when_nothing_is_left_to_do() {
        let clock = TokioClock::new();
        let (now, hour) = (clock.now(), Duration::from_secs(3600));
        clock.sleep(hour).await;
        assert_eq!(clock.now().since(now), hour);
        assert_eq!(clock.monotonic(), hour);
    }
}
