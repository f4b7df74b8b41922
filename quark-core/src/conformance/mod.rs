//! Conformance suites: each backend proves itself against its trait's contract.

pub mod analysis_source;
mod case;
pub mod container_runtime;
mod crowd;
pub mod host_gauge;
pub mod image_builder;
pub mod metrics_sink;
mod outcome;
pub mod queue;
pub mod router;
pub mod source_fetcher;
pub mod store;

pub use case::Case;
pub use outcome::CaseResult;
