//! Durable stores and queues for QUARK.
//!
//! | feature | what it brings |
//! |---|---|
//! | `sqlite` (default) | [`SqliteStore`] and [`SqliteQueue`]: one file, one machine, nothing to set up; SQLite is compiled in |
//! | `sqlite-unbundled` | the same with the SQLite of the system, 3.37 or later |
//!
//! All tables have the prefix `quark_`, and the list of applied migrations is
//! called `_quark_migrations`, so that a host application may keep tables of its
//! own beside them.
//!
//! # Beside another user of SQLite
//!
//! A program can link one version of `libsqlite3-sys`. This crate uses
//! `rusqlite` 0.39 and with it `libsqlite3-sys` 0.37, which `sqlx` 0.9 takes as
//! well. No type of either shows in this crate's API.
//!
//! # Making it faster
//!
//! `libsqlite3-sys` compiles SQLite with two options that take a lock of the
//! whole process at each allocation and are of no use here. Without them the
//! engine made 8 % more deployments a second (sixteen apps at once). Put this
//! into the `.cargo/config.toml` of your program:
//!
//! ```toml
//! [env]
//! LIBSQLITE3_FLAGS = "-DSQLITE_DEFAULT_MEMSTATUS=0 -USQLITE_ENABLE_MEMORY_MANAGEMENT"
//! ```

#[cfg(feature = "sqlite-unbundled")]
mod error;
#[cfg(feature = "sqlite-unbundled")]
pub mod sqlite;

#[cfg(feature = "sqlite-unbundled")]
pub use sqlite::{SqliteConfig, SqliteQueue, SqliteStore, Synchronous};
