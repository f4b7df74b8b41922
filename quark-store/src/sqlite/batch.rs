//! Several statements in one call of the driver.
//!
//! SQLite runs in a thread of its own, and each call of the driver is two
//! changes of thread: several times what a small statement costs. So statements
//! that belong together are sent together.

use futures_util::TryStreamExt;
use quark_core::Error;
use sqlx::error::BoxDynError;
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Either, Encode, Executor, SqliteConnection, Type};

use super::failure::failed;

/// Statements with their values, each value a `?` of its own, in their order.
#[derive(Debug)]
pub(super) struct Batch {
    sql: String,
    arguments: Result<SqliteArguments, BoxDynError>,
    statements: usize,
}

/// What one statement yielded.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) rows: Vec<SqliteRow>,
}

/// A batch that was broken off.
#[derive(Debug)]
pub(super) struct Broken {
    /// Statements that were done before.
    pub(super) done: usize,
    /// How many there are.
    pub(super) of: usize,
    pub(super) error: sqlx::Error,
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        failed(broken.error)
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { sql: String::new(), arguments: Ok(SqliteArguments::default()), statements: 0 }
    }

    /// Begins the next statement. Only literals get here, hence no value does.
    pub(super) fn statement(&mut self, sql: &'static str) -> &mut Self {
        if self.statements > 0 {
            self.sql.push_str(";\n");
        }
        self.statements += 1;
        self.sql.push_str(sql);
        self
    }

    /// The value of the next `?`.
    pub(super) fn bind<'v, T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'v, Sqlite> + Type<Sqlite>,
    {
        if let Ok(arguments) = &mut self.arguments
            && let Err(error) = arguments.add(value)
        {
            self.arguments = Err(error);
        }
        self
    }

    /// The same with a statement before and one after it; neither has values.
    pub(super) fn between(mut self, before: &'static str, after: &'static str) -> Self {
        self.sql = format!("{before};\n{};\n{after}", self.sql);
        self.statements += 2;
        self
    }

    /// Runs the statements one after the other, up to the first that fails.
    /// What those before have done stays.
    pub(super) async fn run(self, connection: &mut SqliteConnection) -> Result<Vec<Done>, Broken> {
        let of = self.statements;
        let arguments = match self.arguments {
            Ok(arguments) => arguments,
            Err(error) => return Err(Broken { done: 0, of, error: sqlx::Error::Encode(error) }),
        };
        let query = sqlx::query_with(AssertSqlSafe(self.sql), arguments);
        let mut results = connection.fetch_many(query);
        let mut done = Vec::with_capacity(of);
        let mut rows = Vec::new();
        loop {
            match results.try_next().await {
                Ok(Some(Either::Right(row))) => rows.push(row),
                Ok(Some(Either::Left(_))) => done.push(Done { rows: std::mem::take(&mut rows) }),
                Ok(None) => return Ok(done),
                Err(error) => return Err(Broken { done: done.len(), of, error }),
            }
        }
    }
}

/// The first row of a statement.
pub(super) fn row(done: &[Done], statement: usize) -> Option<&SqliteRow> {
    done.get(statement)?.rows.first()
}
