//! What the callers of a writer share: the queue, and the connection while it is free.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use quark_core::Result;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Connector;
use super::group::Group;
use super::turn::Turn;
use super::write::{Read, Write};
use crate::error::closed;
use crate::sqlite::checkpoint::Checkpoints;

/// `None` after a failure that left the state of the connection unclear: whoever
/// writes next connects again.
pub(super) type Link = Option<Connection>;

pub(in crate::sqlite) struct Shared {
    pub(in crate::sqlite) connector: Connector,
    pub(in crate::sqlite) checkpoints: Checkpoints,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) waiting: Group,
    /// Reads for which the connection is wanted; `None` when nobody would do them soon.
    pub(super) reads: Option<Vec<Box<dyn Read>>>,
    /// `None` while it is somebody's turn, and for ever after closing.
    pub(super) free: Option<Link>,
    /// The thread that had the connection last.
    last: Option<ThreadId>,
    /// Whether the log is to begin anew.
    pub(super) restart: bool,
    phase: Phase,
    pub(super) closers: Vec<oneshot::Sender<Result<()>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Closed,
}

impl State {
    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Says that the connection is no more.
    pub(super) fn set_closed(&mut self) {
        self.phase = Phase::Closed;
    }
}

impl Shared {
    pub(super) fn new(connection: Connection, connector: Connector) -> Self {
        let state = State {
            waiting: Group::new(),
            reads: None,
            free: Some(Some(connection)),
            last: None,
            restart: false,
            phase: Phase::Open,
            closers: Vec::new(),
        };
        Self { checkpoints: Checkpoints::new(connector.clone()), connector, state: Mutex::new(state) }
    }

    /// The state stays whole when something panics: nothing is half done under this lock.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a write at the end of the queue.
    pub(super) fn queue(&self, write: Box<dyn Write>) -> Result<()> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(closed());
        }
        state.waiting.push_back(write);
        Ok(())
    }

    /// Takes the connection if it is free and there is something to do. If it is
    /// not free, whoever has it looks at the queue before giving it back.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            return None;
        }
        let link = state.free.take()?;
        state.last = Some(thread::current().id());
        Some(Turn::new(Arc::clone(self), link))
    }

    /// Takes the connection to read, if it is free and was last used by this
    /// thread: to another processor its pages are as far as those of the file.
    pub(super) fn reading(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state();
        if state.last != Some(thread::current().id()) {
            return None;
        }
        let link = state.free.take()?;
        state.reads = Some(Vec::new());
        Some(Turn::new(Arc::clone(self), link))
    }

    /// Asks whoever has the connection to read. If nobody would do it soon, the
    /// read is dropped.
    pub(super) fn ask(&self, read: Box<dyn Read>) {
        if let Some(reads) = &mut self.state().reads {
            reads.push(read);
        }
    }

    /// Asks for a new beginning of the log, and takes the connection if it is free.
    pub(in crate::sqlite) fn restart(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state();
        state.restart = true;
        state.free.take().map(|link| Turn::new(Arc::clone(self), link))
    }

    /// Refuses later writes, and takes the connection if it is free. `answer` is
    /// told when the connection is closed.
    pub(super) fn close(self: &Arc<Self>, answer: oneshot::Sender<Result<()>>) -> Option<Turn> {
        let mut state = self.state();
        if state.phase == Phase::Closed {
            // Whoever has gone does not want to know.
            let _ = answer.send(Ok(()));
            return None;
        }
        state.phase = Phase::Closing;
        state.closers.push(answer);
        state.free.take().map(|link| Turn::new(Arc::clone(self), link))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("connector", &self.connector).finish_non_exhaustive()
    }
}
