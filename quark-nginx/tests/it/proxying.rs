//! What passes through nginx, and how.

use std::net::SocketAddr;
use std::time::Duration;

use quark_core::Slot;
use quark_core::backend::{Drained, Router as _};
use quark_core::deployment::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::load::Sample;
use crate::support::{Pair, World, apply, free_address, next, route};

/// Sends a request as it is, and returns what comes until `until` has come.
async fn raw(stream: &mut TcpStream, request: &[u8], until: &str) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(until) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_is_told_about_a_request_comes_from_the_socket() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let mut stream = TcpStream::connect(world.listen).await.unwrap();
    let forged = "GET http://shop.test/head HTTP/1.1\r\nHost: evil.test\r\nX-Forwarded-For: 6.6.6.6\r\n\
                  X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n\
                  X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\
                  X-Other: kept\r\n\r\n";
    let head = raw(&mut stream, forged.as_bytes(), "x-other: kept").await;
    let port = world.listen.port();
    for line in [
        format!("host: shop.test:{port}"),
        "x-forwarded-for: 127.0.0.1".to_owned(),
        format!("x-forwarded-host: shop.test:{port}"),
        format!("x-forwarded-port: {port}"),
        "x-forwarded-proto: http".to_owned(),
        "x-real-ip: 127.0.0.1".to_owned(),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is missing in:\n{head}");
    }
    for forged in ["evil", "6.6.6.6", "h2c", "https", "443"] {
        assert!(!head.contains(forged), "{forged} has come through:\n{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_lives_through_a_switch_and_is_waited_for() {
    let Some(world) = World::start().await else { return };
    let (blue, green) = (free_address(), free_address());
    let _samples = (Sample::start(blue, "blue").await, Sample::start(green, "green").await);
    let endpoint = |address: SocketAddr| Endpoint::new(address.to_string());
    let now = route("shop", endpoint(blue), endpoint(green));
    apply(&world.router, &now).await;
    let mut socket = TcpStream::connect(world.listen).await.unwrap();
    let ask = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
               Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let agreed = raw(&mut socket, ask.as_bytes(), "\r\n\r\n").await;
    assert!(agreed.starts_with("HTTP/1.1 101 "), "{agreed}");
    // A text frame of RFC 6455, masked with zeros: its bytes are the text.
    let frame = |text: &str| [&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0], text.as_bytes()].concat();
    raw(&mut socket, &frame("before"), "before").await;
    apply(&world.router, &next(&now, Slot::Green, false)).await;
    raw(&mut socket, &frame("after"), "after").await;
    let drained = |longest| world.router.drained(&now.app, Slot::Blue, &now.blue, longest);
    assert_eq!(drained(Duration::ZERO).await.unwrap(), Drained::TimedOut { open: 1 });
    drop(socket);
    assert_eq!(drained(Duration::from_secs(60)).await.unwrap(), Drained::Fully);
}

/// The app may have done it before its connection was cut.
#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_done_twice_is_not_sent_to_the_backup() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &next(&pair.route, Slot::Blue, true)).await;
    let mut client = world.client();
    let cut = client.request("POST", "shop.test", "/cut", b"order").await.unwrap();
    assert_eq!((cut.status, pair.blue.requests(), pair.green.requests()), (502, 1, 0));
    // It has surely not been done where nobody listens.
    let Pair { blue, green, .. } = pair;
    blue.stop().await;
    assert_eq!(client.request("POST", "shop.test", "/echo", b"order").await.unwrap().text(), "order");
    assert_eq!(green.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_are_refused_at_the_limit() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    let limited = quark_nginx::NginxRouter::open(world.config.clone().with_max_body(1000)).await.unwrap();
    apply(&limited, &pair.route).await;
    let mut client = world.client();
    let answer = client.request("POST", "shop.test", "/echo", &[b'x'; 1000]).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 1000));
    assert_eq!(client.request("POST", "shop.test", "/echo", &[b'x'; 1001]).await.unwrap().status, 413);
}

/// Server-sent events, or the tokens of a language model.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_in_parts_is_passed_on_in_parts() {
    let Some(world) = World::start().await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slot = Endpoint::new(listener.local_addr().unwrap().to_string());
    apply(&world.router, &route("shop", slot.clone(), slot)).await;
    let mut client = TcpStream::connect(world.listen).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.unwrap();
    let (mut app, _) = listener.accept().await.unwrap();
    app.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
    raw(&mut client, b"", "first").await;
    app.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    raw(&mut client, b"", "second").await;
}
