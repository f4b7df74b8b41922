//! Clients that are slow, greedy or many.

use std::time::Duration;

use quark_core::testing::http::TestServer;

use super::wire::{Backend, Wire};
use super::{HOST, World, config, nowhere};

#[tokio::test]
async fn long_heads_are_refused() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::with(config().with_max_header_bytes(8192), server.address(), server.address()).await;
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(7000)), "200"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(9000)), "431"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X: x\r\n".repeat(99)), "200"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X: x\r\n".repeat(100)), "431"),
    ] {
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(&request).await;
        assert!(wire.head().await.starts_with(&format!("http/1.1 {status} ")), "{status}");
    }
    let world = World::with(config().with_max_headers(2), server.address(), server.address()).await;
    for (fields, status) in [("X: x\r\n", "200"), ("X: x\r\nY: y\r\n", "431")] {
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
        assert!(wire.head().await.starts_with(&format!("http/1.1 {status} ")), "{status}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_cut() {
    let server = TestServer::start("blue").await.unwrap();
    let config = config().with_header_timeout(Duration::from_millis(50));
    let world = World::with(config, server.address(), server.address()).await;
    for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: shop.test\r\n"] {
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(beginning).await;
        assert_eq!(wire.rest().await, "");
    }
    // The limit is for the head, not for the answer.
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("GET /hold HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    server.holds(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.release();
    assert!(wire.head().await.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn further_clients_wait_for_a_place() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::with(config().with_max_connections(2), server.address(), server.address()).await;
    let (mut first, mut second) = (world.client(), world.client());
    for client in [&mut first, &mut second] {
        assert_eq!(client.get(HOST, "/").await.unwrap().text(), "blue");
    }
    let mut third = world.client();
    let third = tokio::spawn(async move { third.get(HOST, "/").await.unwrap().text() });
    // Those that have a place are served meanwhile.
    for _ in 0..20 {
        first.get(HOST, "/").await.unwrap();
    }
    assert_eq!(server.requests(), 22);
    assert!(!third.is_finished());
    drop(second);
    assert_eq!(third.await.unwrap(), "blue");
}

/// A new connection for each request would be seen here at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_apps_are_used_again() {
    let blue = Backend::start(|mut wire: Wire| async move {
        while !wire.head().await.is_empty() {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = world.client();
        clients.spawn(async move {
            for _ in 0..200 {
                assert_eq!(client.get(HOST, "/").await.unwrap().text(), "ok");
            }
        });
    }
    clients.join_all().await;
    assert!(blue.accepted() < 40, "800 requests took {} connections", blue.accepted());
}
