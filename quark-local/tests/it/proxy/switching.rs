//! Deployments under load.

use std::sync::Arc;

use quark_core::ErrorKind;
use quark_core::backend::{Drained, Router};
use quark_core::testing::http::{TestClient, TestServer};
use quark_core::{Endpoint, Slot};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::wire::{Backend, Wire};
use super::{HOST, PATIENCE, World, call};

/// Sends without a pause, each second request with a body. Returns how many
/// were answered, all by the one connection.
async fn hammer(mut client: TestClient, sent: Arc<watch::Sender<u64>>, stop: CancellationToken) -> u64 {
    let mut answered = 0;
    while !stop.is_cancelled() {
        let (method, body) = if answered % 2 == 0 { ("GET", "") } else { ("POST", "an order") };
        let answer = client.request(method, HOST, "/", body.as_bytes()).await;
        let identity = answer.unwrap_or_else(|error| panic!("{method} was lost after {answered}: {error}")).ok();
        assert!(identity.as_ref().is_ok_and(|identity| identity.starts_with("version ")), "{identity:?}");
        answered += 1;
        sent.send_modify(|sent| *sent += 1);
    }
    assert_eq!(client.opened(), 1, "a switch has cut the connection of a client");
    answered
}

/// Each version is a new program at a new address. It is ended, hard, as soon
/// as its requests have ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_deployments_lose_nothing() {
    let mut live = TestServer::start("version 0").await.unwrap();
    let mut world = World::start(live.address(), live.address()).await;
    let (sent, stop) = (Arc::new(watch::Sender::new(0)), CancellationToken::new());
    let mut clients = JoinSet::new();
    for _ in 0..5 {
        clients.spawn(hammer(world.client(), Arc::clone(&sent), stop.clone()));
    }
    for version in 1..=50 {
        let next = TestServer::start(format!("version {version}")).await.unwrap();
        let (old, slot) = (world.route.active, world.route.active.other());
        let (endpoint, backup) = (next.endpoint(), version % 2 == 0);
        world
            .change(|route| {
                match slot {
                    Slot::Blue => route.blue = endpoint,
                    Slot::Green => route.green = endpoint,
                }
                route.active = slot;
                route.backup = backup;
            })
            .await
            .unwrap();
        world.change(|route| route.backup = false).await.unwrap();
        assert_eq!(world.drained(old, PATIENCE).await, Drained::Fully);
        std::mem::replace(&mut live, next).stop().await;
        let enough = *sent.borrow() + 20;
        let mut progress = sent.subscribe();
        tokio::select! {
            _ = progress.wait_for(|sent| *sent >= enough) => {}
            Some(early) = clients.join_next() => panic!("a client has ended: {early:?}"),
        }
    }
    stop.cancel();
    let answered: u64 = clients.join_all().await.into_iter().sum();
    assert_eq!(answered, *sent.borrow());
    assert_eq!(world.client().get(HOST, "/").await.unwrap().text(), "version 50");
}

#[tokio::test]
async fn requests_of_addresses_that_left_the_route_are_still_known() {
    let (old, new) = (TestServer::start("old").await.unwrap(), TestServer::start("new").await.unwrap());
    let mut world = World::start(old.address(), new.address()).await;
    let mut client = world.client();
    let held = tokio::spawn(async move { client.get(HOST, "/hold").await.unwrap().text() });
    old.holds(1).await;
    let mut before = world.route.clone();
    let (app, blue) = (before.app.clone(), before.blue.clone());
    let drained = async |longest| world.router.drained(&app, Slot::Blue, &blue, longest).await.unwrap();
    let mut without = before.clone();
    without.generation = without.generation.next();
    without.active = Slot::Green;
    without.blue = new.endpoint();
    let soon = std::time::Duration::from_millis(20);
    world.router.apply(&call(), &without).await.unwrap();
    assert_eq!(drained(soon).await, Drained::TimedOut { open: 1 });
    world.router.remove(&call(), &before.app).await.unwrap();
    assert_eq!(drained(soon).await, Drained::TimedOut { open: 1 });
    // Back in the route, under a later lease, it is the same place with the same request.
    before.fence.0 += 1;
    world.router.apply(&call(), &before).await.unwrap();
    world.route.fence = before.fence;
    assert_eq!(drained(soon).await, Drained::TimedOut { open: 1 });
    let (drained, ()) = tokio::join!(drained(PATIENCE), async { old.release() });
    assert_eq!(drained, Drained::Fully);
    assert_eq!(held.await.unwrap(), "old");
    world.change(|route| route.active = Slot::Green).await.unwrap();
}

#[tokio::test]
async fn a_slot_out_of_service_keeps_no_connections() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let blue = Backend::start(move |mut wire: Wire| {
        let ended = ended.clone();
        async move {
            while !wire.head().await.is_empty() {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nblue").await;
            }
            ended.send(()).unwrap();
        }
    })
    .await;
    let green = TestServer::start("green").await.unwrap();
    let mut world = World::start(blue.address, green.address()).await;
    let mut client = world.client();
    for _ in 0..5 {
        assert_eq!(client.get(HOST, "/").await.unwrap().text(), "blue");
    }
    assert_eq!(blue.accepted(), 1, "connections to slots are kept");
    // As a backup it may be needed at any moment.
    world.change(|route| (route.active, route.backup) = (Slot::Green, true)).await.unwrap();
    assert!(ends.try_recv().is_err());
    world.change(|route| route.backup = false).await.unwrap();
    ends.recv().await.unwrap();
    assert_eq!(client.get(HOST, "/").await.unwrap().text(), "green");
}

#[tokio::test]
async fn routes_that_cannot_work_are_refused() {
    let server = TestServer::start("blue").await.unwrap();
    let mut world = World::start(server.address(), server.address()).await;
    for endpoint in ["", "localhost:80", "127.0.0.1", "unix:/run/app.sock", "http://127.0.0.1:80"] {
        for slot in Slot::BOTH {
            let error = world
                .change(|route| match slot {
                    Slot::Blue => route.blue = Endpoint::new(endpoint),
                    Slot::Green => route.green = Endpoint::new(endpoint),
                })
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{endpoint}");
        }
    }
    // Each request would come back, again and again.
    let entry = Endpoint::new(world.router.local_addr().to_string());
    let error = world.change(|route| route.green = entry).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = world.change(|route| route.domains.clear()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(world.client().get(HOST, "/").await.unwrap().text(), "blue");
}

/// Names that a route has given up are free for others at once.
#[tokio::test]
async fn names_move_between_apps() {
    let server = TestServer::start("blue").await.unwrap();
    let mut world = World::start(server.address(), server.address()).await;
    let mut other = world.route.clone();
    other.app = quark_core::AppName::parse("blog").unwrap();
    let error = world.router.apply(&call(), &other).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "domain_taken"));
    world.change(|route| route.domains = vec![quark_core::Domain::parse("shop2.test").unwrap()]).await.unwrap();
    assert_eq!(world.client().get(HOST, "/").await.unwrap().status, 404);
    world.router.apply(&call(), &other).await.unwrap();
    for host in [HOST, "shop2.test"] {
        assert_eq!(world.client().get(host, "/").await.unwrap().text(), "blue");
    }
}
