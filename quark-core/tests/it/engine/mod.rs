//! The engine on the in-memory backends: what it promises, whatever happens.

mod crash;
mod deploy;
mod doubts;
mod events;
mod refusals;
mod rollback;
mod world;
