//! The one writer: takes what many callers want to write, and commits it in groups.
//!
//! A commit that reaches the disk costs milliseconds, whatever it holds. So
//! everything that waits when the writer is free goes into one transaction, and
//! all are answered after the one commit.
//!
//! Most writes are known beforehand to their last row if all is as expected.
//! Those take the [`Quick`] way: all of a group are one call of the driver. The
//! others, and all of a group in which something was not as expected, take the
//! long way: one after the other, each under a savepoint of its own.

mod task;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use quark_core::{Error, ErrorClass, ErrorKind, Result};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};

use self::task::Task;
use super::bulk::{Answers, Share};
use crate::error::closed;

/// Writes that wait, at most; further callers wait for room.
const WAITING: usize = 512;

/// What a write yields, in the making.
pub(super) type Writing<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// A write as rows, for when all is as expected. They are written together with
/// those of other writes.
///
/// When it is not as expected, the statements fail, or `read` finds nothing in
/// their answers; the rows must have changed nothing in the latter case. Then
/// the long way is taken, which finds out what is wrong and tells.
pub(super) struct Quick<T> {
    share: Share,
    read: ReadAnswers<T>,
}

type ReadAnswers<T> = Box<dyn FnOnce(&Answers) -> Result<Option<T>> + Send>;

impl<T> Quick<T> {
    pub(super) fn new(share: Share, read: impl FnOnce(&Answers) -> Result<Option<T>> + Send + 'static) -> Self {
        Self { share, read: Box::new(read) }
    }

    /// Does it in the transaction that is open.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<T> {
        let answers = self.share.run(connection).await?;
        let unexpected = || Error::new(ErrorKind::Internal, "the database gave an unexpected answer");
        (self.read)(&answers)?.ok_or_else(unexpected)
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
        self.order(None, Some(work)).await
    }

    /// As [`write`](Self::write), but tries the quick way first, if there is one.
    pub(super) async fn quick<T, F>(&self, quick: Result<Quick<T>>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        // What cannot be put together fails the long way too, and is told there.
        self.order(quick.ok(), Some(work)).await
    }

    /// Does a write to which there is no other way.
    pub(super) async fn only_quick<T: Send + 'static>(&self, quick: Quick<T>) -> Result<T> {
        let no_other: Option<for<'c> fn(&'c mut SqliteConnection) -> Writing<'c, T>> = None;
        self.order(Some(quick), no_other).await
    }

    async fn order<T, F>(&self, quick: Option<Quick<T>>, work: Option<F>) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let write = Box::new(Waiting { quick, work, result: None, answer });
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

/// A write whose type was forgotten.
#[async_trait]
trait Write: Send {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
    /// What it writes, if that is known beforehand.
    fn share(&self) -> Option<&Share>;
    /// Keeps the result of the quick way; whether there is one.
    fn settle(&mut self, answers: &Answers) -> bool;
    /// Does it the long way and keeps the result.
    async fn run(&mut self, connection: &mut SqliteConnection);
    /// Why it failed, if it did.
    fn error(&self) -> Option<&Error>;
    /// Tells the caller: the result, or why the transaction was not committed.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Waiting<T, F> {
    quick: Option<Quick<T>>,
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

    fn share(&self) -> Option<&Share> {
        self.quick.as_ref().map(|quick| &quick.share)
    }

    fn settle(&mut self, answers: &Answers) -> bool {
        let Some(Quick { read, .. }) = self.quick.take() else { return false };
        let Ok(Some(value)) = read(answers) else { return false };
        self.result = Some(Ok(value));
        true
    }

    async fn run(&mut self, connection: &mut SqliteConnection) {
        self.result = match (self.work.take(), self.quick.take()) {
            (Some(work), _) => Some(work(connection).await),
            (None, Some(quick)) => Some(quick.run(connection).await),
            (None, None) => None,
        };
    }

    fn error(&self) -> Option<&Error> {
        self.result.as_ref().and_then(|result| result.as_ref().err())
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => result,
            (None, None) => Err(Error::new(ErrorKind::Internal, "the database gave an unexpected answer")),
        };
        // A caller that has gone does not want to know.
        let _ = self.answer.send(result);
    }
}
