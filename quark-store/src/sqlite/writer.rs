//! The one writer: takes what many callers want to write, and commits it in groups.
//!
//! A commit that reaches the disk costs milliseconds, whatever it holds. So
//! everything that waits when the writer is free goes into one transaction, each
//! write under a savepoint of its own, and all are answered after the one commit.
//!
//! A write that is known beforehand to its last statement, as most are, is one
//! [`Quick`] call of the driver, together with the transaction if it waits alone.

mod task;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use quark_core::{Error, ErrorClass, ErrorKind, Result};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};

use self::task::Task;
use super::batch::{Batch, Done};
use crate::error::closed;

/// Writes that wait, at most; further callers wait for room.
const WAITING: usize = 512;

/// What a write yields, in the making.
pub(super) type Writing<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// A write in one call of the driver, for when all is as expected.
///
/// When it is not, a statement fails or `read` yields nothing; the batch must
/// have changed nothing in the latter case. Then the long way is taken, which
/// finds out what is wrong and tells.
pub(super) struct Quick<T> {
    batch: Batch,
    read: Box<dyn FnOnce(&[Done]) -> Result<Option<T>> + Send>,
}

impl<T> Quick<T> {
    pub(super) fn new(batch: Batch, read: impl FnOnce(&[Done]) -> Result<Option<T>> + Send + 'static) -> Self {
        Self { batch, read: Box::new(read) }
    }
}

/// Hands writes to the task that does them.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
}

enum Order {
    Write(Box<dyn Write>),
    Close(oneshot::Sender<Result<()>>),
}

impl Writer {
    pub(super) fn spawn(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let (sender, orders) = mpsc::channel(WAITING);
        tokio::spawn(Task::new(connection, options, orders).run());
        Self { orders: sender }
    }

    /// Does `work` in a transaction and returns what it yields once that is on
    /// the disk. If it fails, all that it did is undone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        self.order(None, work).await
    }

    /// As [`write`](Self::write), but tries the quick way first. `quick` is
    /// called when the write begins.
    pub(super) async fn quick<T, Q, F>(&self, quick: Q, work: F) -> Result<T>
    where
        T: Send + 'static,
        Q: FnOnce() -> Result<Quick<T>> + Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        self.order(Some(Box::new(quick)), work).await
    }

    /// Does a write that needs no other way: what `quick` yields is all there is.
    pub(super) async fn only_quick<T, Q>(&self, quick: Q) -> Result<T>
    where
        T: Send + 'static,
        Q: Fn() -> Result<Quick<T>> + Send + Sync + 'static,
    {
        let quick = Arc::new(quick);
        let again = Arc::clone(&quick);
        self.quick(move || quick(), move |connection| Box::pin(run_plainly(connection, again()))).await
    }

    async fn order<T, F>(&self, quick: Option<MakeQuick<T>>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let write = Box::new(Waiting { quick, read: None, work: Some(work), result: None, answer });
        self.orders.send(Order::Write(write)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed().with_class(ErrorClass::Unknown))?
    }

    /// Does what was asked for before, then closes the connection. Closing a
    /// second time does nothing.
    pub(super) async fn close(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        if self.orders.send(Order::Close(answer)).await.is_err() {
            return Ok(());
        }
        answered.await.unwrap_or(Ok(()))
    }
}

async fn run_plainly<T>(connection: &mut SqliteConnection, quick: Result<Quick<T>>) -> Result<T> {
    let Quick { batch, read } = quick?;
    let done = batch.run(connection).await?;
    read(&done)?.ok_or_else(|| Error::new(ErrorKind::Internal, "the database gave an unexpected answer"))
}

type MakeQuick<T> = Box<dyn FnOnce() -> Result<Quick<T>> + Send>;

/// A write whose type was forgotten.
#[async_trait]
trait Write: Send {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// The quick way to do it; it is tried at most once.
    fn quick(&mut self) -> Option<Batch>;
    /// Keeps the result of the quick way; whether there is one.
    fn settle(&mut self, done: &[Done]) -> bool;
    /// Does it and keeps the result.
    async fn run(&mut self, connection: &mut SqliteConnection);
    /// Why it failed, if it did.
    fn error(&self) -> Option<&Error>;
    /// Tells the caller: the result, or why the transaction was not committed.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Waiting<T, F> {
    quick: Option<MakeQuick<T>>,
    read: Option<Box<dyn FnOnce(&[Done]) -> Result<Option<T>> + Send>>,
    work: Option<F>,
    result: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

#[async_trait]
impl<T, F> Write for Waiting<T, F>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn quick(&mut self) -> Option<Batch> {
        // What cannot be put together fails the long way too, and is told there.
        let Quick { batch, read } = self.quick.take()?().ok()?;
        self.read = Some(read);
        Some(batch)
    }

    fn settle(&mut self, done: &[Done]) -> bool {
        let read = self.read.take();
        let Some(Ok(Some(value))) = read.map(|read| read(done)) else { return false };
        self.result = Some(Ok(value));
        true
    }

    async fn run(&mut self, connection: &mut SqliteConnection) {
        if let Some(work) = self.work.take() {
            self.result = Some(work(connection).await);
        }
    }

    fn error(&self) -> Option<&Error> {
        self.result.as_ref().and_then(|result| result.as_ref().err())
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => result,
            (None, None) => Err(closed()),
        };
        // A caller that has gone does not want to know.
        let _ = self.answer.send(result);
    }
}
