//! What quark-core promises, tried from outside.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod conformance_memory;
mod memory_fixtures;
mod engine;
mod router_suite_bites;
mod runtime_suite_bites;
mod memory_store;
mod builder_suite_bites;
mod fetcher_suite_bites;
mod memory_sources;
mod store_suite_bites;
mod conformance_git;
mod queue_suite_bites;
