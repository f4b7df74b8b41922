//! `HostGauge`: tells what the machine that instances run on has, and how much
//! of it is left.

use async_trait::async_trait;

use crate::Result;

/// What a machine has, and what is left of it at a moment. `None` says that
/// nobody knows: it is neither nothing nor enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "gauges make it")]
pub struct HostCapacity {
    /// CPU time, in thousandths of one processor.
    pub cpu_millis: Option<u64>,
    /// The CPU time that was used or wanted, on average over the last minute or
    /// so, in thousandths of one processor. It may be more than there is.
    pub cpu_load_millis: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory that can be had without taking it from a program, in bytes.
    pub memory_available_bytes: Option<u64>,
    /// The disk on which sources, images and instances lie, in bytes; of several,
    /// the one with the smallest share left.
    pub disk_bytes: Option<u64>,
    /// What is free of that disk for this program, in bytes.
    pub disk_free_bytes: Option<u64>,
    /// How many processes and threads there can be.
    pub pids: Option<u64>,
    /// How many there are.
    pub pids_used: Option<u64>,
}

/// Tells what the machine that instances run on has, and how much of it is left.
///
/// With it the engine refuses what the machine has no room for
/// ([`HostPolicy`](crate::HostPolicy)), before it harms what runs. Without it nothing is ever refused
/// for lack of room.
///
/// # Contract
///
/// - What is told of a part comes with the whole, and is not more than that; only the load may be.
/// - A whole that is told is not 0: what nobody knows is `None`.
/// - The whole stays as it is while the machine does.
/// - Each answer is as of now: what is taken or given back meanwhile is in the next one.
#[async_trait]
pub trait HostGauge: std::fmt::Debug + Send + Sync + 'static {
    /// Looks at the machine. Takes a moment; safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while it cannot be looked at.
    async fn capacity(&self) -> Result<HostCapacity>;
}
