//! Opens the file: makes it private, recognises it, switches it to write-ahead mode.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quark_core::{Error, ErrorKind, Result};
use rusqlite::Connection;

use super::config::SqliteConfig;
use super::connect::Connector;
use super::failure::{failed, is_busy, is_no_database};
use super::migrate;

/// A file that is ready for use.
pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) connector: Connector,
    pub(super) installation: String,
}

/// Opens the file; blocks.
pub(super) fn open(config: &SqliteConfig) -> Result<Opened> {
    let path = absolute(&config.path)?;
    make_file(&path).map_err(|error| cannot_make(&path, error))?;
    let connector = Connector::new(config, path.clone());
    let mut writer = connector.writer().map_err(|error| not_opened(error, &path))?;
    check_format(&writer).map_err(|error| not_opened(error, &path))?;
    let installation = migrate::migrate(&mut writer, &path, config.shared_file)?;
    write_ahead(&writer, &path, connector.patience)?;
    Ok(Opened { writer, connector, installation })
}

/// An absolute path is never mistaken for `:memory:` or a `file:` address.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::new(ErrorKind::InvalidConfig, "the path of the database is not a path").with_source(error)
    })
}

/// Makes the file readable by its owner only, before SQLite would make it
/// readable by all. SQLite gives its log and index files the same mode.
fn make_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        private_folder(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => warn_if_open_to_all(path),
        Err(error) => Err(error),
    }
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The file holds the variables of all apps.
fn warn_if_open_to_all(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions());
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "the database can be read by other users of this machine");
        }
    }
    Ok(())
}

fn cannot_make(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::InvalidConfig,
    };
    Error::new(kind, format!("the database `{}` cannot be made", path.display())).with_source(error)
}

fn not_opened(error: rusqlite::Error, path: &Path) -> Error {
    if is_no_database(&error) { migrate::foreign(path) } else { failed(error) }
}

/// The first look into the file.
fn check_format(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA schema_version", [], |_| Ok(()))
}

/// Switches the file to write-ahead mode. SQLite does not wait for other
/// connections here, and several processes may start at once.
fn write_ahead(connection: &Connection, path: &Path, patience: Duration) -> Result<()> {
    let started = Instant::now();
    loop {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        match mode.map_err(failed) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("SQLite's write-ahead log does not work at `{}`", path.display()),
                )
                .with_hint("the file must be on a local disk"));
            }
            Err(error) if is_busy(&error) && started.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::Synchronous;

    fn setting(connection: &Connection, pragma: &str) -> String {
        let query = format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}");
        connection.query_row(&query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn connections_are_set_up_as_configured() {
        for (synchronous, level) in [(Synchronous::Full, "2"), (Synchronous::Normal, "1")] {
            let folder = tempfile::tempdir().unwrap();
            let config = SqliteConfig::new(folder.path().join("quark.db")).with_synchronous(synchronous);
            let Opened { writer, connector, .. } = open(&config).unwrap();
            // The writer, as opened and as connected again after a failure.
            for connection in [&writer, &connector.writer().unwrap()] {
                assert_eq!(setting(connection, "synchronous"), level);
                assert_eq!(setting(connection, "journal_mode"), "wal");
                assert_eq!(setting(connection, "foreign_keys"), "1");
                assert_eq!(setting(connection, "journal_size_limit"), "67108864");
            }
            let reader = connector.reader().unwrap();
            let refused = reader.execute("DELETE FROM quark_meta", []);
            assert!(refused.is_err(), "readers do not write");
        }
    }
}
