//! What can go wrong between an engine and its backends.

mod analysis;
mod answers;
mod builder;
mod gate;
mod host;
mod op;
mod plan;
mod prober;
mod profile;
mod queue;
mod router;
mod runtime;
mod source;
mod store;
mod workspace;

pub use op::{Fault, Op};
pub use plan::Script;
pub use profile::Profile;

pub(crate) use analysis::FaultyAnalysis;
pub(crate) use answers::Answers;
pub(crate) use builder::FaultyBuilder;
pub(crate) use gate::Gate;
pub(crate) use host::FaultyHost;
pub(crate) use op::Backend;
pub(crate) use plan::Faults;
pub(crate) use prober::FaultyProber;
pub(crate) use queue::FaultyQueue;
pub(crate) use router::FaultyRouter;
pub(crate) use runtime::FaultyRuntime;
pub(crate) use source::FaultySource;
pub(crate) use store::FaultyStore;
pub(crate) use workspace::{FaultyWorkspace, SimWorkspace};
