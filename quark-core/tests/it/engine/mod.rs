//! The engine on the in-memory backends: what it promises, whatever happens.

mod cancel;
mod collect;
mod crash;
mod deadlines;
mod deploy;
mod doubts;
mod events;
mod hooked;
mod hooked_store;
mod idempotency;
mod journal;
mod mend;
mod mortal;
mod poison;
mod ports;
mod push;
mod refusals;
mod retry;
mod rollback;
mod safe_mode;
mod stuck;
mod supersede;
mod unresponsive;
mod world;
