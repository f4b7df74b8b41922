//! Tests of the durable stores, against real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy knows the functions of tests, not those that they call"
)]

mod conformance;
mod durability;
mod file;
mod fixture;
mod grouping;
mod jobs;
mod one_thread;
mod records;
mod sharing;
