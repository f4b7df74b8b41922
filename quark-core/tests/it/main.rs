//! What quark-core promises, tried from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod analysis_suite_bites;
mod builder_suite_bites;
mod conformance_git;
mod conformance_memory;
mod engine;
mod fault_matrix;
mod fetcher_suite_bites;
mod host_suite_bites;
mod memory_fixtures;
mod memory_sources;
mod memory_store;
mod metrics_suite_bites;
mod peer_bugs;
mod queue_suite_bites;
mod router_suite_bites;
mod runtime_suite_bites;
mod simulation;
mod store_suite_bites;
