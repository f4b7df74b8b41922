//! Opens the file: makes it private, recognises it, switches it to write-ahead mode.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quark_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::config::{BUSY_TIMEOUT, SqliteConfig, Synchronous};
use super::failure::{failed, is_busy, is_no_database};
use super::migrate;
use super::readers::Readers;

/// Prepared statements that each connection keeps: more than there are texts.
const PREPARED: usize = 256;
/// The log is cut to this size when it has been copied into the file.
const LARGEST_IDLE_LOG: &str = "67108864";

/// A file that is ready for use.
pub(super) struct Opened {
    pub(super) writer: SqliteConnection,
    /// To connect the writer again.
    pub(super) options: SqliteConnectOptions,
    pub(super) readers: Readers,
}

pub(super) async fn open(config: &SqliteConfig) -> Result<Opened> {
    let path = absolute(&config.path)?;
    let file = path.clone();
    match tokio::task::spawn_blocking(move || make_file(&file)).await {
        Ok(made) => made.map_err(|error| cannot_make(&path, error))?,
        Err(error) => return Err(Error::new(ErrorKind::Internal, "opening was interrupted").with_source(error)),
    }
    let options = options(config, &path);
    let mut writer = options.connect().await.map_err(|error| not_opened(error, &path))?;
    check_format(&mut writer, &path).await?;
    migrate::migrate(&mut writer, &path, config.shared_file).await?;
    write_ahead(&mut writer, &path).await?;
    let readers = Readers::new(options.clone().pragma("query_only", "ON"));
    Ok(Opened { writer, options, readers })
}

/// An absolute path is never mistaken for `:memory:` or a `file:` address.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| {
        Error::new(ErrorKind::InvalidConfig, "the path of the database is not a path").with_source(error)
    })
}

fn options(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    // The journal mode is not set here: it would be changed before the file is recognised.
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(match config.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        })
        .pragma("journal_size_limit", LARGEST_IDLE_LOG)
        .statement_cache_capacity(PREPARED)
        .thread_name(|number| format!("quark-sqlite-{number}"))
        .disable_statement_logging()
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

fn not_opened(error: sqlx::Error, path: &Path) -> Error {
    if is_no_database(&error) { migrate::foreign(path) } else { failed(error) }
}

/// The first look into the file.
async fn check_format(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    sqlx::query("PRAGMA schema_version")
        .fetch_one(connection)
        .await
        .map(|_| ())
        .map_err(|error| not_opened(error, path))
}

/// Switches the file to write-ahead mode. SQLite does not wait for other
/// connections here, and several processes may start at once.
async fn write_ahead(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    let started = tokio::time::Instant::now();
    loop {
        match sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL").fetch_one(&mut *connection).await {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return connection.ping().await.map_err(failed),
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::InvalidConfig,
                    format!("SQLite's write-ahead log does not work at `{}`", path.display()),
                )
                .with_hint("the file must be on a local disk"));
            }
            Err(error) if is_busy(&error) && started.elapsed() < BUSY_TIMEOUT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn setting(connection: &mut SqliteConnection, pragma: &'static str) -> String {
        sqlx::query_scalar::<_, String>(pragma).fetch_one(connection).await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_set_up_as_configured() {
        for (synchronous, level) in [(Synchronous::Full, "2"), (Synchronous::Normal, "1")] {
            let folder = tempfile::tempdir().unwrap();
            let config = SqliteConfig::new(folder.path().join("quark.db")).with_synchronous(synchronous);
            let Opened { mut writer, options, readers } = open(&config).await.unwrap();
            // The writer, as opened and as connected again after a failure.
            for connection in [&mut writer, &mut options.connect().await.unwrap()] {
                let synchronous = "SELECT CAST(synchronous AS TEXT) FROM pragma_synchronous";
                assert_eq!(setting(connection, synchronous).await, level);
                assert_eq!(setting(connection, "SELECT * FROM pragma_journal_mode").await, "wal");
                let foreign_keys = "SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys";
                assert_eq!(setting(connection, foreign_keys).await, "1");
            }
            let mut reader = readers.get().await.unwrap();
            let refused = sqlx::query("DELETE FROM quark_meta").execute(reader.connection().unwrap()).await;
            assert!(refused.is_err(), "readers do not write");
        }
    }
}
