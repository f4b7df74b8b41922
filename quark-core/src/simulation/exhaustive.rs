//! `Exhaustive`: everything that can go wrong once in a scenario, one after the other.

use std::collections::BTreeMap;
use std::fmt;

use super::faults::{Fault, Script};
use super::report::{Report, Tally};
use super::run::Simulation;
use super::runner::{Outcome, Runner};
use super::scenario::Scenario;

/// A crash is followed by another one after this many polls, in pairs.
const STRIDE: u64 = 7;

/// Everything that can go wrong once in a scenario: the engine is killed at
/// each of its polls, each call meets each fault that it can meet (among them:
/// it arrives twice), and, in a sample, the engine is killed again while it
/// recovers.
#[derive(Clone, Debug)]
pub struct Exhaustive {
    scenario: Scenario,
    scripts: Vec<Script>,
    counts: Counts,
}

/// How many runs of each sort there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs in which the engine is killed once.
    pub crashes: u64,
    /// Runs in which it is killed again while it recovers.
    pub pairs: u64,
    /// Runs in which one call meets one fault.
    pub faults: BTreeMap<Fault, u64>,
}

impl Counts {
    /// Adds the numbers of another scenario.
    pub fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.pairs += other.pairs;
        for (fault, runs) in &other.faults {
            *self.faults.entry(*fault).or_default() += runs;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(f, "{} crashes, {} crashes in a recovery, {faults} faults", self.crashes, self.pairs)
    }
}

impl Exhaustive {
    /// Finds all that can go wrong in a scenario: by a run in which nothing does.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let calm = Simulation::new(0).with_scenario(scenario).keep_calls().run();
        let mut found = Self { scenario, scripts: Vec::new(), counts: Counts::default() };
        let polls = calm.tally().engine_polls;
        for poll in 1..=polls {
            found.scripts.push(Script::new().crash(poll));
            found.counts.crashes += 1;
        }
        for (poll, later) in (1..=polls).step_by(5).zip((1..=polls / 2).cycle().step_by(3)) {
            found.scripts.push(Script::new().crash(poll).crash(poll + 1 + (later * STRIDE) % polls.max(1)));
            found.counts.pairs += 1;
        }
        for (call, op) in (0..).zip(calm.calls()) {
            for fault in op.faults() {
                found.scripts.push(Script::new().fault(call, *fault));
                *found.counts.faults.entry(*fault).or_default() += 1;
            }
        }
        found
    }

    /// How many runs of each sort there are.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether nothing can go wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Runs them all; `seen` is shown each report.
    pub fn run(&self, threads: Option<usize>, seen: impl Fn(&Report) + Sync) -> Outcome {
        let simulation = |number: u64| {
            let script = usize::try_from(number).ok().and_then(|number| self.scripts.get(number));
            Simulation::new(0).with_scenario(self.scenario).with_script(script.cloned().unwrap_or_default())
        };
        let mut runner = Runner::new(simulation);
        if let Some(threads) = threads {
            runner = runner.with_threads(threads);
        }
        runner.run(0..self.scripts.len() as u64, seen)
    }
}

impl Tally {
    /// Whether all runs went well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations == 0
    }
}
