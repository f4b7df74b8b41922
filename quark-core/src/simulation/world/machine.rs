//! The machine on which instances run, where there is little room on it.

use super::World;
use crate::app::Resources;
use crate::backend::HostCapacity;

/// CPU time of the machine, in thousandths of a processor.
const CPU_MILLIS: u64 = 8000;

/// A machine that has room for so many instances of the usual size, by memory.
pub(super) fn with_room_for(instances: u64) -> HostCapacity {
    let memory = room(instances);
    HostCapacity {
        cpu_millis: Some(CPU_MILLIS),
        cpu_load_millis: Some(0),
        // 875 of 1000, as is usual, are what may be reserved.
        memory_bytes: Some((memory * 8).div_ceil(7)),
        ..HostCapacity::default()
    }
}

/// The memory that all instances of a machine may use together, in bytes.
pub(super) fn room(instances: u64) -> u64 {
    instances * Resources::default().memory_bytes()
}

impl World {
    /// Whether there is little room on the machine.
    pub(crate) fn is_tight(&self) -> bool {
        self.inner.furniture.room.is_some()
    }

    /// Lets the machine be busy with something else, or not any more.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.tell(format_args!("the machine is {}", if busy { "busy" } else { "idle" }));
        self.inner.memory.host.change(|host| host.cpu_load_millis = Some(if busy { CPU_MILLIS } else { 0 }));
    }
}
