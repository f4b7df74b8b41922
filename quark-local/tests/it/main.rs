//! The tests of this crate, in one program.

mod building;
mod conformance;
mod crashes;
mod output;
mod processes;
mod proxy;
mod sources;
mod stage;
