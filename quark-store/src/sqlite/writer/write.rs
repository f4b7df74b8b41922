//! A write that waits, and its caller.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quark_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::sqlite::failure::{copy, unexpected};

/// A write whose type was forgotten.
pub(super) trait Write: Send {
    /// As how many small writes it counts.
    fn size(&self) -> usize;
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// Does it and keeps the result. May be called again when the first time
    /// was undone.
    fn run(&mut self, connection: &Connection);
    /// Why it failed, if it did.
    fn error(&self) -> Option<&Error>;
    /// Tells the caller: the result, or why the transaction was not committed.
    fn answer(self: Box<Self>, failure: Option<Error>);
    /// Tells the caller why it failed, if it did, or that it was undone with others.
    fn answer_undone(self: Box<Self>);
}

/// What is read while somebody has the connection. Dropped, it tells the caller
/// to look elsewhere.
pub(super) trait Read: Send {
    /// Does it and tells the caller.
    fn run(self: Box<Self>, connection: &Connection);
}

pub(super) struct Asking<T, F> {
    read: F,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Asking<T, F> {
    pub(super) fn new(read: F, answer: oneshot::Sender<Result<T>>) -> Self {
        Self { read, answer }
    }
}

impl<T, F> Read for Asking<T, F>
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T> + Send + 'static,
{
    fn run(self: Box<Self>, connection: &Connection) {
        // A panic is the caller's, as it finds out elsewhere.
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| (self.read)(connection))) {
            let _ = self.answer.send(result);
        }
    }
}

/// What a caller gets back: the result, and its work, which is large at times and
/// is freed on the thread that made it, not under everybody's eyes.
pub(super) type Answer<T, F> = (Result<T>, F);

pub(super) struct Waiting<T, F> {
    size: usize,
    work: F,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Answer<T, F>>,
}

impl<T, F> Waiting<T, F> {
    pub(super) fn new(size: usize, work: F, answer: oneshot::Sender<Answer<T, F>>) -> Self {
        Self { size, work, result: None, answer }
    }
}

impl<T, F> Write for Waiting<T, F>
where
    T: Send + 'static,
    F: Fn(&Connection) -> Result<T> + Send + 'static,
{
    fn size(&self) -> usize {
        self.size
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) {
        // A panic must not take the writes of others with it. What was written
        // until then is undone, like that of any write that fails.
        let done = catch_unwind(AssertUnwindSafe(|| (self.work)(connection)));
        self.result = Some(done.unwrap_or_else(|_| Err(panicked())));
    }

    fn error(&self) -> Option<&Error> {
        self.result.as_ref().and_then(|result| result.as_ref().err())
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => result,
            (None, None) => Err(unexpected()),
        };
        // A caller that has gone does not want to know.
        let _ = self.answer.send((result, self.work));
    }

    fn answer_undone(self: Box<Self>) {
        let failure = self.error().is_none().then(unexpected);
        self.answer(failure);
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "a write to the store panicked; nothing of it was kept")
}

/// Tells all why nothing was written.
pub(super) fn refuse(writes: impl IntoIterator<Item = Box<dyn Write>>, error: Error) {
    tracing::error!(error = %error.report(), "a group of writes was not committed");
    let copied = copy(&error);
    let mut original = Some(error);
    for write in writes {
        // The first is told the cause as well, which cannot be copied.
        write.answer(Some(original.take().unwrap_or_else(|| copy(&copied))));
    }
}
