//! Connections that change to another protocol.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use quark_core::Slot;
use quark_core::backend::Drained;
use quark_core::testing::http::TestServer;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::wire::{Backend, Wire};
use super::{HOST, PATIENCE, World, nowhere};

/// An application that repeats what it is told, after its name.
async fn repeater(name: &'static str) -> Backend {
    Backend::start(move |wire: Wire| async move {
        let Ok(mut socket) = accept_async(wire.into_stream()).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message {
                socket.send(format!("{name}: {text}").into()).await.unwrap();
            }
        }
    })
    .await
}

async fn open(world: &World) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(world.router.local_addr()).await.unwrap();
    client_async(format!("ws://{HOST}/chat"), stream).await.unwrap().0
}

async fn ask(socket: &mut WebSocketStream<TcpStream>, text: &str) -> String {
    socket.send(text.to_owned().into()).await.unwrap();
    socket.next().await.unwrap().unwrap().into_text().unwrap().to_string()
}

#[tokio::test]
async fn a_websocket_outlives_a_switch_and_counts_until_its_end() {
    let (blue, green) = (repeater("blue").await, repeater("green").await);
    let mut world = World::start(blue.address, green.address).await;
    let mut old = open(&world).await;
    assert_eq!(ask(&mut old, "hello").await, "blue: hello");
    world.switch(Slot::Green).await;
    assert_eq!(ask(&mut old, "still there?").await, "blue: still there?");
    let mut new = open(&world).await;
    assert_eq!(ask(&mut new, "hello").await, "green: hello");
    let long = "x".repeat(1 << 20);
    assert_eq!(ask(&mut old, &long).await, format!("blue: {long}"));

    assert_eq!(world.drained(Slot::Blue, Duration::from_millis(20)).await, Drained::TimedOut { open: 1 });
    old.close(None).await.unwrap();
    assert!(matches!(old.next().await, Some(Ok(Message::Close(_)))));
    drop(old);
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
    assert_eq!(ask(&mut new, "and you?").await, "green: and you?");
}

const ASK: &str =
    "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: parrot/2, parrot/1\r\n\r\n";

#[tokio::test]
async fn any_protocol_passes_with_the_bytes_that_follow_at_once() {
    let blue = Backend::start(|mut wire: Wire| async move {
        let head = wire.head().await;
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: parrot/2, parrot/1\r\n"), "{head}");
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: parrot/1\r\nX-Hop: 1\r\nX-Bird: ara\r\n\r\nhi").await;
        assert_eq!(wire.exactly(5).await, b"polly");
        wire.send("polly!").await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(format!("{ASK}polly")).await;
    let head = wire.head().await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for (field, there) in [
        ("\r\nconnection: upgrade\r\n", true),
        ("\r\nupgrade: parrot/1\r\n", true),
        ("\r\nx-bird: ara\r\n", true),
        ("x-hop", false),
        ("content-length", false),
    ] {
        assert_eq!(head.contains(field), there, "{head}");
    }
    assert_eq!(wire.rest().await, "hipolly!", "the end of one side is the end of the other");
}

#[tokio::test]
async fn an_app_may_decline() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    for _ in 0..2 {
        wire.send(ASK).await;
        assert!(wire.head().await.starts_with("http/1.1 200 "));
        assert_eq!(wire.exactly(4).await, b"blue");
    }
}

#[tokio::test]
async fn nobody_is_upgraded_who_did_not_ask() {
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: squawk\r\n\r\n").await;
        wire.rest().await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    for request in [ASK, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", "GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n"] {
        let mut wire = Wire::connect(world.router.local_addr()).await;
        wire.send(request).await;
        let head = wire.head().await;
        assert!(head.contains(" 502 "), "{head}");
    }
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
}

#[tokio::test]
async fn a_tunnel_ends_when_either_side_is_gone() {
    let (blue, green) = (repeater("blue").await, nowhere());
    let world = World::start(blue.address, green).await;
    let mut socket = open(&world).await;
    assert_eq!(ask(&mut socket, "hello").await, "blue: hello");
    drop(socket);
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
    let mut socket = open(&world).await;
    assert_eq!(ask(&mut socket, "hello").await, "blue: hello");
    drop(blue);
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    drop(socket);
    assert_eq!(world.drained(Slot::Blue, PATIENCE).await, Drained::Fully);
}
