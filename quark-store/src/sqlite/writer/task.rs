//! The task that does the writes.

use quark_core::{Error, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{Order, Write};
use crate::sqlite::batch::{Broken, Done};
use crate::sqlite::failure::{commit_failed, failed, is_busy};

/// Writes that share one transaction, at most: bounds how long the first waits.
const LARGEST_GROUP: usize = 128;

pub(super) struct Task {
    /// `None` after a failure that leaves the state of the connection unclear.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    orders: mpsc::Receiver<Order>,
    /// Who wants the task to end.
    closing: Option<oneshot::Sender<Result<()>>>,
}

impl Task {
    pub(super) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self { connection: Some(connection), options, orders, closing: None }
    }

    pub(super) async fn run(mut self) {
        while self.closing.is_none() {
            match self.orders.recv().await {
                Some(Order::Write(first)) => self.take(first).await,
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

    /// Another write that waits, or is about to: those who were answered last
    /// may ask for more.
    async fn next_soon(&mut self) -> Option<Box<dyn Write>> {
        let next = self.next();
        if next.is_some() || self.closing.is_some() {
            return next;
        }
        tokio::task::yield_now().await;
        self.next()
    }

    /// Does `first`, and with it all that waits.
    async fn take(&mut self, first: Box<dyn Write>) {
        match self.next_soon().await {
            Some(second) => self.group([Some(first), Some(second)]).await,
            None => {
                if let Some(first) = self.alone(first).await {
                    self.group([Some(first), None]).await;
                }
            }
        }
    }

    /// Does a write the quick way in a transaction of its own. If that does not
    /// settle it, it is given back, and nothing has happened.
    async fn alone(&mut self, mut write: Box<dyn Write>) -> Option<Box<dyn Write>> {
        if write.is_abandoned() {
            return None;
        }
        // What is wrong with the file is told by the group that follows.
        let Ok(mut connection) = self.connection().await else { return Some(write) };
        let Some(batch) = write.quick() else {
            self.connection = Some(connection);
            return Some(write);
        };
        match batch.between("BEGIN IMMEDIATE", "COMMIT").run(&mut connection).await {
            Ok(done) => {
                self.connection = Some(connection);
                if !write.settle(inner(&done)) {
                    return Some(write);
                }
                write.answer(None);
                None
            }
            Err(Broken { done, of, error }) if done + 1 == of => {
                refuse(vec![write], commit_failed(error));
                None
            }
            Err(Broken { done, error, .. }) => {
                // Nothing was begun, or it is undone; otherwise the connection is dropped, which undoes it.
                let clean =
                    if done == 0 { is_busy(&error) } else { execute(&mut connection, "ROLLBACK").await.is_ok() };
                if clean {
                    self.connection = Some(connection);
                }
                Some(write)
            }
        }
    }

    /// Does what is given and all that waits in one transaction.
    async fn group(&mut self, given: [Option<Box<dyn Write>>; 2]) {
        let connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => return self.refuse_all(given.into_iter().flatten().collect(), error),
        };
        let mut group = Vec::new();
        match self.transaction(connection, given, &mut group).await {
            Ok(()) => group.into_iter().for_each(|write| write.answer(None)),
            Err(error) => refuse(group, error),
        }
    }

    /// No transaction can be begun. What came meanwhile has waited as long; it
    /// would only wait that long again.
    fn refuse_all(&mut self, mut group: Vec<Box<dyn Write>>, error: Error) {
        while group.len() < LARGEST_GROUP
            && let Some(write) = self.next()
        {
            group.push(write);
        }
        refuse(group, error);
    }

    async fn connection(&mut self) -> Result<SqliteConnection, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.options.connect().await,
        }
    }

    async fn begin(&mut self) -> Result<SqliteConnection> {
        let mut connection = self.connection().await.map_err(failed)?;
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
        given: [Option<Box<dyn Write>>; 2],
        group: &mut Vec<Box<dyn Write>>,
    ) -> Result<()> {
        let mut given = given.into_iter().flatten();
        while group.len() < LARGEST_GROUP {
            let next = match given.next() {
                Some(write) => Some(write),
                None => self.next_soon().await,
            };
            let Some(mut write) = next else { break };
            if !write.is_abandoned() {
                let done = under_savepoint(&mut connection, write.as_mut()).await;
                group.push(write);
                done?;
            }
        }
        execute(&mut connection, "COMMIT").await.map_err(commit_failed)?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// Tells all why nothing was written.
fn refuse(group: Vec<Box<dyn Write>>, error: Error) {
    tracing::error!(error = %error.report(), writes = group.len(), "a group of writes was not committed");
    let copy = without_source(&error);
    let mut original = Some(error);
    for write in group {
        // The first is told the cause as well, which cannot be copied.
        write.answer(Some(original.take().unwrap_or_else(|| without_source(&copy))));
    }
}

/// Does one write. An error means that the whole transaction is lost.
async fn under_savepoint(connection: &mut SqliteConnection, write: &mut dyn Write) -> Result<()> {
    if let Some(batch) = write.quick() {
        match batch.between("SAVEPOINT quark_write", "RELEASE quark_write").run(connection).await {
            Ok(done) if write.settle(inner(&done)) => return Ok(()),
            Ok(_) => {}
            Err(broken) => {
                let undone = execute(connection, "ROLLBACK TO quark_write; RELEASE quark_write").await;
                undone.map_err(|_| failed(broken.error))?;
            }
        }
    }
    execute(connection, "SAVEPOINT quark_write").await.map_err(failed)?;
    write.run(connection).await;
    if let Some(error) = write.error() {
        // When the disk is full or fails, SQLite may have undone the whole transaction already.
        execute(connection, "ROLLBACK TO quark_write").await.map_err(|_| without_source(error))?;
    }
    execute(connection, "RELEASE quark_write").await.map_err(failed)
}

/// What a batch has done, without the statements that were put around it.
fn inner(done: &[Done]) -> &[Done] {
    match done {
        [_, inner @ .., _] => inner,
        _ => &[],
    }
}

pub(super) async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
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
