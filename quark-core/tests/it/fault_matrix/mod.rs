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
mod store;
mod time;
pub(crate) mod stage;
