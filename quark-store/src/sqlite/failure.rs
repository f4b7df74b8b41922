//! What SQLite's result codes mean to a caller.

use quark_core::{Error, ErrorClass, ErrorKind};
use sqlx::error::DatabaseError;

use crate::error::from_driver;

// The primary result codes, https://www.sqlite.org/rescode.html; the extended
// ones keep the primary one in their lowest byte.
const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

/// Turns what the driver reports into our error.
pub(super) fn failed(error: sqlx::Error) -> Error {
    from_driver(error, of_sqlite)
}

/// Like [`failed`], for a commit: when the disk fails in the middle of one,
/// nobody knows whether the next start will find it.
pub(super) fn commit_failed(error: sqlx::Error) -> Error {
    let uncertain = matches!(primary_code(&error), None | Some(IOERR));
    let ours = failed(error);
    if uncertain { ours.with_class(ErrorClass::Unknown) } else { ours }
}

/// Whether another connection was in the way.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Whether the file is no SQLite database at all.
pub(super) fn is_no_database(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(NOTADB)
}

fn primary_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error().and_then(code_of)
}

fn code_of(error: &dyn DatabaseError) -> Option<i32> {
    error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff)
}

fn of_sqlite(error: &dyn DatabaseError) -> Error {
    match code_of(error) {
        Some(FULL) => Error::new(ErrorKind::ResourceExhausted, "the disk with the database is full")
            .with_code("disk_full")
            .with_class(ErrorClass::Retryable)
            .with_hint("nothing was lost; free some space and it goes on"),
        Some(NOMEM) => {
            Error::new(ErrorKind::ResourceExhausted, "the database ran out of memory").with_class(ErrorClass::Retryable)
        }
        Some(BUSY | LOCKED) => Error::new(ErrorKind::Unavailable, "the database is locked by another process")
            .with_code("database_busy")
            .with_hint("a backup or another program holds the file for long"),
        Some(IOERR) => Error::new(ErrorKind::Unavailable, "the disk with the database fails"),
        Some(PERM | READONLY | CANTOPEN) => {
            Error::new(ErrorKind::InvalidConfig, "the database file cannot be opened for writing")
                .with_hint("file and folder must belong to the user who runs this")
        }
        Some(CORRUPT | NOTADB) => Error::new(ErrorKind::Internal, "the database file is damaged")
            .with_code("database_damaged")
            .with_hint("restore it from a backup"),
        _ => Error::new(ErrorKind::Internal, "the database refused a statement"),
    }
}
