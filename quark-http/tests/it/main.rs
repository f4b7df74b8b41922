//! The API as a client sees it, over an engine without a world.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in what its cases share"
)]

mod answers;
mod approvals;
mod bake;
mod canary;
mod hooks;
mod liveness;
mod plans;
mod projects;
mod refusals;
mod safe_mode;
mod streams;
mod stuck;
mod wishes;
mod world;
