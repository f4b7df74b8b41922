//! Backends that keep everything in memory: for tests, for examples and for
//! programs that need nothing to outlive them.

mod analysis;
mod behaviour;
mod build;
mod container;
mod host;
mod prober;
mod queue;
mod router;
mod runtime;
mod source;
mod store;

pub use analysis::MemoryAnalysis;
pub use behaviour::{Behaviour, Health, HookRun};
pub use build::{Build, MemoryBuilder};
pub use container::Held;
pub use host::MemoryHost;
pub use prober::MemoryProber;
pub use queue::MemoryQueue;
pub use router::{MemoryRouter, OpenRequest, Switch};
pub use runtime::{Effect, MemoryRuntime};
pub use source::{MemorySource, Tree};
pub use store::{Backup, MemoryStore};
