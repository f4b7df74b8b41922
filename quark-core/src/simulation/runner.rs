//! `Runner`: many seeds on many threads.

use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::report::{Report, Tally};
use super::run::Simulation;

/// Runs many seeds on many threads.
///
/// ```
/// use quark_core::simulation::{Runner, Simulation};
/// let outcome = Runner::new(Simulation::new).run(0..8, |_| {});
/// assert_eq!(outcome.tally.runs, 8);
/// ```
pub struct Runner<F> {
    simulation: F,
    threads: usize,
    stop_after: u64,
}

/// What became of many runs.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The numbers of all of them.
    pub tally: Tally,
    /// Those that failed, by seed.
    pub failures: Vec<Report>,
}

impl<F> fmt::Debug for Runner<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<F: Fn(u64) -> Simulation + Sync> Runner<F> {
    /// A runner of what `simulation` makes of each seed, on all processors.
    pub fn new(simulation: F) -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { simulation, threads, stop_after: u64::MAX }
    }

    /// On that many threads.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Begins no further run once that many have failed.
    #[must_use]
    pub fn with_stop_after(mut self, failures: u64) -> Self {
        self.stop_after = failures.max(1);
        self
    }

    /// Runs all seeds; `seen` is shown each report.
    pub fn run(&self, seeds: Range<u64>, seen: impl Fn(&Report) + Sync) -> Outcome {
        let next = AtomicU64::new(seeds.start);
        let enough = AtomicBool::new(false);
        let outcome = Mutex::new(Outcome::default());
        let work = || {
            while !enough.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let report = (self.simulation)(seed).run();
                seen(&report);
                // A thread that panicked has added nothing by halves.
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.tally.add(report.tally());
                if report.violation().is_some() {
                    outcome.failures.push(report);
                    enough.store(outcome.tally.violations >= self.stop_after, Ordering::Relaxed);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(work);
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.failures.sort_by_key(Report::seed);
        outcome
    }
}
