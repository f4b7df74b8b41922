//! Running programs: never through a shell, with a rebuilt environment, in a
//! process group of their own, with bounded output and a bounded end.
//!
//! [`Program`] runs something to its end. [`find`](fn@find) and [`ProcessRef`]
//! deal with processes that outlive the engine: they are known by process id
//! and start time together, because a process id alone is used again.
//! [`LinuxHost`] tells what the machine has left for them.

mod host;
mod program;
mod table;

pub use host::LinuxHost;
pub use program::{Finished, Program};
pub use table::{ProcessRef, ProcessState, Signal, find};
