//! The API as a client sees it, over an engine without a world.

mod answers;
mod refusals;
mod streams;
mod world;
