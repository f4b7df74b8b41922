//! What every store reports in the same words, whatever its database.

use quark_core::{Error, ErrorClass, ErrorKind};

/// The store was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed").with_code("store_closed")
}

/// More callers than connections, for long.
pub(crate) fn all_busy() -> Error {
    Error::new(ErrorKind::Unavailable, "all connections to the database are busy")
        .with_code("database_busy")
        .with_hint("something holds them for long; is the disk very slow?")
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

/// Nobody is left who could answer: nobody knows how far it came.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the database broke").with_class(ErrorClass::Unknown)
}
