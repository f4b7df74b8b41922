//! What SQLite's result codes mean to a caller.

use quark_core::{Error, ErrorClass, ErrorKind};
use rusqlite::ErrorCode;

const BUSY: &str = "database_busy";

/// Turns what the driver reports into our error.
///
/// The driver's error is kept as the cause: it names tables and columns, never
/// values.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    let ours = match error.sqlite_error_code() {
        Some(code) => of_sqlite(code),
        None => unexpected(),
    };
    ours.with_source(error)
}

/// Like [`failed`], for a commit: when the disk fails in the middle of one,
/// nobody knows whether the next start will find it.
pub(super) fn commit_failed(error: rusqlite::Error) -> Error {
    let uncertain = matches!(error.sqlite_error_code(), None | Some(ErrorCode::SystemIoFailure));
    let ours = failed(error);
    if uncertain { ours.with_class(ErrorClass::Unknown) } else { ours }
}

/// The answer of the database makes no sense.
pub(super) fn unexpected() -> Error {
    Error::new(ErrorKind::Internal, "the database gave an unexpected answer")
}

/// Whether another connection was in the way.
pub(super) fn is_busy(error: &Error) -> bool {
    error.code() == BUSY
}

/// Whether the file is no SQLite database at all.
pub(super) fn is_no_database(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::NotADatabase)
}

/// The same error for one more caller, without the cause, which cannot be copied.
pub(super) fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).with_class(error.class()).with_code(error.code().to_owned());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

fn of_sqlite(code: ErrorCode) -> Error {
    match code {
        ErrorCode::DiskFull => Error::new(ErrorKind::ResourceExhausted, "the disk with the database is full")
            .with_code("disk_full")
            .with_class(ErrorClass::Retryable)
            .with_hint("nothing was lost; free some space and it goes on"),
        ErrorCode::OutOfMemory => {
            Error::new(ErrorKind::ResourceExhausted, "the database ran out of memory").with_class(ErrorClass::Retryable)
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Error::new(ErrorKind::Unavailable, "the database is locked by another process")
                .with_code(BUSY)
                .with_hint("a backup or another program holds the file for long")
        }
        ErrorCode::SystemIoFailure => Error::new(ErrorKind::Unavailable, "the disk with the database fails"),
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen => {
            Error::new(ErrorKind::InvalidConfig, "the database file cannot be opened for writing")
                .with_hint("file and folder must belong to the user who runs this")
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Error::new(ErrorKind::Internal, "the database file is damaged")
                .with_code("database_damaged")
                .with_hint("restore it from a backup")
        }
        _ => Error::new(ErrorKind::Internal, "the database refused a statement"),
    }
}
