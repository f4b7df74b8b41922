//! Private folders, and files that are written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use quark_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What it means that something could not be done with a file.
pub(crate) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("`{}` could not be {what}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::new(ErrorKind::ResourceExhausted, message)
            .with_code("storage_full")
            .with_hint("make room on the disk"),
        io::ErrorKind::PermissionDenied => Error::new(ErrorKind::PermissionDenied, message),
        _ => Error::new(ErrorKind::Unavailable, message),
    }
    .with_source(error)
}

/// Makes a folder, with those above it, that nobody else can look into.
pub(crate) fn private_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|error| failed("made", path, error))
}

/// Reads a file of ours; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|error| {
        // Only where it went wrong: serde's own text may quote a value.
        let at = format!("line {}, column {}", error.line(), error.column());
        Error::new(ErrorKind::Internal, format!("`{}` is damaged at {at}", path.display())).with_code("state_damaged")
    })
}

/// Replaces a file so that readers, and a power cut, see the old or the new
/// one. Only its owner can read it.
pub(crate) fn write_json<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path = folder.join(name);
    let bytes = serde_json::to_vec(value).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("`{name}` could not be encoded")).with_source(error)
    })?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = folder.join(format!(".{name}.{}.{number}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&aside, &path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        // What is left aside is not read by anyone and goes with the folder.
        let _ = fs::remove_file(&aside);
        failed("written", &path, error)
    })
}

/// Reads a small text that a user wrote; `None` if there is none.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<Option<String>> {
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if bytes.len() as u64 > most {
        return Err(Error::invalid("source", "file_too_large", format!("`{name}` is longer than {most} bytes")));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| Error::invalid("source", "not_utf8", format!("`{name}` is not UTF-8 text")))
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(failed("removed", path, error)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it, if it is there. Symbolic links are
/// removed, never followed.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if !is_absent(&error) => Err(failed("removed", path, error)),
        _ => Ok(()),
    }
}

/// Whether the file, or a folder above it, is not there.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
