//! What an app may use of its machine.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Limits of one container. Defaults: 1 CPU, 512 MiB, 512 processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawResources", into = "RawResources")]
pub struct Resources {
    cpu_millis: u32,
    memory_bytes: u64,
    pids: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResources {
    cpu_millis: u32,
    memory_bytes: u64,
    pids: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpu_millis: 1000, memory_bytes: 512 << 20, pids: 512 }
    }
}

impl Resources {
    /// Limits in thousandths of a CPU, bytes and processes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`invalid_limit`) outside 10 to 256,000
    /// thousandths, 8 MiB to 4 TiB, or 4 to 100,000 processes.
    pub fn new(cpu_millis: u32, memory_bytes: u64, pids: u32) -> Result<Self> {
        let refuse = |field: &'static str, range: &str| {
            Err(Error::invalid(field, "invalid_limit", format!("the limit must be {range}")))
        };
        if !(10..=256_000).contains(&cpu_millis) {
            return refuse("app.resources.cpu_millis", "10 to 256000 thousandths of a CPU");
        }
        if !((8 << 20)..=(4 << 40)).contains(&memory_bytes) {
            return refuse("app.resources.memory_bytes", "8 MiB to 4 TiB, in bytes");
        }
        if !(4..=100_000).contains(&pids) {
            return refuse("app.resources.pids", "4 to 100000 processes");
        }
        Ok(Self { cpu_millis, memory_bytes, pids })
    }

    /// CPU time in thousandths of one processor.
    #[must_use]
    pub fn cpu_millis(self) -> u32 {
        self.cpu_millis
    }

    /// Memory in bytes.
    #[must_use]
    pub fn memory_bytes(self) -> u64 {
        self.memory_bytes
    }

    /// Processes and threads at once.
    #[must_use]
    pub fn pids(self) -> u32 {
        self.pids
    }
}

impl TryFrom<RawResources> for Resources {
    type Error = Error;

    fn try_from(raw: RawResources) -> Result<Self> {
        Self::new(raw.cpu_millis, raw.memory_bytes, raw.pids)
    }
}

impl From<Resources> for RawResources {
    fn from(r: Resources) -> Self {
        Self { cpu_millis: r.cpu_millis, memory_bytes: r.memory_bytes, pids: r.pids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_absurd_limits() {
        for (cpu, memory, pids, field) in [
            (0, 1 << 30, 64, "app.resources.cpu_millis"),
            (1000, 0, 64, "app.resources.memory_bytes"),
            (1000, u64::MAX, 64, "app.resources.memory_bytes"),
            (1000, 1 << 30, 0, "app.resources.pids"),
        ] {
            let error = Resources::new(cpu, memory, pids).unwrap_err();
            assert_eq!((error.code(), error.field()), ("invalid_limit", Some(field)));
        }
    }
}
