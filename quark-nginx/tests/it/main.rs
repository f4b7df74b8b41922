//! `NginxRouter` against a real nginx, one private instance for each test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "clippy knows the functions of tests, not those that they call"
)]

mod conformance;
mod crashes;
mod foreign;
mod load;
mod proxying;
mod refusals;
mod routes;
mod support;
