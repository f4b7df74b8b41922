//! `Report`: what became of one run; `Tally`: of many.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::events::Happening;
use super::faults::{Fault, Op, Script};
use super::invariants::Violation;
use super::scenario::Scenario;
use crate::deployment::Conclusion;

/// What became of one run.
#[derive(Clone, Debug)]
pub struct Report {
    pub(crate) seed: u64,
    pub(crate) scenario: Option<Scenario>,
    pub(crate) script: Script,
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: Option<crate::planted::Bug>,
    pub(crate) violation: Option<Violation>,
    pub(crate) hash: [u8; 32],
    pub(crate) trace: Vec<String>,
    pub(crate) calls: Vec<Op>,
    pub(crate) tally: Tally,
}

impl Report {
    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How the run has failed, if it has.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The first sixteen digits of the hash of all that happened, in its order.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(self.hash.get(..8).unwrap_or_default())
    }

    /// The last lines of what happened; all of them if the run was asked to keep them.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// What engines asked of their backends, in order, if the run was asked to
    /// keep it: the places at which a [`Script`](super::Script) can put a fault.
    #[must_use]
    pub fn calls(&self) -> &[Op] {
        &self.calls
    }

    /// The numbers of the run.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The command that runs the same again.
    #[must_use]
    pub fn command(&self) -> String {
        let mut command = format!("cargo run --release --example simulate -- --seeds 1 --first-seed {}", self.seed);
        if let Some(scenario) = self.scenario.filter(|scenario| *scenario != Scenario::Random) {
            command.push_str(&format!(" --scenario {scenario}"));
        }
        command.push_str(&self.script.to_string());
        #[cfg(feature = "planted-bugs")]
        if let Some(bug) = self.planted {
            command.push_str(&format!(" --plant {}", bug.as_str()));
        }
        command
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(violation) = &self.violation else {
            return write!(f, "seed {}: no violation, trace {}", self.seed, self.hash());
        };
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}, trace {}", self.seed, self.hash())?;
        writeln!(f, "violated: {violation}")?;
        write!(f, "again: {} --trace", self.command())
    }
}

/// The numbers of one run or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Runs that failed.
    pub violations: u64,
    /// How often a task was polled.
    pub polls: u64,
    /// How often a task of the first engine was polled, over all its lives.
    pub engine_polls: u64,
    /// Calls of engines to their backends.
    pub calls: u64,
    /// Those that were meant to change the world outside of store and queue.
    pub effects: u64,
    /// The time that passed in the simulated worlds.
    pub virtual_time: Duration,
    /// How often each fault was met.
    pub faults: BTreeMap<Fault, u64>,
    /// How often each thing happened.
    pub happenings: BTreeMap<Happening, u64>,
    /// Deployments that succeeded.
    pub succeeded: u64,
    /// Deployments that failed.
    pub failed: u64,
    /// Deployments that were cancelled.
    pub cancelled: u64,
    /// Deployments that gave way to a newer one.
    pub superseded: u64,
    /// Those that served and were rolled back by the engine.
    pub rolled_back: u64,
}

impl Tally {
    /// Adds the numbers of other runs.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.violations += other.violations;
        self.polls += other.polls;
        self.engine_polls += other.engine_polls;
        self.calls += other.calls;
        self.effects += other.effects;
        self.virtual_time += other.virtual_time;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.superseded += other.superseded;
        self.rolled_back += other.rolled_back;
        for (fault, times) in &other.faults {
            *self.faults.entry(*fault).or_default() += times;
        }
        for (happening, times) in &other.happenings {
            *self.happenings.entry(*happening).or_default() += times;
        }
    }

    /// Faults of all kinds.
    #[must_use]
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(crate) fn count(&mut self, conclusion: Conclusion) {
        match conclusion {
            Conclusion::Succeeded => self.succeeded += 1,
            Conclusion::Failed => self.failed += 1,
            Conclusion::Cancelled => self.cancelled += 1,
            Conclusion::Superseded => self.superseded += 1,
            Conclusion::RolledBack => self.rolled_back += 1,
        }
    }
}
