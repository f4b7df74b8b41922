//! Conformance suites: each backend proves itself against its trait's contract.
