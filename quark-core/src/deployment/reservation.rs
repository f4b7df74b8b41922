//! What instances may use of their machine together, and how much that may be.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

use crate::app::Resources;
use crate::error::{Error, ErrorKind, Result};

/// What instances may use together: the sum of their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// CPU time in thousandths of one processor.
    pub cpu_millis: u64,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl From<Resources> for Reservation {
    fn from(resources: Resources) -> Self {
        Self {
            cpu_millis: resources.cpu_millis().into(),
            memory_bytes: resources.memory_bytes(),
            pids: resources.pids().into(),
        }
    }
}

impl Add for Reservation {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            pids: self.pids.saturating_add(other.pids),
        }
    }
}

impl Sub for Reservation {
    type Output = Self;

    /// What is left; never less than nothing.
    fn sub(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            pids: self.pids.saturating_sub(other.pids),
        }
    }
}

impl Sum for Reservation {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// How much all instances may use together. `None` where nobody knows: there is
/// no limit then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// CPU time in thousandths of one processor.
    pub cpu_millis: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Room {
    /// Whether there is room for what is reserved `after` a change, if it was
    /// `before` until then. What grows nothing is never refused: how much room
    /// there is may have changed since.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ResourceExhausted`] with the [code](Shortage::code) of what is short.
    pub fn check(&self, before: Reservation, after: Reservation) -> Result<()> {
        let shares = [
            (Shortage::Memory, self.memory_bytes, before.memory_bytes, after.memory_bytes),
            (Shortage::Cpu, self.cpu_millis, before.cpu_millis, after.cpu_millis),
            (Shortage::Pids, self.pids, before.pids, after.pids),
        ];
        for (shortage, most, before, after) in shares {
            if let Some(most) = most.filter(|most| after > before && after > *most) {
                return Err(refusal(shortage, after - before, most.saturating_sub(before), most));
            }
        }
        Ok(())
    }
}

fn refusal(shortage: Shortage, needs: u64, left: u64, most: u64) -> Error {
    let (needs, left, most) = (Amount(shortage, needs), Amount(shortage, left), Amount(shortage, most));
    let text = if left.1 == most.1 {
        format!("it needs {needs}, and all versions of all apps together may use {most:#}")
    } else {
        format!("it needs {needs}, and {left:#} of {most:#} are left")
    };
    Error::new(ErrorKind::ResourceExhausted, text).with_code(shortage.code())
}

/// What a machine is short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shortage {
    /// Memory.
    Memory,
    /// CPU time.
    Cpu,
    /// Room on the disk.
    Disk,
    /// Processes and threads.
    Pids,
}

impl Shortage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Disk, Self::Pids];

    /// Its name in APIs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::Pids => "pids",
        }
    }

    /// The code of the error of whoever is refused because of it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Memory => "no_room_for_memory",
            Self::Cpu => "no_room_for_cpu",
            Self::Disk => "disk_floor",
            Self::Pids => "no_room_for_pids",
        }
    }

    /// What an error of this code is about.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shortage| shortage.code() == code)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// So much of what can be short, as people say it; with `#` without saying of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount(pub(crate) Shortage, pub(crate) u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(shortage, amount) = *self;
        match shortage {
            Shortage::Memory | Shortage::Disk if amount >= 1 << 30 => {
                // Whole tenths, rounded down, without a detour over floating point.
                let tenths = (u128::from(amount) * 10) >> 30;
                write!(f, "{}.{} GiB", tenths / 10, tenths % 10)?;
            }
            Shortage::Memory | Shortage::Disk => write!(f, "{} MiB", amount >> 20)?,
            Shortage::Cpu => {
                let (whole, millis) = (amount / 1000, amount % 1000);
                match millis {
                    0 => write!(f, "{whole}")?,
                    _ => f.write_str(format!("{whole}.{millis:03}").trim_end_matches('0'))?,
                }
            }
            Shortage::Pids => write!(f, "{amount}")?,
        }
        match shortage {
            _ if f.alternate() => Ok(()),
            Shortage::Memory => f.write_str(" of memory"),
            Shortage::Disk => f.write_str(" of disk"),
            Shortage::Cpu => f.write_str(if amount == 1000 { " CPU" } else { " CPUs" }),
            Shortage::Pids => f.write_str(" processes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(mib: u64) -> Reservation {
        Reservation { memory_bytes: mib << 20, ..Reservation::default() }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_figures() {
        let room = Room { memory_bytes: Some(14 << 30), ..Room::default() };
        assert!(room.check(memory(0), memory(14 << 10)).is_ok());
        let error = room.check(memory(11 << 10), memory(19 << 10)).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "no_room_for_memory"));
        assert_eq!(error.message(), "it needs 8.0 GiB of memory, and 3.0 GiB of 14.0 GiB are left");
    }

    #[test]
    fn who_takes_nothing_more_is_not_refused() {
        let room = Room { memory_bytes: Some(1 << 30), ..Room::default() };
        assert!(room.check(memory(4096), memory(4096)).is_ok());
        assert!(room.check(memory(4096), memory(2048)).is_ok());
        assert!(Room::default().check(memory(0), memory(1 << 40)).is_ok());
    }

    #[test]
    fn amounts_are_told_as_people_say_them() {
        let told = [
            (Shortage::Memory, 512 << 20, "512 MiB of memory"),
            (Shortage::Memory, 3 << 29, "1.5 GiB of memory"),
            (Shortage::Cpu, 1000, "1 CPU"),
            (Shortage::Cpu, 2500, "2.5 CPUs"),
            (Shortage::Disk, 20 << 30, "20.0 GiB of disk"),
            (Shortage::Pids, 512, "512 processes"),
        ];
        for (shortage, amount, text) in told {
            assert_eq!(Amount(shortage, amount).to_string(), text);
        }
    }
}
