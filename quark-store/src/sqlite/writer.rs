//! The one writer: takes what many callers want to write, and commits it in groups.
//!
//! A commit that reaches the disk costs milliseconds, whatever it holds. So
//! everything that waits when the writer is free goes into one transaction, each
//! write under a savepoint of its own, and all are answered after the one commit.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use quark_core::{Error, ErrorClass, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::failure::{commit_failed, failed, is_busy};
use crate::error::closed;

/// Writes that share one transaction, at most: bounds how long the first waits.
const LARGEST_GROUP: usize = 128;
/// Writes that wait, at most; further callers wait for room.
const WAITING: usize = 512;

/// What a write yields, in the making.
pub(super) type Writing<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

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
        tokio::spawn(Task { connection: Some(connection), options, orders, closing: None }.run());
        Self { orders: sender }
    }

    /// Does `work` in a transaction and returns what it yields once that is on
    /// the disk. If it fails, all that it did is undone.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let write = Box::new(Waiting { work: Some(work), result: None, answer });
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
    /// Does it and keeps the result.
    async fn run(&mut self, connection: &mut SqliteConnection);
    /// Why it failed, if it did.
    fn error(&self) -> Option<&Error>;
    /// Tells the caller: the result, or why the transaction was not committed.
    fn answer(self: Box<Self>, failure: Option<Error>);
}

struct Waiting<T, F> {
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

struct Task {
    /// `None` after a failure that leaves the state of the connection unclear.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    orders: mpsc::Receiver<Order>,
    /// Who wants the task to end.
    closing: Option<oneshot::Sender<Result<()>>>,
}

impl Task {
    async fn run(mut self) {
        while self.closing.is_none() {
            match self.orders.recv().await {
                Some(Order::Write(first)) => self.group(first).await,
                Some(Order::Close(answer)) => self.closing = Some(answer),
                None => break,
            }
        }
        self.orders.close();
        let result = match self.connection.take() {
            Some(connection) => connection.close().await.map_err(failed),
            None => Ok(()),
        };
        if let Some(answer) = self.closing.take() {
            let _ = answer.send(result);
        }
    }

    /// Another write that waits already.
    fn next(&mut self) -> Option<Box<dyn Write>> {
        match self.orders.try_recv().ok()? {
            Order::Write(write) => Some(write),
            Order::Close(answer) => {
                self.closing = Some(answer);
                None
            }
        }
    }

    /// Does `first` and all that waits in one transaction.
    async fn group(&mut self, first: Box<dyn Write>) {
        let mut group = Vec::new();
        let outcome = match self.begin().await {
            Ok(connection) => self.transaction(connection, first, &mut group).await,
            Err(error) => {
                // What came meanwhile has waited as long; it would only wait that long again.
                group.push(first);
                while group.len() < LARGEST_GROUP
                    && let Some(write) = self.next()
                {
                    group.push(write);
                }
                Err(error)
            }
        };
        if let Err(error) = &outcome {
            tracing::error!(error = %error.report(), writes = group.len(), "a group of writes was not committed");
        }
        let mut original = outcome.err();
        let copy = original.as_ref().map(without_source);
        for write in group {
            // The first is told the cause as well, which cannot be copied.
            write.answer(original.take().or_else(|| copy.as_ref().map(without_source)));
        }
    }

    async fn begin(&mut self) -> Result<SqliteConnection> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(failed)?,
        };
        match execute(&mut connection, "BEGIN IMMEDIATE").await {
            Ok(()) => Ok(connection),
            Err(error) if is_busy(&error) => {
                self.connection = Some(connection);
                Err(failed(error))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Fills `group` with what was done. Keeps the connection if all went well;
    /// otherwise it is dropped, which undoes what is open.
    async fn transaction(
        &mut self,
        mut connection: SqliteConnection,
        first: Box<dyn Write>,
        group: &mut Vec<Box<dyn Write>>,
    ) -> Result<()> {
        let mut next = Some(first);
        while let Some(mut write) = next.take() {
            if !write.is_abandoned() {
                let done = under_savepoint(&mut connection, write.as_mut()).await;
                group.push(write);
                done?;
            }
            if group.len() < LARGEST_GROUP {
                next = self.next();
            }
            if next.is_none() && self.closing.is_none() && group.len() < LARGEST_GROUP {
                // Those who were answered last may be about to ask for more.
                tokio::task::yield_now().await;
                next = self.next();
            }
        }
        execute(&mut connection, "COMMIT").await.map_err(commit_failed)?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// Does one write. An error means that the whole transaction is lost.
async fn under_savepoint(connection: &mut SqliteConnection, write: &mut dyn Write) -> Result<()> {
    execute(connection, "SAVEPOINT quark_write").await.map_err(failed)?;
    write.run(connection).await;
    if let Some(error) = write.error() {
        // When the disk is full or fails, SQLite may have undone the whole transaction already.
        execute(connection, "ROLLBACK TO quark_write").await.map_err(|_| without_source(error))?;
    }
    execute(connection, "RELEASE quark_write").await.map_err(failed)
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(connection).await.map(|_| ())
}

/// The same error for one more caller.
fn without_source(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).with_class(error.class()).with_code(error.code().to_owned());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use quark_core::ErrorKind;

    use super::*;
    use crate::sqlite::{SqliteConfig, open};

    struct Opened {
        writer: Writer,
        _folder: tempfile::TempDir,
        options: SqliteConnectOptions,
    }

    async fn opened() -> Opened {
        let folder = tempfile::tempdir().unwrap();
        let opened = open::open(&SqliteConfig::new(folder.path().join("quark.db"))).await.unwrap();
        let options = opened.options.busy_timeout(Duration::from_millis(50));
        let writer = Writer::spawn(options.connect().await.unwrap(), options.clone());
        Opened { writer, _folder: folder, options }
    }

    async fn run(writer: &Writer, statement: &'static str) -> Result<()> {
        writer
            .write(move |connection| Box::pin(async move { execute(connection, statement).await.map_err(failed) }))
            .await
    }

    async fn count(writer: &Writer) -> i64 {
        let read = writer.write(move |connection| {
            Box::pin(async move {
                sqlx::query_scalar("SELECT count(*) FROM quark_meta WHERE key LIKE 'k%'")
                    .fetch_one(connection)
                    .await
                    .map_err(failed)
            })
        });
        read.await.unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_is_told_and_survived() {
        let Opened { writer, _folder, .. } = opened().await;
        run(&writer, "PRAGMA max_page_count = 1").await.unwrap();
        run(&writer, "INSERT INTO quark_meta VALUES ('k1', 'small')").await.unwrap();
        let large = "INSERT INTO quark_meta VALUES ('k2', hex(zeroblob(1000000)))";
        let error = run(&writer, large).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "disk_full"));
        assert_eq!(error.class(), ErrorClass::Retryable);
        assert_eq!(count(&writer).await, 1);
        run(&writer, "PRAGMA max_page_count = 1000000").await.unwrap();
        run(&writer, large).await.unwrap();
        assert_eq!(count(&writer).await, 2);
    }

    #[tokio::test]
    async fn a_transaction_that_is_lost_fails_all_of_its_writes_and_no_later_one() {
        let Opened { writer, _folder, .. } = opened().await;
        // Queued before the task runs, on a runtime of one thread: they share a transaction.
        let (before, broken, after) = tokio::join!(
            run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
            run(&writer, "ROLLBACK"),
            run(&writer, "INSERT INTO quark_meta VALUES ('k3', '')"),
        );
        assert!(before.is_err() && broken.is_err());
        assert!(after.is_ok());
        assert_eq!(count(&writer).await, 1);
    }

    #[tokio::test]
    async fn a_file_that_stays_locked_fails_all_who_waited_together() {
        let Opened { writer, _folder, options } = opened().await;
        let mut other = options.connect().await.unwrap();
        execute(&mut other, "BEGIN IMMEDIATE").await.unwrap();
        let (one, two) = tokio::join!(
            run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
            run(&writer, "INSERT INTO quark_meta VALUES ('k2', '')"),
        );
        for error in [one.unwrap_err(), two.unwrap_err()] {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "database_busy"));
            assert_eq!(error.class(), ErrorClass::Retryable);
        }
        execute(&mut other, "ROLLBACK").await.unwrap();
        run(&writer, "INSERT INTO quark_meta VALUES ('k9', '')").await.unwrap();
        assert_eq!(count(&writer).await, 1);
    }

    #[tokio::test]
    async fn a_write_that_nobody_waits_for_is_not_begun() {
        let Opened { writer, _folder, .. } = opened().await;
        let (begin, begun) = oneshot::channel();
        let (release, released) = oneshot::channel::<()>();
        let busy = writer.clone();
        let busy = tokio::spawn(async move {
            busy.write(move |_| {
                Box::pin(async move {
                    begin.send(()).unwrap();
                    released.await.unwrap();
                    Ok(())
                })
            })
            .await
        });
        begun.await.unwrap();
        let mut queued = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"));
        let pending = poll_fn(|context| Poll::Ready(queued.as_mut().poll(context).is_pending())).await;
        assert!(pending);
        drop(queued);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(count(&writer).await, 0);
    }
}
