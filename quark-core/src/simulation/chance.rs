//! `Chance`: numbers that look random and follow from a seed.

use std::time::Duration;

/// Numbers that look random and follow from a seed alone: the same seed yields
/// the same numbers on every machine and in every release, so that a seed that
/// once failed can be kept.
///
/// The generator is xoshiro256** by Blackman and Vigna, filled by SplitMix64.
///
/// ```
/// use quark_core::simulation::Chance;
/// let mut chance = Chance::new(7);
/// assert_eq!(chance.next_u64(), Chance::new(7).next_u64());
/// assert!(chance.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Chance {
    /// Kept for the forks, which must not depend on what was drawn before.
    origin: u64,
    state: [u64; 4],
}

/// One million: the whole, where a part is given in parts per million.
pub(crate) const WHOLE: u32 = 1_000_000;

impl Chance {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut filler = seed;
        let state = [0; 4].map(|_: u64| split_mix(&mut filler));
        Self { origin: seed, state }
    }

    /// Other numbers of the same seed, for one purpose: they do not change when
    /// more or fewer numbers are drawn for another purpose.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Self {
        // FNV-1a: any hash will do as long as it never changes.
        let hash = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut mixed = self.origin ^ hash;
        Self::new(split_mix(&mut mixed))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number below `end`; 0 if there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: no division, and for the small ends that
        // are asked for here its bias cannot be measured.
        let product = u128::from(self.next_u64()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// Whether something happens that happens this often in a million times.
    pub fn happens(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(u64::from(WHOLE)) < u64::from(per_million)
    }

    /// Whether something happens that happens once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A duration up to `longest`, in whole microseconds.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.between(0, micros))
    }

    /// One of these; `None` if there is none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// One of these, each as often as its weight says; `None` if there is none.
    pub fn weighted<T: Copy>(&mut self, from: &[(T, u64)]) -> Option<T> {
        let mut drawn = self.below(from.iter().map(|(_, weight)| weight).sum());
        let mut all = from.iter();
        let found = all.find(|(_, weight)| drawn.checked_sub(*weight).map(|rest| drawn = rest).is_none());
        found.map(|(one, _)| *one)
    }

    /// A place in something of this length.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// A rate in parts per million: none about as often as `none_in_ten` says,
    /// else every order of magnitude from `least` to `most` as often as any other.
    pub(crate) fn rate(&mut self, none_in_ten: u64, least: u32, most: u32) -> u32 {
        if self.below(10) < none_in_ten {
            return 0;
        }
        let mut top = most;
        let mut magnitudes = vec![most];
        while top / 10 >= least.max(1) {
            top /= 10;
            magnitudes.push(top);
        }
        let top = self.pick(&magnitudes).copied().unwrap_or(most);
        u32::try_from(self.between(u64::from(top / 10), u64::from(top))).unwrap_or(top)
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut chance = Chance::new(0);
        let first: Vec<u64> = (0..4).map(|_| chance.next_u64()).collect();
        assert_eq!(
            first,
            [
                11_091_344_671_253_066_420,
                13_793_997_310_169_335_082,
                1_900_383_378_846_508_768,
                7_684_712_102_626_143_532
            ]
        );
    }

    #[test]
    fn forks_do_not_depend_on_what_was_drawn() {
        let mut drawn = Chance::new(3);
        drawn.next_u64();
        assert_eq!(drawn.fork("faults").next_u64(), Chance::new(3).fork("faults").next_u64());
        assert_ne!(drawn.fork("faults").next_u64(), drawn.fork("events").next_u64());
    }

    #[test]
    fn bounds_are_kept() {
        let mut chance = Chance::new(9);
        assert_eq!(chance.below(0), 0);
        assert!((0..1000).all(|_| (3..=5).contains(&chance.between(3, 5))));
        assert!((0..1000).all(|_| chance.rate(3, 100, 100_000) <= 100_000));
        let heads = (0..10_000).filter(|_| chance.happens(WHOLE / 2)).count();
        assert!((4_500..5_500).contains(&heads), "{heads}");
    }
}
