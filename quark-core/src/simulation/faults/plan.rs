//! Which call meets which fault.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::op::{Backend, Fault, Op};
use super::profile::Profile;
use crate::simulation::chance::Chance;

/// The longest that a slow call takes, and that a late effect comes late.
const SLOWEST: Duration = Duration::from_secs(120);
/// The longest between the two arrivals of a call that arrives twice.
const APART: Duration = Duration::from_secs(5);

/// Faults at certain calls, for runs that try one after the other.
///
/// The calls of engines to their backends are counted from 0; see
/// [`Report::calls`](crate::simulation::Report::calls) for what each was in a
/// run without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    pub(crate) faults: BTreeMap<u64, Fault>,
    pub(crate) crashes: Vec<u64>,
}

impl Script {
    /// Nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets call number `call` meet a fault.
    #[must_use]
    pub fn fault(mut self, call: u64, fault: Fault) -> Self {
        self.faults.insert(call, fault);
        self
    }

    /// Kills the first engine when it has been polled that often, counted over
    /// all its lives; it is started again a moment later.
    #[must_use]
    pub fn crash(mut self, polls: u64) -> Self {
        self.crashes.push(polls);
        self.crashes.sort_unstable();
        self
    }
}

/// As options of the command line.
impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for poll in &self.crashes {
            write!(f, " --crash-at {poll}")?;
        }
        for (call, fault) in &self.faults {
            write!(f, " --meet {call}={fault}")?;
        }
        Ok(())
    }
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) fault: Option<Fault>,
    /// Whether the fault is that the whole backend is away.
    pub(crate) away: bool,
    /// How long the call travels.
    pub(crate) lag: Duration,
    /// How slow a slow call is, how late a late one.
    pub(crate) delay: Duration,
}

/// Decides what becomes of each call, and counts.
#[derive(Debug)]
pub(crate) struct Faults {
    pub(crate) profile: Profile,
    pub(crate) script: Script,
    /// Whether anything may go wrong now.
    pub(crate) on: bool,
    chance: Chance,
    /// Until when each backend is away.
    away: [Duration; Backend::COUNT],
    /// How many further writes find the disk full.
    full: u64,
    /// How many further routes are refused as wrong.
    refusals: u64,
    /// Until when something went wrong for the last time.
    pub(crate) troubled: Duration,
    /// The calls so far.
    pub(crate) calls: Vec<Op>,
    pub(crate) count: u64,
    keep_calls: bool,
    /// How often each fault was met.
    pub(crate) met: [u64; Fault::ALL.len()],
}

impl Faults {
    pub(crate) fn new(profile: Profile, script: Script, keep_calls: bool, chance: Chance) -> Self {
        Self {
            profile,
            script,
            on: true,
            chance,
            away: [Duration::ZERO; Backend::COUNT],
            full: 0,
            refusals: 0,
            troubled: Duration::ZERO,
            calls: Vec::new(),
            count: 0,
            keep_calls,
            met: [0; Fault::ALL.len()],
        }
    }

    /// What becomes of a call that is made now.
    pub(crate) fn decide(&mut self, op: Op, now: Duration) -> Verdict {
        let number = self.count;
        self.count += 1;
        if self.keep_calls {
            self.calls.push(op);
        }
        let longest = self.profile.latency;
        let lag = if longest.is_zero() || !self.on { Duration::ZERO } else { self.chance.up_to(longest) };
        let mut verdict = Verdict { fault: None, away: false, lag, delay: Duration::ZERO };
        if !self.on {
            return verdict;
        }
        if self.away.get(op.backend().index()).is_some_and(|until| *until > now)
            && op.faults().contains(&Fault::Refused)
        {
            verdict.away = true;
            verdict.fault = Some(Fault::Refused);
        } else {
            verdict.fault = self.script.faults.get(&number).copied().or_else(|| self.draw(op));
        }
        if let Some(fault) = verdict.fault {
            verdict.delay = self.chance.up_to(if fault == Fault::Twice { APART } else { SLOWEST });
            let is_work = matches!(op.backend(), Backend::Builder | Backend::Source);
            if fault != Fault::Slow || !is_work {
                self.trouble(now + verdict.delay);
            }
            if let Some(met) = self.met.get_mut(fault.index()) {
                *met += 1;
            }
        }
        verdict
    }

    /// Whether an old answer may be given some time.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.profile.rate(Fault::Stale) > 0 || self.script.faults.values().any(|fault| *fault == Fault::Stale)
    }

    /// Whether a route that is otherwise good is refused now.
    pub(crate) fn refuses_route(&mut self) -> bool {
        let refuses = self.on && self.refusals > 0;
        self.refusals -= u64::from(refuses);
        refuses
    }

    fn draw(&mut self, op: Op) -> Option<Fault> {
        let faults = op.faults();
        if self.full > 0 && faults.contains(&Fault::NoSpace) {
            self.full -= 1;
            return Some(Fault::NoSpace);
        }
        if self.profile.has_no_faults() || self.profile.spares(op.backend()) {
            return None;
        }
        let mut drawn = u32::try_from(self.chance.below(1_000_000)).unwrap_or(u32::MAX);
        for fault in faults {
            let rate = self.profile.rate(*fault);
            if drawn < rate {
                return Some(*fault);
            }
            drawn -= rate;
        }
        None
    }

    /// Notes that something goes wrong until this time.
    pub(crate) fn trouble(&mut self, until: Duration) {
        self.troubled = self.troubled.max(until);
    }

    /// Lets a backend be away until this time.
    pub(crate) fn take_away(&mut self, backend: Backend, until: Duration) {
        self.trouble(until);
        if let Some(away) = self.away.get_mut(backend.index()) {
            *away = until;
        }
    }

    /// Lets that many further writes find the disk full.
    pub(crate) fn fill_disk(&mut self, writes: u64) {
        self.full = writes;
    }

    /// Lets that many further routes be refused as wrong.
    pub(crate) fn refuse_routes(&mut self, routes: u64) {
        self.refusals = routes;
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.on = false;
        self.away = [Duration::ZERO; Backend::COUNT];
        self.full = 0;
        self.refusals = 0;
    }
}
