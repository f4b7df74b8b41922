//! The task that does the writes.

use std::collections::VecDeque;

use quark_core::{Error, Result};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::{Order, Write};
use crate::sqlite::batch::Broken;
use crate::sqlite::bulk::Bulk;
use crate::sqlite::failure::{commit_failed, failed, is_busy};

/// Writes that share one transaction, at most: bounds how long the first waits.
const LARGEST_GROUP: usize = 128;
/// Bytes of rows after which no further write joins a group.
const LARGEST_BULK: usize = 1 << 20;

pub(super) struct Task {
    /// `None` after a failure that leaves the state of the connection unclear.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    orders: mpsc::Receiver<Order>,
    /// Writes that could not join the group before. They come first.
    aside: VecDeque<Box<dyn Write>>,
    /// Who wants the task to end.
    closing: Option<oneshot::Sender<Result<()>>>,
}

/// Writes that are done together.
#[derive(Default)]
struct Group {
    /// What the quick ones write.
    bulk: Bulk,
    quick: Vec<Box<dyn Write>>,
    long: Vec<Box<dyn Write>>,
}

impl Group {
    fn has_room(&self) -> bool {
        self.quick.len() + self.long.len() < LARGEST_GROUP && self.bulk.size() < LARGEST_BULK
    }

    /// Gives a write back that cannot join.
    fn join(&mut self, write: Box<dyn Write>) -> Option<Box<dyn Write>> {
        match write.share() {
            _ if write.is_abandoned() => {}
            None => self.long.push(write),
            Some(share) if self.bulk.has_room_for(share) => {
                self.bulk.add(share);
                self.quick.push(write);
            }
            Some(_) => return Some(write),
        }
        None
    }
}

impl Task {
    pub(super) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        Self { connection: Some(connection), options, orders, aside: VecDeque::new(), closing: None }
    }

    pub(super) async fn run(mut self) {
        loop {
            let first = match self.aside.pop_front() {
                Some(write) => write,
                None if self.closing.is_some() => break,
                None => match self.orders.recv().await {
                    Some(Order::Write(write)) => write,
                    Some(Order::Close(answer)) => {
                        self.closing = Some(answer);
                        continue;
                    }
                    None => break,
                },
            };
            let group = self.gather(first).await;
            let long = self.at_once(group).await;
            if !long.is_empty() {
                self.one_by_one(long).await;
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
        if self.closing.is_some() {
            return None;
        }
        match self.orders.try_recv().ok()? {
            Order::Write(write) => Some(write),
            Order::Close(answer) => {
                self.closing = Some(answer);
                None
            }
        }
    }

    /// `first`, and with it all that waits.
    async fn gather(&mut self, first: Box<dyn Write>) -> Group {
        let mut group = Group::default();
        let mut earlier = std::mem::take(&mut self.aside);
        let mut next = Some(first);
        while let Some(write) = next {
            self.aside.extend(group.join(write));
            if !group.has_room() {
                break;
            }
            next = earlier.pop_front().or_else(|| self.next());
            if next.is_none() {
                // Those who were answered last may be about to ask for more.
                tokio::task::yield_now().await;
                next = self.next();
            }
        }
        self.aside.extend(earlier);
        group
    }

    /// Does the quick ones in one call of the driver. Gives back what takes the
    /// long way.
    async fn at_once(&mut self, group: Group) -> Vec<Box<dyn Write>> {
        let Group { bulk, mut quick, mut long } = group;
        if quick.is_empty() {
            return long;
        }
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                quick.append(&mut long);
                self.refuse_all(quick, failed(error));
                return long;
            }
        };
        match bulk.transact(&mut connection).await {
            Ok(answers) => {
                self.connection = Some(connection);
                for mut write in quick {
                    if write.settle(&answers) {
                        write.answer(None);
                    } else {
                        long.push(write);
                    }
                }
            }
            Err(Broken { done: 0, error, .. }) => {
                if is_busy(&error) {
                    self.connection = Some(connection);
                }
                quick.append(&mut long);
                self.refuse_all(quick, failed(error));
            }
            Err(Broken { done, of, error }) if done + 1 == of => refuse(quick, commit_failed(error)),
            Err(_) => {
                // Otherwise the connection is dropped, which undoes it too.
                if execute(&mut connection, "ROLLBACK").await.is_ok() {
                    self.connection = Some(connection);
                }
                long.append(&mut quick);
            }
        }
        long
    }

    /// Does writes the long way, in one transaction.
    async fn one_by_one(&mut self, group: Vec<Box<dyn Write>>) {
        let connection = match self.begin().await {
            Ok(connection) => connection,
            Err(error) => return self.refuse_all(group, error),
        };
        let mut done = Vec::with_capacity(group.len());
        match self.transaction(connection, group, &mut done).await {
            Ok(()) => done.into_iter().for_each(|write| write.answer(None)),
            Err(error) => refuse(done, error),
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

    /// Fills `done`. Keeps the connection if all went well; otherwise it is
    /// dropped, which undoes what is open.
    async fn transaction(
        &mut self,
        mut connection: SqliteConnection,
        group: Vec<Box<dyn Write>>,
        done: &mut Vec<Box<dyn Write>>,
    ) -> Result<()> {
        let mut group = group.into_iter();
        while let Some(mut write) = group.next() {
            if !write.is_abandoned() {
                let outcome = under_savepoint(&mut connection, write.as_mut()).await;
                done.push(write);
                if outcome.is_err() {
                    // Those that were not begun are not lost.
                    self.aside.extend(group);
                    return outcome;
                }
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
    execute(connection, "SAVEPOINT quark_write").await.map_err(failed)?;
    write.run(connection).await;
    if let Some(error) = write.error() {
        // When the disk is full or fails, SQLite may have undone the whole transaction already.
        execute(connection, "ROLLBACK TO quark_write").await.map_err(|_| without_source(error))?;
    }
    execute(connection, "RELEASE quark_write").await.map_err(failed)
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
