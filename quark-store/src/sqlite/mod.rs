//! The SQLite store and queue: one file in write-ahead mode, one connection that
//! writes and commits in groups.
//!
//! ```no_run
//! use quark_store::{SqliteConfig, SqliteStore};
//!
//! # async fn example() -> quark_core::Result<()> {
//! let store = SqliteStore::open(SqliteConfig::new("/var/lib/quark/quark.db")).await?;
//! let queue = store.queue();
//! # let _ = queue;
//! store.close().await
//! # }
//! ```
//!
//! # What is promised
//!
//! A write is stored when its call returns; with the default,
//! [`Synchronous::Full`], it survives a power cut. Writes that wait at the same
//! time share one transaction and one flush of the disk, and none of them is
//! answered before that.
//!
//! A call that is dropped may or may not have taken effect, as with any
//! database; a write that had not been begun is not done any more.
//!
//! # Threads
//!
//! Everything works on any tokio runtime, also on one of a single thread, and no
//! call blocks its thread for long. What takes some microseconds is done on the
//! thread of the caller: small reads, and with [`Synchronous::Normal`] small
//! writes. What waits for the disk or for another process, or may take longer,
//! is done on tokio's blocking threads. There is no thread of the store's own.
//!
//! The file grows by way of a log beside it (`-wal`), which is copied into it
//! in the background and stays below some 64 MiB, unless another program reads
//! the file without an end.
//!
//! # One machine
//!
//! Several processes of one machine may open the same file; leases keep them
//! apart. Whether a lease or a claim has run out is decided by the machine's
//! clock, which they share. Files on network file systems are not supported.

mod apps;
mod checkpoint;
mod commit;
mod config;
mod connect;
mod creation;
mod deployments;
mod failure;
mod history;
mod instances;
mod jobs;
mod leap;
mod leases;
mod log_length;
mod migrate;
mod open;
mod projects;
mod queue;
mod readers;
mod rows;
mod snapshot;
mod sql;
mod steps;
mod store;
mod writer;

pub use config::{SqliteConfig, Synchronous};
pub use queue::SqliteQueue;
pub use store::SqliteStore;
