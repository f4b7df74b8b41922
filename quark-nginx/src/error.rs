//! What goes wrong with files and with nginx, in words.

use std::io;
use std::path::Path;

use quark_core::{Error, ErrorKind};

/// `verb` such as `written` could not be done with `path`.
pub(crate) fn file(verb: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::PermissionDenied, format!("`{path}` may not be {verb} by this user"))
                .with_code("file_permission")
                .with_hint("run as the user that owns the folder, or give this user the right to write there")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::new(ErrorKind::ResourceExhausted, format!("`{path}` could not be {verb}: the disk is full"))
                .with_code("disk_full")
        }
        _ => Error::new(ErrorKind::Unavailable, format!("`{path}` could not be {verb}")),
    }
    .with_source(error)
}

/// A fault of this crate.
pub(crate) fn internal(message: &'static str) -> Error {
    Error::new(ErrorKind::Internal, message)
}
