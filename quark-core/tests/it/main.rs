//! x

mod conformance_memory;
mod memory_fixtures;
