//! What needs several crates or real services.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod contracts;
mod crashes;
mod fault_matrix;
mod layering;
mod readme;
mod refusals;
mod tidy;
mod world;
