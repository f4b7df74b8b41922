//! Backends that keep everything in memory: for tests, for examples and for
//! programs that need nothing to outlive them.

