//! `Hunt`: how long the simulator takes to find a bug that was planted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::report::Report;
use super::run::Simulation;
use super::runner::Runner;
use crate::planted::Bug;

/// What became of the search for a planted bug.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// Seeds that were run until it was found, or in all.
    pub seeds: u64,
    /// The run that found it.
    pub found: Option<Report>,
}

impl Hunt {
    /// Plants a bug and runs seeds from `first` until one of them shows it, at
    /// most `most`.
    #[must_use]
    pub fn run(bug: Bug, first: u64, most: u64, threads: Option<usize>) -> Self {
        let ran = AtomicU64::new(0);
        let mut runner = Runner::new(|seed| Simulation::new(seed).with_planted(bug)).with_stop_after(1);
        if let Some(threads) = threads {
            runner = runner.with_threads(threads);
        }
        let outcome = runner.run(first..first.saturating_add(most), |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        // Several threads may have found it at once: the first seed counts.
        let found = outcome.failures.into_iter().next();
        let seeds = found.as_ref().map_or(ran.load(Ordering::Relaxed), |report| report.seed() - first + 1);
        Self { bug, seeds, found }
    }
}
