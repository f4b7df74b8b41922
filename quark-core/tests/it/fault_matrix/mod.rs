//! The fault matrix: each row is a test.

mod deaths;
pub(crate) mod stage;
