//! The file: who may read it, what it may hold, what stays in it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use quark_core::backend::Store;
use quark_core::{Clock, ErrorKind};
use quark_store::{SqliteConfig, SqliteStore};
use rusqlite::Connection;

use crate::fixture::{Fixture, create, name, owner, spec};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Opens a file as another program would.
fn stranger(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

#[tokio::test]
async fn only_the_owner_may_read_it() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("state/quark");
    let store = SqliteStore::open(SqliteConfig::new(folder.join("quark.db"))).await.unwrap();
    store.create_app(spec("shop"), quark_core::SystemClock::new().now()).await.unwrap();
    assert_eq!(mode(&folder), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and the log's index");
    store.close().await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_it_was_opened_again() {
    let fixture = Fixture::new().await;
    let active = fixture.admitted("shop").await;
    let waiting = create(&fixture.store, "shop", fixture.clock.now()).await;
    let installation = fixture.store.installation().await.unwrap();
    let events = fixture.store.events(None, 0, 100).await.unwrap();
    fixture.store.close().await.unwrap();

    let again = fixture.open_again().await;
    assert_eq!(again.installation().await.unwrap(), installation);
    assert_eq!(again.app(&name("shop")).await.unwrap(), Some(active.app));
    assert_eq!(again.deployment(active.deployment.id).await.unwrap(), Some(active.deployment));
    assert_eq!(again.unfinished(None).await.unwrap().last(), Some(&waiting));
    assert_eq!(again.events(None, 0, 100).await.unwrap(), events);
    assert_eq!(quark_core::Queue::depth(&again.queue()).await.unwrap().ready, 2);
    let held = again.acquire_lease(&name("shop"), &owner("engine-2"), crate::fixture::TTL).await.unwrap_err();
    assert_eq!(held.code(), "lease_held");
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new().await;
    let queue = fixture.store.queue();
    fixture.store.close().await.unwrap();
    fixture.store.close().await.unwrap();
    let now = fixture.clock.now();
    let write = fixture.store.create_app(spec("shop"), now).await.unwrap_err();
    let read = fixture.store.apps().await.unwrap_err();
    let claim = quark_core::Queue::claim(&queue, &owner("engine-1"), 1, crate::fixture::TTL).await.unwrap_err();
    for error in [write, read, claim] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "store_closed"));
    }
    assert!(!fixture.folder.path().join("quark.db-wal").exists(), "the log was folded into the file");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let fixture = Fixture::new().await;
    fixture.store.close().await.unwrap();
    let stranger = stranger(&fixture.path());
    let future = "INSERT INTO _quark_migrations (version, name, checksum, applied_at) VALUES (4711, 'future', '00', 0)";
    stranger.execute_batch(future).unwrap();
    stranger.close().unwrap();

    let error = SqliteStore::open(SqliteConfig::new(fixture.path())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "newer_database"));
    assert!(error.message().contains("4711"), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_schema_that_was_altered_is_refused() {
    let fixture = Fixture::new().await;
    fixture.store.close().await.unwrap();
    let stranger = stranger(&fixture.path());
    stranger.execute_batch("UPDATE _quark_migrations SET checksum = '00'").unwrap();
    stranger.close().unwrap();

    let error = SqliteStore::open(SqliteConfig::new(fixture.path())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "altered_database"));
}

#[tokio::test]
async fn the_database_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.db");
    let host = stranger(&path);
    host.execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    host.close().unwrap();
    let before = std::fs::read(&path).unwrap();

    let error = SqliteStore::open(SqliteConfig::new(&path)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "foreign_database"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let text = "this is a letter, not a database; ".repeat(100);
    std::fs::write(&path, &text).unwrap();

    let error = SqliteStore::open(SqliteConfig::new(&path)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "foreign_database"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_host_application_may_share_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("host.db");
    let host = stranger(&path);
    host.execute_batch("CREATE TABLE apps (name TEXT)").unwrap();
    host.execute_batch("CREATE TABLE _host_migrations (version BIGINT PRIMARY KEY)").unwrap();
    host.close().unwrap();

    let store = SqliteStore::open(SqliteConfig::new(&path).with_shared_file()).await.unwrap();
    let made = store.create_app(spec("shop"), quark_core::SystemClock::new().now()).await.unwrap();
    assert_eq!(store.apps().await.unwrap(), [made]);
    store.close().await.unwrap();
    // Once it is known, it needs no permission any more.
    SqliteStore::open(SqliteConfig::new(&path)).await.unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for path in
        [folder.path().to_path_buf(), Path::new("").to_path_buf(), Path::new("/dev/null/quark.db").to_path_buf()]
    {
        let error = SqliteStore::open(SqliteConfig::new(&path)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{}: {}", path.display(), error.report());
    }
}

#[tokio::test]
async fn many_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quark.db");
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..8 {
        opening.spawn(SqliteStore::open(SqliteConfig::new(&path)));
    }
    let mut installations = Vec::new();
    for opened in opening.join_all().await {
        let store = opened.unwrap();
        installations.push(store.installation().await.unwrap());
        store.close().await.unwrap();
    }
    installations.dedup();
    assert_eq!(installations.len(), 1, "they agree on one installation");
}
