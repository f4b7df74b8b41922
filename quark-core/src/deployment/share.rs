//! `Share`: how much of an app's requests a version gets that is not live yet.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A share of requests: 1 to 99 of a hundred. All and none need no share: then
/// one slot serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Share(u8);

impl Share {
    /// So many requests of a hundred.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`invalid_share`) unless it is 1 to 99.
    pub fn of_hundred(requests: u8) -> Result<Self> {
        if (1..100).contains(&requests) {
            return Ok(Self(requests));
        }
        Err(Error::invalid("share", "invalid_share", "a share is 1 to 99 of a hundred requests"))
    }

    /// How many requests of a hundred.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }

    /// Whether request number `number`, counted from 0, is one of the share. Of
    /// each hundred requests in a row exactly so many are, spread over all of
    /// them. For routers that count.
    #[must_use]
    pub fn takes(self, number: u64) -> bool {
        // 61 and 100 have no divisor in common, so each hundred has each rest
        // once; and 61 is near the golden section of 100, so that they are spread.
        (number % 100) * 61 % 100 < u64::from(self.0)
    }
}

impl TryFrom<u8> for Share {
    type Error = Error;

    fn try_from(requests: u8) -> Result<Self> {
        Self::of_hundred(requests)
    }
}

impl From<Share> for u8 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_and_none_are_no_shares() {
        assert!([0, 100, 255].into_iter().all(|requests| Share::of_hundred(requests).is_err()));
        assert!(serde_json::from_str::<Share>("0").is_err());
        assert_eq!(serde_json::from_str::<Share>("5").unwrap(), Share::of_hundred(5).unwrap());
    }

    #[test]
    fn of_each_hundred_so_many_are_taken_and_they_are_spread() {
        for percent in 1..100 {
            let share = Share::of_hundred(percent).unwrap();
            let taken: Vec<u64> = (0..200).filter(|number| share.takes(*number)).collect();
            assert_eq!(taken.iter().filter(|number| **number < 100).count(), usize::from(percent));
            assert_eq!(taken.len(), 2 * usize::from(percent));
            // No stretch of twice its even distance goes without one.
            let most = 2 * 100_u64.div_ceil(u64::from(percent)) + 1;
            assert!(taken.windows(2).all(|pair| pair[1] - pair[0] <= most), "{percent}: {taken:?}");
        }
    }
}
