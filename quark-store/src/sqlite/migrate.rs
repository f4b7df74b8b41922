//! Brings a file to the schema that this version knows, or refuses it.

use std::path::Path;

use quark_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::failure::failed;

/// Every schema that there ever was, oldest first, numbered from 1. A migration
/// that was released is never edited: its checksum is compared at each start.
const MIGRATIONS: [(&str, &str); 1] = [("initial", include_str!("migrations/0001_initial.sql"))];

/// The name is ours: a host application that keeps a list of its own in the same
/// file does not meet this one.
const LIST: &str = "CREATE TABLE IF NOT EXISTS _quark_migrations (
        version INTEGER NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,
        applied_at INTEGER NOT NULL
    ) STRICT";

/// Recognises the file and applies what is missing, in one transaction, so that
/// two processes that start at the same time do not meet in the middle. Returns
/// the name of the installation.
///
/// Nothing is written to a file that is refused.
pub(super) fn migrate(connection: &mut Connection, path: &Path, shared_file: bool) -> Result<String> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    recognise(&transaction, path, shared_file)?;
    let applied = applied(&transaction, path)?;
    for (version, (name, sql)) in (1_i64..).zip(MIGRATIONS).skip(applied) {
        apply(&transaction, version, name, sql).map_err(failed)?;
    }
    let installation = installation(&transaction).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    Ok(installation)
}

fn recognise(transaction: &Transaction<'_>, path: &Path, shared_file: bool) -> Result<()> {
    let (tables, ours) = transaction
        .query_row(
            "SELECT count(*), count(*) FILTER (WHERE name IN ('_quark_migrations', 'quark_meta'))
             FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            [],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
        )
        .map_err(failed)?;
    if ours < 2 && tables > 0 && !shared_file { Err(foreign(path)) } else { Ok(()) }
}

/// How many migrations were applied, if they are those that are known.
fn applied(transaction: &Transaction<'_>, path: &Path) -> Result<usize> {
    transaction.execute_batch(LIST).map_err(failed)?;
    let mut statement = transaction
        .prepare("SELECT version, checksum FROM _quark_migrations ORDER BY version")
        .map_err(|_| altered(path))?;
    let found = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<(i64, String)>>>)
        .map_err(failed)?;
    if let Some((newest, _)) = found.last()
        && usize::try_from(*newest).map_or(true, |newest| newest > MIGRATIONS.len())
    {
        return Err(newer(path, *newest));
    }
    let known = (1_i64..).zip(MIGRATIONS).map(|(version, (_, sql))| (version, checksum(sql)));
    let are_known = found.iter().zip(known).all(|(found, known)| *found == known);
    if are_known { Ok(found.len()) } else { Err(altered(path)) }
}

fn apply(transaction: &Transaction<'_>, version: i64, name: &str, sql: &str) -> rusqlite::Result<()> {
    transaction.execute_batch(sql)?;
    transaction.execute(
        "INSERT INTO _quark_migrations (version, name, checksum, applied_at)
         VALUES (?, ?, ?, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
        params![version, name, checksum(sql)],
    )?;
    Ok(())
}

fn installation(transaction: &Transaction<'_>) -> rusqlite::Result<String> {
    transaction.execute(
        "INSERT INTO quark_meta (key, value) VALUES ('installation', ?) ON CONFLICT (key) DO NOTHING",
        [Uuid::new_v4().hyphenated().to_string()],
    )?;
    transaction.query_row("SELECT value FROM quark_meta WHERE key = 'installation'", [], |row| row.get(0))
}

/// Of the text, whatever the line ends with which it was checked out.
fn checksum(sql: &str) -> String {
    let mut digest = Sha256::new();
    for line in sql.lines() {
        digest.update(line);
        digest.update("\n");
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file belongs to something else.
pub(super) fn foreign(path: &Path) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("`{}` is not a database of QUARK", path.display()))
        .with_code("foreign_database")
        .with_hint("name a file that does not exist yet, or QUARK's own")
}

fn newer(path: &Path, found: i64) -> Error {
    let known = MIGRATIONS.len();
    Error::new(
        ErrorKind::InvalidConfig,
        format!("`{}` has schema {found}, and this version of QUARK knows schemas up to {known}", path.display()),
    )
    .with_code("newer_database")
    .with_hint("start the version of QUARK that wrote it, or a later one")
}

fn altered(path: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("the schema of `{}` is not the one that QUARK has made", path.display()),
    )
    .with_code("altered_database")
}
