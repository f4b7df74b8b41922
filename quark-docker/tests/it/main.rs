//! Against a real daemon, named by `QUARK_TEST_DOCKER`, and against false ones.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails in a test shall fail the test"
)]

mod building;
mod conformance;
mod faults;
mod hardening;
mod images;
mod running;
mod secrecy;
mod world;
