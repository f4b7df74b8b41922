//! `Profile`: how often what goes wrong in one run.

use std::time::Duration;

use super::op::{Backend, Fault};
use crate::simulation::chance::Chance;
use crate::simulation::events::Happening;

/// In one of so many seeds the store goes back in time.
const RESTORED: u64 = 25;

/// How often what goes wrong in one run.
///
/// Every seed has a profile of its own, in which some kinds of faults do not
/// occur at all: what goes wrong in a crowd of faults hides what one of them
/// alone would show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Per million calls.
    rates: [u32; Fault::ALL.len()],
    /// Backends that no fault befalls.
    spared: [bool; Backend::COUNT],
    /// Per million seconds.
    happenings: [u32; Happening::ALL.len()],
    /// The longest that an ordinary call travels.
    pub(crate) latency: Duration,
}

impl Profile {
    /// Nothing goes wrong.
    #[must_use]
    pub fn calm() -> Self {
        Self {
            rates: [0; Fault::ALL.len()],
            spared: [false; Backend::COUNT],
            happenings: [0; Happening::ALL.len()],
            latency: Duration::ZERO,
        }
    }

    /// What a seed makes of it.
    pub(crate) fn swarm(chance: &mut Chance) -> Self {
        let mut profile = Self::calm();
        profile.latency = match chance.below(3) {
            0 => Duration::ZERO,
            1 => Duration::from_millis(1),
            _ => Duration::from_millis(chance.between(2, 200)),
        };
        // One seed in twelve shows what is wrong without any fault.
        if chance.one_in(12) {
            // Every other one of them shows that what dies comes back in time.
            if chance.one_in(2) {
                profile.set_happening(Happening::LiveKilled, 30_000);
                profile.set_rate(Fault::Slow, 300_000);
                profile.spared = [true; Backend::COUNT];
                for works in [Backend::Builder, Backend::Source] {
                    profile.set_spared(works, false);
                }
            }
            return profile;
        }
        for fault in Fault::ALL {
            let rate = chance.rate(4, 100, 100_000);
            // A slow or late call takes minutes: few of them fill a run.
            let rate = if matches!(fault, Fault::Slow | Fault::Late) { rate / 10 } else { rate };
            profile.set_rate(fault, rate);
        }
        for spared in &mut profile.spared {
            *spared = chance.below(10) < 3;
        }
        for happening in Happening::ALL {
            let rate = chance.rate(5, 1_000, 100_000);
            if happening.is_usual() {
                profile.set_happening(happening, rate);
            }
        }
        if chance.one_in(RESTORED) {
            profile.set_happening(Happening::StoreRestored, 30_000);
        }
        profile
    }

    /// Sets how often a fault befalls a call that it can befall, per million calls.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault, per_million: u32) -> Self {
        self.set_rate(fault, per_million);
        self
    }

    /// Sets how often something happens to the world, per million seconds.
    #[must_use]
    pub fn with_happening(mut self, happening: Happening, per_million: u32) -> Self {
        self.set_happening(happening, per_million);
        self
    }

    /// Sets the longest that an ordinary call travels.
    #[must_use]
    pub fn with_latency(mut self, longest: Duration) -> Self {
        self.latency = longest;
        self
    }

    /// How often a fault befalls a call that it can befall, per million calls.
    #[must_use]
    pub fn rate(&self, fault: Fault) -> u32 {
        self.rates.get(fault.index()).copied().unwrap_or(0)
    }

    /// How often something happens to the world, per million seconds.
    #[must_use]
    pub fn happening(&self, happening: Happening) -> u32 {
        self.happenings.get(happening.index()).copied().unwrap_or(0)
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.has_no_faults() && self.happenings.iter().all(|rate| *rate == 0)
    }

    pub(crate) fn has_no_faults(&self) -> bool {
        self.rates.iter().all(|rate| *rate == 0)
    }

    pub(crate) fn spares(&self, backend: Backend) -> bool {
        self.spared.get(backend.index()).copied().unwrap_or(false)
    }

    fn set_rate(&mut self, fault: Fault, per_million: u32) {
        if let Some(rate) = self.rates.get_mut(fault.index()) {
            *rate = per_million;
        }
    }

    fn set_spared(&mut self, backend: Backend, spared: bool) {
        if let Some(known) = self.spared.get_mut(backend.index()) {
            *known = spared;
        }
    }

    fn set_happening(&mut self, happening: Happening, per_million: u32) {
        if let Some(rate) = self.happenings.get_mut(happening.index()) {
            *rate = per_million;
        }
    }
}
