//! Bodies on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quark_core::Slot;
use quark_core::backend::Drained;
use quark_core::testing::http::TestServer;
use tokio::sync::mpsc;

use super::wire::{Backend, Wire};
use super::{HOST, PATIENCE, World, nowhere};

const MEBI: usize = 1 << 20;

/// 64 MiB there and back, a part only after the one before has come back: no
/// part is kept for later, in neither direction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_in_both_directions_at_once() {
    const PARTS: usize = 64;
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PARTS * MEBI)).await;
        for _ in 0..PARTS {
            let part = wire.exactly(MEBI).await;
            wire.send(part).await;
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", PARTS * MEBI)).await;
    assert!(wire.head().await.starts_with("http/1.1 200 "));
    for part in 0..PARTS {
        let sent = vec![u8::try_from(part).unwrap(); MEBI];
        wire.send(&sent).await;
        assert!(wire.exactly(MEBI).await == sent, "part {part}");
    }
}

/// A client that does not read holds the application up, not our memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_slows_its_app_down() {
    const LENGTH: usize = 192 * MEBI;
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    let blue = Backend::start(move |mut wire: Wire| {
        let count = Arc::clone(&count);
        async move {
            while wire.head().await.starts_with("get /large") {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
                let part = vec![b'x'; 64 * 1024];
                for _ in 0..LENGTH / part.len() {
                    wire.send(&part).await;
                    count.fetch_add(u64::try_from(part.len()).unwrap(), Ordering::SeqCst);
                }
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut slow = Wire::connect(world.router.local_addr()).await;
    slow.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert!(slow.head().await.starts_with("http/1.1 200 "));
    // Others are served meanwhile, long enough to write it all twice over.
    let mut other = world.client();
    for _ in 0..500 {
        assert_eq!(other.get(HOST, "/").await.unwrap().status, 200);
    }
    let ahead = usize::try_from(written.load(Ordering::SeqCst)).unwrap();
    assert!(ahead < LENGTH / 3, "{ahead} bytes were taken from the app for a client that has read none");
    let mut read = 0;
    while read < LENGTH {
        let some = slow.some(MEBI).await;
        assert!(!some.is_empty(), "the end came after {read} bytes");
        read += some.len();
    }
}

#[tokio::test]
async fn a_body_that_is_cut_is_not_ended() {
    for (start, cut) in [
        ("Content-Length: 10\r\n\r\nhello", "hello"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n9\r\nhello", "5\r\nhello\r\n"),
    ] {
        let blue = Backend::start(move |mut wire: Wire| async move {
            wire.head().await;
            wire.send(format!("HTTP/1.1 200 OK\r\n{start}")).await;
            // Goes on when the client has got so much.
            wire.exactly(4).await;
        })
        .await;
        let world = World::start(blue.address, nowhere()).await;
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\n")).await;
        let head = wire.head().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(wire.exactly(cut.len()).await, cut.as_bytes());
        wire.send("next").await;
        assert_eq!(wire.rest().await, "", "the client must not take it for the end: {start:?}");
        assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
    }
}

#[tokio::test]
async fn clients_that_leave_take_their_requests_with_them() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let blue = Backend::start(move |mut wire: Wire| {
        let told = told.clone();
        async move {
            let head = wire.head().await;
            if head.starts_with("get /endless") {
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                while wire.try_send("1\r\nx\r\n").await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            told.send(wire.rest().await).unwrap();
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    for (request, arrives) in [
        ("GET /never HTTP/1.1\r\nHost: shop.test\r\n\r\n", ""),
        ("GET /endless HTTP/1.1\r\nHost: shop.test\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nhello", "hello"),
        ("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n"),
    ] {
        let accepted = blue.accepted();
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(request).await;
        while blue.accepted() == accepted {
            tokio::task::yield_now().await;
        }
        if request.contains("/endless") {
            wire.head().await;
            assert!(!wire.some(1).await.is_empty());
        }
        if request.starts_with("POST") {
            // Else the client could leave before its bytes do.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(wire);
        assert_eq!(heard.recv().await.unwrap(), arrives, "a cut upload must not look whole");
        assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
    }
}

/// The count goes on when the answer has come before the end of the upload.
#[tokio::test]
async fn an_upload_counts_to_its_end() {
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(wire.exactly(10).await, b"helloworld");
        wire.rest().await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhello")).await;
    assert!(wire.head().await.starts_with("http/1.1 202 "));
    assert_eq!(wire.exactly(2).await, b"ok");
    let soon = std::time::Duration::from_millis(20);
    assert_eq!(world.drained(Slot::Blue, soon).await, Drained::TimedOut { open: 1 });
    wire.send("world").await;
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
}

#[tokio::test]
async fn bodies_are_asked_for_when_the_client_waits() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    let head = format!("POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    for _ in 0..2 {
        wire.send(&head).await;
        assert_eq!(wire.head().await, "http/1.1 100 continue\r\n\r\n");
        wire.send("hello").await;
        assert!(wire.head().await.starts_with("http/1.1 200 "));
        assert_eq!(wire.exactly(5).await, b"hello");
    }
    // Nobody waits for a body that nobody will read.
    wire.send(head.replace(HOST, "other.test")).await;
    assert!(wire.head().await.starts_with("http/1.1 404 "));
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let blue = Backend::start(|mut wire: Wire| async move {
        let head = wire.head().await;
        assert!(head.contains("\r\ntrailer: x-sum\r\n") && head.contains("\r\nte: trailers\r\n"), "{head}");
        let body = b"2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n";
        assert_eq!(wire.exactly(body.len()).await, body);
        wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Took\r\n\r\n3\r\nyes\r\n0\r\nX-Took: 9\r\n\r\n").await;
        wire.rest().await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
        Trailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
    ))
    .await;
    let head = wire.head().await;
    assert!(head.contains("\r\ntrailer: x-took\r\n"), "{head}");
    let body = b"3\r\nyes\r\n0\r\nx-took: 9\r\n\r\n";
    assert_eq!(wire.exactly(body.len()).await, body);
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
}

/// An answer that ends with its connection gets an end that can be seen.
#[tokio::test]
async fn old_clients_and_old_apps_are_served() {
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it").await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut client = world.client();
    for _ in 0..2 {
        assert_eq!(client.get(HOST, "/").await.unwrap().text(), "all of it");
    }
    assert_eq!(client.opened(), 1);
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n")).await;
    let head = wire.head().await;
    assert!(head.starts_with("http/1.0 200 ") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(wire.rest().await, "all of it");
}

/// An application may answer before it has read everything, or instead.
#[tokio::test]
async fn an_early_refusal_arrives() {
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo long").await;
        wire.rest().await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\nbeginning")).await;
    let head = wire.head().await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert_eq!(wire.exactly(8).await, b"too long");
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let blue = Backend::start(|mut wire: Wire| async move {
        loop {
            let head = wire.head().await;
            let answer = match head.split(' ').next() {
                Some("head") => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                Some("delete") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("get") => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n",
                _ => return,
            };
            wire.send(answer).await;
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    for (method, status, field) in
        [("HEAD", "200", "content-length: 12345"), ("DELETE", "204", "date: "), ("GET", "304", "etag: \"1\"")]
    {
        for _ in 0..2 {
            wire.send(format!("{method} / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            let head = wire.head().await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")) && head.contains(field), "{head}");
            assert!(method == "HEAD" || !head.contains("content-length"), "{head}");
        }
    }
}
