//! The end of the proxy.

use std::time::Duration;

use quark_core::backend::Drained;
use quark_core::testing::http::TestServer;
use tokio::net::TcpStream;

use super::wire::{Backend, Wire};
use super::{HOST, PATIENCE, World, nowhere};

#[tokio::test]
async fn what_is_on_its_way_is_finished() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), server.address()).await;
    let address = world.router.local_addr();
    let (mut busy, mut idle, mut late) = (world.client(), world.client(), Wire::connect(address).await);
    idle.get(HOST, "/").await.unwrap();
    let busy = tokio::spawn(async move { busy.get(HOST, "/hold").await.unwrap() });
    server.holds(1).await;
    late.send("GET / HT").await;

    let router = world.router.clone();
    let shutdown = tokio::spawn(async move { router.shutdown(PATIENCE).await });
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // Who was connected before is answered, and told to leave.
    late.send(format!("TP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    let head = late.head().await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(late.rest().await, "blue");
    assert!(!shutdown.is_finished());
    server.release();
    let answer = busy.await.unwrap();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("blue", Some("close")));
    assert_eq!(shutdown.await.unwrap(), Drained::Fully);
    assert!(idle.get(HOST, "/").await.is_err());
    assert_eq!(world.router.shutdown(Duration::ZERO).await, Drained::Fully, "once more is no harm");
}

/// Clients that send one request after the other are told in time, so that
/// none of their requests is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_clients_lose_nothing() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), server.address()).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut client = world.client();
        clients.spawn(async move {
            loop {
                let answer = client.get(HOST, "/").await.unwrap();
                assert_eq!(answer.text(), "blue");
                if answer.field("connection") == Some("close") {
                    break;
                }
            }
        });
    }
    while server.requests() < 100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.router.shutdown(PATIENCE).await, Drained::Fully);
    clients.join_all().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_and_counted() {
    let server = TestServer::start("blue").await.unwrap();
    let tunnel = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
        wire.rest().await;
    })
    .await;
    let mut world = World::start(server.address(), tunnel.address).await;
    let mut held = world.client();
    let held = tokio::spawn(async move { held.get(HOST, "/hold").await });
    server.holds(1).await;
    world.switch(quark_core::Slot::Green).await;
    let mut upgraded = Wire::connect(world.router.local_addr()).await;
    upgraded.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")).await;
    assert!(upgraded.head().await.starts_with("http/1.1 101 "));

    assert_eq!(world.router.shutdown(Duration::from_millis(50)).await, Drained::TimedOut { open: 2 });
    assert!(held.await.unwrap().is_err());
    assert_eq!(upgraded.rest().await, "");
    for slot in quark_core::Slot::BOTH {
        assert_eq!(world.drained(slot, PATIENCE).await, Drained::Fully);
    }
}

/// Dropping waits for nothing: this runtime has one thread.
#[tokio::test]
async fn dropping_stops_in_the_background() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), nowhere()).await;
    let address = world.router.local_addr();
    let mut client = world.client();
    let held = tokio::spawn(async move { client.get(HOST, "/hold").await.unwrap() });
    server.holds(1).await;
    let clone = world.router.clone();
    drop(world);
    assert!(TcpStream::connect(address).await.is_ok(), "a clone is left");
    drop(clone);
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.release();
    let answer = held.await.unwrap();
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("blue", Some("close")));
}
