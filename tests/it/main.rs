//! What needs several crates or real services.

mod crashes;
mod refusals;
mod world;
