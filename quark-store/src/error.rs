//! What the failure of a database means to a caller; shared by all databases.

use quark_core::{Error, ErrorClass, ErrorKind};
use sqlx::error::DatabaseError;

/// Turns a driver's error into ours. `of_database` judges what the database
/// itself has said; everything else is the same for all of them.
///
/// The driver's error is kept as the cause: it names tables and columns, never
/// values. Errors that could show values are dropped.
pub(crate) fn from_driver(error: sqlx::Error, of_database: fn(&dyn DatabaseError) -> Error) -> Error {
    let ours = match &error {
        sqlx::Error::Database(said) => of_database(said.as_ref()),
        sqlx::Error::PoolClosed => return closed(),
        sqlx::Error::PoolTimedOut => Error::new(ErrorKind::Unavailable, "all connections to the database are busy")
            .with_code("database_busy")
            .with_hint("something holds them for long; is the disk very slow?"),
        sqlx::Error::Io(_) => Error::new(ErrorKind::Unavailable, "the database cannot be reached"),
        sqlx::Error::Configuration(_) => {
            Error::new(ErrorKind::InvalidConfig, "the database cannot be opened like this")
        }
        // The driver's thread is gone: nobody knows how far it came.
        sqlx::Error::WorkerCrashed => {
            Error::new(ErrorKind::Unavailable, "the connection to the database broke").with_class(ErrorClass::Unknown)
        }
        sqlx::Error::ColumnDecode { index, .. } => return unreadable(index),
        _ => Error::new(ErrorKind::Internal, "the database gave an unexpected answer"),
    };
    ours.with_source(error)
}

/// The store was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed").with_code("store_closed")
}

/// A stored value is not what it should be. The value is not shown, and neither
/// is the parser's message, which would quote it.
pub(crate) fn unreadable(column: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the stored column `{column}` cannot be read"))
        .with_code("unreadable_row")
        .with_hint("was it written by a newer version of QUARK, or by hand?")
}

/// A value does not fit into the database.
pub(crate) fn unwritable(column: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("the value for the column `{column}` cannot be stored"))
        .with_code("unwritable_value")
}
