//! What the writer promises when something is in the way.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use quark_core::ErrorKind;
use sqlx::ConnectOptions;

use super::task::execute;
use super::*;
use crate::sqlite::failure::failed;
use crate::sqlite::{SqliteConfig, open};

struct Opened {
    writer: Writer,
    _folder: tempfile::TempDir,
    options: SqliteConnectOptions,
}

async fn opened() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let opened = open::open(&SqliteConfig::new(folder.path().join("quark.db"))).await.unwrap();
    let options = opened.options.busy_timeout(Duration::from_millis(50));
    let writer = Writer::spawn(options.connect().await.unwrap(), options.clone());
    Opened { writer, _folder: folder, options }
}

async fn run(writer: &Writer, statement: &'static str) -> Result<()> {
    writer.write(move |connection| Box::pin(async move { execute(connection, statement).await.map_err(failed) })).await
}

async fn count(writer: &Writer) -> i64 {
    let read = writer.write(move |connection| {
        Box::pin(async move {
            sqlx::query_scalar("SELECT count(*) FROM quark_meta WHERE key LIKE 'k%'")
                .fetch_one(connection)
                .await
                .map_err(failed)
        })
    });
    read.await.unwrap()
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    let Opened { writer, _folder, .. } = opened().await;
    run(&writer, "PRAGMA max_page_count = 1").await.unwrap();
    run(&writer, "INSERT INTO quark_meta VALUES ('k1', 'small')").await.unwrap();
    let large = "INSERT INTO quark_meta VALUES ('k2', hex(zeroblob(1000000)))";
    let error = run(&writer, large).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "disk_full"));
    assert_eq!(error.class(), ErrorClass::Retryable);
    assert_eq!(count(&writer).await, 1);
    run(&writer, "PRAGMA max_page_count = 1000000").await.unwrap();
    run(&writer, large).await.unwrap();
    assert_eq!(count(&writer).await, 2);
}

#[tokio::test]
async fn a_transaction_that_is_lost_fails_all_of_its_writes_and_no_later_one() {
    let Opened { writer, _folder, .. } = opened().await;
    // Queued before the task runs, on a runtime of one thread: they share a transaction.
    let (before, broken, after) = tokio::join!(
        run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
        run(&writer, "ROLLBACK"),
        run(&writer, "INSERT INTO quark_meta VALUES ('k3', '')"),
    );
    assert!(before.is_err() && broken.is_err());
    assert!(after.is_ok());
    assert_eq!(count(&writer).await, 1);
}

#[tokio::test]
async fn a_file_that_stays_locked_fails_all_who_waited_together() {
    let Opened { writer, _folder, options } = opened().await;
    let mut other = options.connect().await.unwrap();
    execute(&mut other, "BEGIN IMMEDIATE").await.unwrap();
    let (one, two) = tokio::join!(
        run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
        run(&writer, "INSERT INTO quark_meta VALUES ('k2', '')"),
    );
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "database_busy"));
        assert_eq!(error.class(), ErrorClass::Retryable);
    }
    execute(&mut other, "ROLLBACK").await.unwrap();
    run(&writer, "INSERT INTO quark_meta VALUES ('k9', '')").await.unwrap();
    assert_eq!(count(&writer).await, 1);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_not_begun() {
    let Opened { writer, _folder, .. } = opened().await;
    let (begin, begun) = oneshot::channel();
    let (release, released) = oneshot::channel::<()>();
    let busy = writer.clone();
    let busy = tokio::spawn(async move {
        busy.write(move |_| {
            Box::pin(async move {
                begin.send(()).unwrap();
                released.await.unwrap();
                Ok(())
            })
        })
        .await
    });
    begun.await.unwrap();
    let mut queued = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"));
    let pending = poll_fn(|context| Poll::Ready(queued.as_mut().poll(context).is_pending())).await;
    assert!(pending);
    drop(queued);
    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    assert_eq!(count(&writer).await, 0);
}
