//! What the requests to an address have come to, second by second.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quark_core::backend::Traffic;
use quark_core::backend::analysis_source::PATIENCE;
use tokio::time::Instant;

use super::upstream::Upstream;

/// Seconds that are kept, at most; what is before is forgotten. An address
/// without requests keeps nothing.
const KEPT: u64 = 900;

/// Answers are told apart by how long they took, in steps of a quarter.
const STEPS: usize = 56;
const SHORTEST: Duration = Duration::from_micros(250);
const STEP: f64 = 1.25;

/// The longest that counts as each step.
static LIMITS: LazyLock<[Duration; STEPS]> = LazyLock::new(|| {
    let mut limit = SHORTEST;
    std::array::from_fn(|_| {
        let longer = limit.mul_f64(STEP);
        std::mem::replace(&mut limit, longer)
    })
});

/// What the requests to one address have come to. Where it is written, a lock
/// is held for a few additions.
#[derive(Debug)]
pub(super) struct TrafficLog {
    began: Instant,
    seconds: Mutex<VecDeque<Second>>,
}

/// The requests that ended in one second.
#[derive(Debug)]
struct Second {
    number: u64,
    failed: u32,
    unanswered: u32,
    /// Answers by how long they took.
    took: [u32; STEPS],
}

impl TrafficLog {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), seconds: Mutex::default() }
    }

    /// A request was answered with this status after so long.
    pub(super) fn answered(&self, status: u16, took: Duration) {
        self.note(|second| {
            second.failed += u32::from((500..600).contains(&status));
            if let Some(count) = second.took.get_mut(step(took)) {
                *count += 1;
            }
        });
    }

    /// A request was not answered.
    pub(super) fn failed(&self) {
        self.note(|second| {
            second.failed += 1;
            second.unanswered += 1;
        });
    }

    /// What the requests that ended in the last `window` have come to.
    pub(super) fn recent(&self, window: Duration) -> Traffic {
        let first = self.began.elapsed().saturating_sub(window).as_secs();
        let seconds = self.seconds();
        let (mut traffic, mut took) = (Traffic::default(), [0_u64; STEPS]);
        for second in seconds.iter().rev().take_while(|second| second.number >= first) {
            traffic.failed += u64::from(second.failed);
            traffic.requests += u64::from(second.unanswered);
            for (sum, count) in took.iter_mut().zip(second.took) {
                *sum += u64::from(count);
            }
        }
        let answered: u64 = took.iter().sum();
        traffic.requests += answered;
        traffic.p95 = (answered > 0).then(|| most(&took, (answered * 95).div_ceil(100)));
        traffic
    }

    fn note(&self, note: impl FnOnce(&mut Second)) {
        let number = self.began.elapsed().as_secs();
        let mut seconds = self.seconds();
        if seconds.back().is_none_or(|last| last.number < number) {
            while seconds.front().is_some_and(|first| first.number + KEPT <= number) {
                seconds.pop_front();
            }
            seconds.push_back(Second { number, failed: 0, unanswered: 0, took: [0; STEPS] });
        }
        if let Some(second) = seconds.back_mut() {
            note(second);
        }
    }

    fn seconds(&self) -> MutexGuard<'_, VecDeque<Second>> {
        // Nothing in between can panic.
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that was not answered yet. Where its client goes away without an
/// answer, after it was patient, it has failed.
#[derive(Debug)]
pub(super) struct Unanswered {
    sent_to: Arc<Upstream>,
    began: Instant,
    is_over: bool,
}

impl Unanswered {
    pub(super) fn new(sent_to: &Arc<Upstream>) -> Self {
        Self { sent_to: Arc::clone(sent_to), began: Instant::now(), is_over: false }
    }

    /// Nobody answers it.
    pub(super) fn fail(mut self) {
        self.is_over = true;
        self.sent_to.traffic.failed();
    }

    /// Somebody has answered it, perhaps another one.
    pub(super) fn answered_by(mut self, upstream: &Upstream, status: u16) {
        self.is_over = true;
        upstream.traffic.answered(status, self.began.elapsed());
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.is_over && self.began.elapsed() >= PATIENCE {
            self.sent_to.traffic.failed();
        }
    }
}

/// The first step that is not below `took`.
fn step(took: Duration) -> usize {
    LIMITS.partition_point(|limit| *limit < took).min(STEPS - 1)
}

/// The limit that so many answers kept.
fn most(took: &[u64; STEPS], mut wanted: u64) -> Duration {
    let mut longest = Duration::ZERO;
    for (limit, count) in LIMITS.iter().zip(took) {
        longest = *limit;
        match wanted.checked_sub(*count) {
            None | Some(0) => break,
            Some(left) => wanted = left,
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_at_most_a_quarter_above_what_was() {
        for millis in [1, 3, 10, 47, 100, 333, 1000, 9_999, 40_000] {
            let took = Duration::from_millis(millis);
            let told = LIMITS[step(took)];
            assert!(told >= took && told <= took.mul_f64(1.2501), "{took:?} {told:?}");
        }
        assert_eq!(step(Duration::ZERO), 0);
        assert_eq!(step(Duration::from_secs(3600)), STEPS - 1);
    }

    #[test]
    fn of_a_hundred_answers_five_may_take_longer() {
        let mut took = [0; STEPS];
        took[3] = 95;
        took[50] = 5;
        assert_eq!(most(&took, 95), LIMITS[3]);
        took[3] = 94;
        assert_eq!(most(&took, 95), LIMITS[50]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_after_a_while_was_not_served() {
        let place = ("shop".parse().unwrap(), quark_core::Slot::Blue, quark_core::Endpoint::new("127.0.0.1:1"));
        let upstream = Arc::new(Upstream::new(place.0, place.1, place.2, "127.0.0.1:1".parse().unwrap()));
        for (waited, failed) in [(PATIENCE / 2, 0), (PATIENCE, 1)] {
            let unanswered = Unanswered::new(&upstream);
            tokio::time::advance(waited).await;
            drop(unanswered);
            assert_eq!(upstream.traffic.recent(Duration::from_secs(60)).failed, failed, "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_old_is_forgotten() {
        let log = TrafficLog::new();
        for _ in 0..2 * KEPT {
            log.answered(200, SHORTEST);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let all = log.recent(Duration::from_secs(1_000_000)).requests;
        assert_eq!((all, log.seconds().len() as u64), (KEPT, KEPT));
        assert_eq!(log.recent(Duration::from_secs(9)).requests, 9);
    }
}
