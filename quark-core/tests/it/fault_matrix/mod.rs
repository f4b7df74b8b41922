//! The fault matrix: each row is a test.

mod backup;
mod cutover;
mod deaths;
mod health;
mod people;
mod queue;
mod router;
mod runtime;
mod slots;
pub(crate) mod stage;
mod store;
mod time;
