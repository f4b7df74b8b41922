//! Durable stores and queues for QUARK.
//!
//! | feature | what it brings |
//! |---|---|
//! | `sqlite` (default) | [`SqliteStore`] and [`SqliteQueue`]: one file, one machine, nothing to set up |
//!
//! All tables have the prefix `quark_`, and the list of applied migrations is
//! called `_quark_migrations`, so that a host application may keep tables of its
//! own beside them.

#[cfg(feature = "sqlite")]
mod error;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteConfig, SqliteQueue, SqliteStore, Synchronous};
