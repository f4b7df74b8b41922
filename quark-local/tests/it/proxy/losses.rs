//! What is sent again, what must not be, and who stands in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quark_core::testing::http::TestServer;

use super::wire::{Backend, Wire};
use super::{HOST, World, nowhere};

/// An application that closes each connection after its answer without saying
/// so, as one does whose patience with idle connections has just ended.
async fn curt(requests: Arc<AtomicU64>) -> Backend {
    Backend::start(move |mut wire: Wire| {
        let requests = Arc::clone(&requests);
        async move {
            let head = wire.head().await;
            if head.is_empty() {
                return;
            }
            if head.contains("content-length: 5") {
                wire.exactly(5).await;
            }
            requests.fetch_add(1, Ordering::SeqCst);
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_close_behind_our_back_lose_nothing() {
    let requests = Arc::new(AtomicU64::new(0));
    let blue = curt(Arc::clone(&requests)).await;
    let world = World::start(blue.address, nowhere()).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = world.client();
        clients.spawn(async move {
            for round in 0..150 {
                let answer = match round % 3 {
                    0 => client.request("POST", HOST, "/", b"order").await,
                    _ => client.get(HOST, "/").await,
                };
                assert_eq!(answer.unwrap().ok(), Ok("ok".to_owned()), "round {round}");
            }
        });
    }
    clients.join_all().await;
    assert_eq!(requests.load(Ordering::SeqCst), 600, "each request was answered once");
}

#[tokio::test]
async fn a_restart_at_the_same_address_is_not_noticed() {
    let mut server = TestServer::start("first").await.unwrap();
    let address = server.address();
    let world = World::start(address, nowhere()).await;
    let mut client = world.client();
    for round in 0..20 {
        assert_eq!(client.get(HOST, "/").await.unwrap().text(), server.identity());
        let identity = format!("{round}");
        server.stop().await;
        server = TestServer::start_at(&identity, address).await.unwrap();
        let method = ["GET", "POST", "OPTIONS", "DELETE"][round % 4];
        let answer = client.request(method, HOST, "/", if round % 4 == 1 { b"an order" } else { b"" }).await;
        assert_eq!(answer.unwrap().status, 200, "{method}");
    }
    assert_eq!(client.opened(), 1);
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let blue = TestServer::start("blue").await.unwrap();
    let green = TestServer::start("green").await.unwrap();
    let mut world = World::start(blue.address(), green.address()).await;
    world.change(|route| route.backup = true).await.unwrap();
    let mut client = world.client();
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        // A connection is there to be taken; it must not be.
        client.get(HOST, "/").await.unwrap();
        let before = blue.requests();
        assert_eq!(client.request(method, HOST, "/cut", b"an order").await.unwrap().status, 502);
        assert_eq!(blue.requests() - before, 1, "{method} was repeated");
    }
    // A body makes any request one that cannot be repeated.
    let before = blue.requests();
    assert_eq!(client.request("GET", HOST, "/cut", b"a query").await.unwrap().status, 502);
    assert_eq!(blue.requests() - before, 1);
    assert_eq!(green.requests(), 0, "another slot has got a request that the first one had");
}

/// One that was cut on a connection of its own has killed its app, most
/// likely; on a kept one it may just have come too late.
#[tokio::test]
async fn a_request_is_repeated_once_at_most() {
    let blue = TestServer::start("blue").await.unwrap();
    let world = World::start(blue.address(), nowhere()).await;
    let mut client = world.client();
    assert_eq!(client.get(HOST, "/cut").await.unwrap().status, 502);
    assert_eq!(blue.requests(), 1, "it was the first on its connection");
    client.get(HOST, "/").await.unwrap();
    assert_eq!(client.get(HOST, "/cut").await.unwrap().status, 502);
    assert_eq!(blue.requests(), 4, "it was sent into a kept connection and a new one");
}

#[tokio::test]
async fn the_other_slot_stands_in_only_when_connecting_fails() {
    let blue = TestServer::start("blue").await.unwrap();
    let green = TestServer::start("green").await.unwrap();
    let address = blue.address();
    let mut world = World::start(address, green.address()).await;
    world.change(|route| route.backup = true).await.unwrap();
    let mut client = world.client();
    assert_eq!(client.get(HOST, "/status/503").await.unwrap().status, 503);
    assert_eq!(client.get(HOST, "/cut").await.unwrap().status, 502);
    assert_eq!(green.requests(), 0);

    assert_eq!(client.get(HOST, "/").await.unwrap().text(), "blue");
    blue.stop().await;
    for method in ["GET", "POST", "GET", "PATCH"] {
        let body: &[u8] = if method == "GET" { b"" } else { b"an order" };
        assert_eq!(client.request(method, HOST, "/", body).await.unwrap().text(), "green", "{method}");
    }
    let mut upload = client.upload("POST", HOST, "/echo", 8).await.unwrap();
    upload.send(b"in ").await.unwrap();
    upload.send(b"parts").await.unwrap();
    assert_eq!(upload.finish().await.unwrap().text(), "in parts");

    let blue = TestServer::start_at("blue again", address).await.unwrap();
    assert_eq!(client.get(HOST, "/").await.unwrap().text(), blue.identity());
    world.change(|route| route.backup = false).await.unwrap();
    blue.stop().await;
    let before = green.requests();
    assert_eq!(client.get(HOST, "/").await.unwrap().status, 502);
    assert_eq!(green.requests(), before);
    assert_eq!(client.opened(), 1);
}

/// Both down is not an endless search.
#[tokio::test]
async fn two_slots_that_are_down_are_a_bad_gateway() {
    let mut world = World::start(nowhere(), nowhere()).await;
    world.change(|route| route.backup = true).await.unwrap();
    assert_eq!(world.client().get(HOST, "/").await.unwrap().status, 502);
}
