//! Conformance suites: each backend proves itself against its trait's contract.

pub mod container_runtime;
mod outcome;
pub mod router;

pub use outcome::CaseResult;
