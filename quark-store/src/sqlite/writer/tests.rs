//! What the writer promises when something is in the way, in both places where writes are done.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use quark_core::{ErrorClass, ErrorKind};

use super::*;
use crate::sqlite::failure::failed;
use crate::sqlite::{SqliteConfig, open};

const MODES: [Synchronous; 2] = [Synchronous::Full, Synchronous::Normal];

struct Opened {
    writer: Writer,
    connector: Connector,
    folder: tempfile::TempDir,
}

impl Opened {
    fn new(synchronous: Synchronous) -> Self {
        Self::with(synchronous, |connector| connector.patience = Duration::from_millis(50))
    }

    fn with(synchronous: Synchronous, set: impl FnOnce(&mut Connector)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(folder.path().join("quark.db")).with_synchronous(synchronous);
        let open::Opened { writer, mut connector, .. } = open::open(&config).unwrap();
        set(&mut connector);
        Self { writer: Writer::new(writer, connector.clone()), connector, folder }
    }

    /// Bytes in the log.
    fn log(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("quark.db-wal")).unwrap().len()
    }
}

async fn run(writer: &Writer, statement: &'static str) -> Result<()> {
    writer.write(move |connection| connection.execute_batch(statement).map_err(failed)).await
}

async fn count(writer: &Writer) -> i64 {
    let count = "SELECT count(*) FROM quark_meta WHERE key LIKE 'k%'";
    writer.write(move |connection| connection.query_row(count, [], |row| row.get(0)).map_err(failed)).await.unwrap()
}

/// Whether a future that was polled once waits.
async fn is_waiting<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())).await
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    for mode in MODES {
        let Opened { writer, folder: _folder, .. } = Opened::new(mode);
        run(&writer, "INSERT INTO quark_meta VALUES ('k1', 'small')").await.unwrap();
        let limit = |pages| {
            move |connection: &Connection| {
                connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)
            }
        };
        writer.write(limit(1)).await.unwrap();
        let large = "INSERT INTO quark_meta VALUES ('k2', hex(zeroblob(1000000)))";
        let error = run(&writer, large).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "disk_full"));
        assert_eq!(error.class(), ErrorClass::Retryable);
        assert_eq!(count(&writer).await, 1);
        writer.write(limit(1_000_000)).await.unwrap();
        run(&writer, large).await.unwrap();
        assert_eq!(count(&writer).await, 2);
    }
}

#[tokio::test]
async fn a_transaction_that_is_lost_fails_all_of_its_writes_and_no_later_one() {
    for mode in MODES {
        let Opened { writer, folder: _folder, .. } = Opened::new(mode);
        // The first is under way when the others come, which then share a transaction.
        let (release, released) = std::sync::mpsc::channel();
        let (first, before, broken, after, _) = tokio::join!(
            biased;
            slow(&writer, move || released.recv().unwrap()),
            run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
            run(&writer, "ROLLBACK"),
            run(&writer, "INSERT INTO quark_meta VALUES ('k3', '')"),
            async { release.send(()) },
        );
        assert!(first.is_ok() && before.is_err() && broken.is_err());
        assert!(after.is_ok());
        assert_eq!(count(&writer).await, 1);
    }
}

/// Does something in a write on another thread, so that what comes meanwhile must wait.
async fn slow(writer: &Writer, work: impl Fn() + Send + 'static) -> Result<()> {
    writer
        .write_much(usize::MAX, move |_| {
            work();
            Ok(())
        })
        .await
}

#[tokio::test]
async fn a_file_that_stays_locked_fails_all_who_waited_together() {
    for mode in MODES {
        let Opened { writer, connector, folder: _folder } = Opened::new(mode);
        let other = connector.writer().unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (one, two) = tokio::join!(
            run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
            run(&writer, "INSERT INTO quark_meta VALUES ('k2', '')"),
        );
        for error in [one.unwrap_err(), two.unwrap_err()] {
            assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "database_busy"));
            assert_eq!(error.class(), ErrorClass::Retryable);
        }
        other.execute_batch("ROLLBACK").unwrap();
        run(&writer, "INSERT INTO quark_meta VALUES ('k9', '')").await.unwrap();
        assert_eq!(count(&writer).await, 1);
    }
}

#[tokio::test]
async fn waiting_for_another_process_holds_no_thread_of_the_runtime() {
    for mode in MODES {
        let Opened { writer, connector, folder: _folder } =
            Opened::with(mode, |connector| connector.patience = Duration::from_secs(60));
        let other = connector.writer().unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut write = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"));
        // The runtime has one thread, which gets here at once.
        assert!(is_waiting(&mut write).await);
        other.execute_batch("COMMIT").unwrap();
        write.await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_is_not_begun() {
    for mode in MODES {
        let Opened { writer, folder: _folder, .. } = Opened::new(mode);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let mut busy = Box::pin(slow(&writer, move || released.recv().unwrap()));
        assert!(is_waiting(&mut busy).await);
        let mut queued = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"));
        assert!(is_waiting(&mut queued).await);
        drop(queued);
        release.send(()).unwrap();
        busy.await.unwrap();
        assert_eq!(count(&writer).await, 0);
    }
}

#[tokio::test]
async fn a_caller_that_goes_in_the_middle_leaves_a_whole_write() {
    for mode in MODES {
        let Opened { writer, folder: _folder, .. } = Opened::new(mode);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let mut begun = Box::pin(writer.write_much(usize::MAX, move |connection| {
            connection.execute_batch("INSERT INTO quark_meta VALUES ('k1', '')").map_err(failed)?;
            released.recv().unwrap();
            connection.execute_batch("INSERT INTO quark_meta VALUES ('k2', '')").map_err(failed)
        }));
        assert!(is_waiting(&mut begun).await);
        drop(begun);
        let mut next = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k3', '')"));
        assert!(is_waiting(&mut next).await, "the connection is still in use");
        release.send(()).unwrap();
        next.await.unwrap();
        // If its thread had not begun it yet when the caller went, it was left out.
        assert!([1, 3].contains(&count(&writer).await));
    }
}

#[tokio::test]
async fn a_panic_harms_nobody_else() {
    for mode in MODES {
        let Opened { writer, folder: _folder, .. } = Opened::new(mode);
        let panicking = || {
            writer.write(|connection| -> Result<()> {
                connection.execute_batch("INSERT INTO quark_meta VALUES ('k0', '')").map_err(failed)?;
                panic!("on purpose")
            })
        };
        assert_eq!(panicking().await.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(count(&writer).await, 0);
        // As one of a group, too.
        let (release, released) = std::sync::mpsc::channel();
        let (first, before, broken, after, _) = tokio::join!(
            biased;
            slow(&writer, move || released.recv().unwrap()),
            run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"),
            panicking(),
            run(&writer, "INSERT INTO quark_meta VALUES ('k2', '')"),
            async { release.send(()) },
        );
        assert!(first.is_ok() && before.is_ok() && broken.is_err() && after.is_ok());
        assert_eq!(count(&writer).await, 2);
    }
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting() {
    for mode in MODES {
        let opened = Opened::new(mode);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let inside = handle.enter();
        // Blocking threads are not given any more.
        let outcome = poll_to_end(slow(&opened.writer, || {}));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(inside);
        // And without any runtime.
        let outcome = poll_to_end(slow(&opened.writer, || {}));
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
        let again = tokio::runtime::Builder::new_current_thread().build().unwrap();
        again.block_on(async {
            run(&opened.writer, "INSERT INTO quark_meta VALUES ('k1', '')").await.unwrap();
            assert_eq!(count(&opened.writer).await, 1);
        });
    }
}

/// The result of a future that does not need anything to happen elsewhere.
fn poll_to_end<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for ever"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_while_writes_never_pause() {
    for mode in MODES {
        let opened = Opened::with(mode, |connector| connector.log_step = 128);
        let mut writing = tokio::task::JoinSet::new();
        for number in 0..4 {
            let writer = opened.writer.clone();
            writing.spawn(async move {
                for _ in 0..100 {
                    let write = move |connection: &Connection| {
                        let statement = "INSERT INTO quark_meta VALUES (?, hex(randomblob(20000)))
                                         ON CONFLICT DO UPDATE SET value = excluded.value";
                        connection.execute(statement, [format!("k{number}")]).map(|_| ()).map_err(failed)
                    };
                    writer.write(write).await.unwrap();
                }
            });
        }
        writing.join_all().await;
        // 400 times 40 kB went through it. The file of a log never shrinks.
        let bytes = opened.log();
        assert!(bytes < 4 << 20, "{mode:?}: {bytes} bytes");
        opened.writer.close().await.unwrap();
    }
}

#[tokio::test]
async fn closing_waits_for_what_was_begun_and_refuses_the_rest() {
    for mode in MODES {
        let opened = Opened::new(mode);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let writer = opened.writer.clone();
        let mut begun = Box::pin(slow(&writer, move || released.recv().unwrap()));
        let mut queued = Box::pin(run(&writer, "INSERT INTO quark_meta VALUES ('k1', '')"));
        assert!(is_waiting(&mut begun).await && is_waiting(&mut queued).await);
        let (mut closing, mut also) = (Box::pin(writer.close()), Box::pin(writer.close()));
        assert!(is_waiting(&mut closing).await && is_waiting(&mut also).await);
        let late = run(&writer, "INSERT INTO quark_meta VALUES ('k2', '')").await.unwrap_err();
        assert_eq!(late.code(), "store_closed");
        release.send(()).unwrap();
        begun.await.unwrap();
        queued.await.unwrap();
        closing.await.unwrap();
        also.await.unwrap();
        assert!(!opened.folder.path().join("quark.db-wal").exists(), "the log was copied into the file");
        let connection = opened.connector.writer().unwrap();
        let kept: i64 =
            connection.query_row("SELECT count(*) FROM quark_meta WHERE key LIKE 'k%'", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1);
    }
}
