//! The turn of whoever has the connection: does all that waits, then gives it back.

use std::sync::Arc;
use std::time::Duration;

use quark_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::runtime::Handle;

use super::Synchronous;
use super::group::{self, Group};
use super::shared::{Link, Shared, State};
use super::write::{Read, refuse};
use crate::sqlite::failure::{failed, is_busy};

/// Small writes that share one transaction, at most: bounds how long the first waits.
const LARGEST_GROUP: usize = 128;
/// The same on the thread of a caller, which others wait for as well.
const LARGEST_IN_PLACE: usize = 16;
/// Small writes that a caller does in one turn, its own and those of others.
const MOST_IN_PLACE: usize = 256;

/// Whoever has this has the connection. Dropped, it gives the connection back.
pub(in crate::sqlite) struct Turn {
    shared: Arc<Shared>,
    link: Link,
    /// Whether the connection is neither back nor closed.
    is_held: bool,
}

/// What there is to do.
enum Next {
    Reads(Vec<Box<dyn Read>>),
    Writes(Group),
    /// Something that may block.
    Elsewhere,
    Restart,
    Close,
    /// Nothing: the connection is back.
    Nothing,
}

impl Turn {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        Self { shared, link, is_held: true }
    }

    /// Reads on the connection, if it is sound.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Option<Result<T>> {
        let connection = self.link.as_ref()?;
        Some(connection.busy_timeout(Duration::ZERO).map_err(failed).and_then(|()| read(connection)))
    }

    /// Does what waits and gives the connection back: what is small and need not
    /// wait here, the rest elsewhere.
    pub(super) fn begin(mut self) {
        let mut left = MOST_IN_PLACE;
        loop {
            let (group, size) = match self.next_in_place(left.min(LARGEST_IN_PLACE)) {
                (Next::Writes(group), size) => (group, size),
                (Next::Reads(reads), _) => {
                    self.answer(reads);
                    continue;
                }
                (Next::Nothing, _) => return,
                _ => return self.elsewhere(),
            };
            left -= size;
            let Err((group, error)) = self.commit(group, Duration::ZERO) else { continue };
            if is_busy(&error) {
                // Waiting for another process is nothing for this thread.
                self.put_back(group);
                return self.elsewhere();
            }
            refuse(group, *error);
        }
    }

    fn answer(&mut self, reads: Vec<Box<dyn Read>>) {
        let Some(connection) = &self.link else { return };
        for read in reads {
            read.run(connection);
        }
        // One that panics may leave its moment open.
        self.link = self.link.take().filter(Connection::is_autocommit);
    }

    /// Does everything on a thread that may block.
    pub(super) fn elsewhere(self) {
        // Reads shall not wait for that.
        self.shared.state().reads = None;
        // Without a runtime, or if it ends, the turn is dropped, which tells all who wait.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || self.run());
        }
    }

    /// Does everything that waits, on a thread that may block.
    pub(in crate::sqlite) fn run(mut self) {
        loop {
            match self.next() {
                Next::Writes(group) => {
                    if let Err((group, error)) = self.commit(group, self.shared.connector.patience) {
                        self.refuse_all(group, *error);
                    }
                }
                Next::Restart => self.restart(),
                Next::Close => return self.close(),
                Next::Reads(_) | Next::Elsewhere | Next::Nothing => return,
            }
        }
    }

    /// Reads, or writes of so much in all, and how much they are.
    fn next_in_place(&mut self, most: usize) -> (Next, usize) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if let Some(reads) = state.reads.as_mut().filter(|reads| !reads.is_empty()) {
            return (Next::Reads(std::mem::take(reads)), 0);
        }
        let is_idle = state.waiting.is_empty() && !state.restart && !state.is_closing();
        if is_idle {
            return (self.give_back(&mut state), 0);
        }
        let is_for_here = self.shared.connector.synchronous() == Synchronous::Normal
            && self.link.is_some()
            && !state.restart
            && !state.is_closing();
        if !is_for_here {
            return (Next::Elsewhere, 0);
        }
        state.reads.get_or_insert_default();
        match gather(&mut state, most) {
            (group, size) if !group.is_empty() => (Next::Writes(group), size),
            _ if !state.waiting.is_empty() => (Next::Elsewhere, 0),
            _ => (self.give_back(&mut state), 0),
        }
    }

    fn next(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if std::mem::take(&mut state.restart) {
            return Next::Restart;
        }
        let (mut group, _) = gather(&mut state, LARGEST_GROUP);
        if group.is_empty() {
            // It is larger than any group.
            group.extend(state.waiting.pop_front());
        }
        if !group.is_empty() {
            return Next::Writes(group);
        }
        if state.is_closing() { Next::Close } else { self.give_back(&mut state) }
    }

    /// Under the same lock under which the queue was found empty: no write is left behind.
    fn give_back(&mut self, state: &mut State) -> Next {
        state.free = Some(self.link.take());
        state.reads = None;
        self.is_held = false;
        Next::Nothing
    }

    /// Does a group of writes and answers it. A group comes back if nothing of it
    /// was begun.
    fn commit(&mut self, mut group: Group, patience: Duration) -> Result<(), (Group, Box<Error>)> {
        let done = self.connect(patience).and_then(|()| group::commit(&mut self.link, &mut group));
        match done {
            Ok(pages) => {
                self.put_back(group);
                if self.shared.checkpoints.note(&self.shared, pages) {
                    self.shared.state().restart = true;
                }
                Ok(())
            }
            Err(error) => Err((group, Box::new(error))),
        }
    }

    /// Sees to it that there is a connection.
    fn connect(&mut self, patience: Duration) -> Result<()> {
        let connection = match self.link.take() {
            Some(connection) => connection,
            None => self.shared.connector.writer().map_err(failed)?,
        };
        connection.busy_timeout(patience).map_err(failed)?;
        self.link = Some(connection);
        Ok(())
    }

    /// Writes that were not begun come first again.
    fn put_back(&mut self, group: Group) {
        let mut state = self.shared.state();
        for write in group.into_iter().rev() {
            state.waiting.push_front(write);
        }
    }

    /// No transaction can be begun. What came meanwhile has waited as long; it
    /// would only wait that long again.
    fn refuse_all(&mut self, mut group: Group, error: Error) {
        group.append(&mut self.shared.state().waiting);
        refuse(group, error);
    }

    fn restart(&mut self) {
        if let Err(error) = self.connect(self.shared.connector.patience) {
            // The next write connects again, and tells if it cannot.
            tracing::warn!(error = %error.report(), "the log of the database was not begun anew");
        }
        if let Some(connection) = self.link.take() {
            self.link = self.shared.checkpoints.restart(connection);
        }
    }

    fn close(mut self) {
        // Whoever closes last copies the log into the file.
        self.shared.checkpoints.close();
        let result = match self.link.take() {
            Some(connection) => connection.close().map_err(|(_, error)| failed(error)),
            None => Ok(()),
        };
        self.is_held = false;
        let mut state = self.shared.state();
        state.set_closed();
        let closers = std::mem::take(&mut state.closers);
        drop(state);
        let mut result = Some(result);
        for closer in closers {
            let _ = closer.send(result.take().unwrap_or(Ok(())));
        }
    }
}

/// Takes writes of at most so much in all, in their order, and says how much
/// they are. Those that nobody waits for are dropped.
fn gather(state: &mut State, most: usize) -> (Group, usize) {
    let (mut group, mut size) = (Group::new(), 0);
    while let Some(write) = state.waiting.front() {
        if !write.is_abandoned() && write.size().saturating_add(size) > most {
            break;
        }
        if let Some(write) = state.waiting.pop_front().filter(|write| !write.is_abandoned()) {
            size += write.size();
            group.push_back(write);
        }
    }
    (group, size)
}

impl Drop for Turn {
    /// A turn ends by itself. This one was broken off: by a panic, or because
    /// the runtime ends and no thread is left that may block.
    fn drop(&mut self) {
        if !self.is_held {
            return;
        }
        let mut state = self.shared.state();
        state.free = Some(self.link.take().filter(Connection::is_autocommit));
        state.reads = None;
        let waiting = std::mem::take(&mut state.waiting);
        let closers = std::mem::take(&mut state.closers);
        drop(state);
        refuse(waiting, broken_off());
        for closer in closers {
            let _ = closer.send(Err(broken_off()));
        }
    }
}

fn broken_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the store was interrupted; nothing was written")
        .with_hint("it works inside of a tokio runtime that is not shutting down")
}
