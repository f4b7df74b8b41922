//! Conformance suites: each backend proves itself against its trait's contract.

mod outcome;
pub mod router;

pub use outcome::CaseResult;
