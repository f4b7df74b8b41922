//! Writing: one connection, and whoever finds it free does all that waits.
//!
//! There is no thread that does the writes. A caller puts its write into a
//! queue; then whoever can take the connection does everything that waits in one
//! transaction and answers all of it after the one commit. The others wait for
//! their answer. So writes that come at the same time share a transaction. (To
//! let others run first, so that more come together, was measured to cost more
//! than it spares.)
//!
//! Where that is done depends on what a commit costs:
//!
//! - At [`Synchronous::Normal`] a commit is a write into memory of the operating
//!   system. A transaction with a row, two steps and three events was measured at
//!   37 µs, the hand-over to a thread and back at 65 to 90 µs more, because a
//!   processor that sleeps must be woken. So it is done on the caller's thread,
//!   as long as it is small and need not wait.
//! - At [`Synchronous::Full`] a commit waits for the disk. That, and whatever
//!   else may take long, is done on a thread that may block: large groups, a
//!   file that another process holds, connecting, the copying of the log.

mod group;
mod shared;
#[cfg(test)]
mod tests;
mod turn;
mod write;

use std::sync::Arc;

use quark_core::Result;
use rusqlite::Connection;
use tokio::sync::oneshot;

pub(super) use self::shared::Shared;
use self::write::{Asking, Waiting};
use super::config::Synchronous;
use super::connect::Connector;
use crate::error::gone;

/// Takes writes.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(connection: Connection, connector: Connector) -> Self {
        Self { shared: Arc::new(Shared::new(connection, connector)) }
    }

    /// Does `work` in a transaction and returns what it yields once that is
    /// stored. If it fails, all that it did is undone.
    ///
    /// Dropped before the write was begun, nothing happens; later, all of it.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        self.write_much(1, work).await
    }

    /// As [`write`](Self::write), for what takes as long as so many small writes.
    pub(super) async fn write_much<T, F>(&self, size: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.shared.queue(Box::new(Waiting::new(size, work, answer)))?;
        if let Some(turn) = self.shared.turn() {
            turn.begin();
        }
        let (result, _work) = answered.await.map_err(|_| gone())?;
        result
    }

    /// Reads something small on the connection that writes, if it is at hand: it
    /// knows the pages that it has written. A connection that only reads has to
    /// read them again after each commit, and both are in each other's way in
    /// SQLite's allocator. `None` if it is not.
    pub(super) async fn read<T, F>(&self, read: F) -> Option<Result<T>>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Result<T> + Send + 'static,
    {
        if let Some(turn) = self.shared.reading() {
            let result = turn.read(read);
            turn.begin();
            return result;
        }
        let (answer, answered) = oneshot::channel();
        self.shared.ask(Box::new(Asking::new(read, answer)));
        answered.await.ok()
    }

    /// Does what was asked for before, then closes the connection. Closing a
    /// second time does nothing.
    pub(super) async fn close(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        if let Some(turn) = self.shared.close(answer) {
            turn.elsewhere();
        }
        answered.await.map_err(|_| gone())?
    }
}
