//! Brings a file to the schema that this version knows, or refuses it.

use std::path::Path;

use quark_core::{Error, ErrorKind, Result};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, Row, SqlSafeStr, SqliteConnection};
use uuid::Uuid;

use super::failure::failed;

/// Every schema that there ever was, oldest first. A migration that was
/// released is never edited: its checksum is compared at each start.
const MIGRATIONS: [(i64, &str, &str); 1] = [(1, "initial", include_str!("migrations/0001_initial.sql"))];

/// Recognises the file and applies what is missing, in one transaction, so that
/// two processes that start at the same time do not meet in the middle.
///
/// Nothing is written to a file that is refused.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path, shared_file: bool) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    recognise(&mut transaction, path, shared_file).await?;
    migrator().run_direct(None, &mut *transaction, false).await.map_err(|error| migration_failed(error, path))?;
    sqlx::query("INSERT INTO quark_meta (key, value) VALUES ('installation', ?) ON CONFLICT (key) DO NOTHING")
        .bind(Uuid::new_v4().hyphenated().to_string())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS
        .into_iter()
        .map(|(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    // The default name is also the default of a host application that uses the same crate.
    migrator.dangerous_set_table_name("_quark_migrations");
    migrator
}

async fn recognise(connection: &mut SqliteConnection, path: &Path, shared_file: bool) -> Result<()> {
    let row = sqlx::query(
        "SELECT count(*) AS tables,
                count(*) FILTER (WHERE name IN ('_quark_migrations', 'quark_meta')) AS ours
         FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let tables: i64 = row.try_get("tables").map_err(failed)?;
    let ours: i64 = row.try_get("ours").map_err(failed)?;
    if ours < 2 {
        return if tables == 0 || shared_file { Ok(()) } else { Err(foreign(path)) };
    }
    let newest: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _quark_migrations")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let known = MIGRATIONS.iter().map(|(version, ..)| *version).max();
    if newest > known { Err(newer(path, newest, known)) } else { Ok(()) }
}

/// The file belongs to something else.
pub(super) fn foreign(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("`{}` is not a database of QUARK", path.display()))
        .with_code("foreign_database")
        .with_hint("name a file that does not exist yet, or QUARK's own")
}

fn newer(path: &Path, found: Option<i64>, known: Option<i64>) -> Error {
    let (found, known) = (found.unwrap_or(0), known.unwrap_or(0));
    Error::new(
        ErrorKind::InvalidConfig,
        format!("`{}` has schema {found}, and this version of QUARK knows schemas up to {known}", path.display()),
    )
    .with_code("newer_database")
    .with_hint("start the version of QUARK that wrote it, or a later one")
}

fn migration_failed(error: MigrateError, path: &Path) -> Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => failed(error),
        other => Error::new(
            ErrorKind::InvalidConfig,
            format!("the schema of `{}` is not the one that QUARK has made", path.display()),
        )
        .with_code("altered_database")
        .with_source(other),
    }
}
