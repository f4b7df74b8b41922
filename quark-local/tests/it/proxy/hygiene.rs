//! What passes, what stays, and what nobody may smuggle.

use quark_core::testing::http::TestServer;
use tokio::sync::mpsc;

use super::wire::{Backend, Wire};
use super::{HOST, World, config, nowhere};

/// The head as the application sees it, with its fields in order.
async fn seen(world: &World, request: &str) -> Vec<String> {
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(request).await;
    let head = wire.head().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let body = String::from_utf8(wire.exactly(length).await).unwrap();
    let mut lines: Vec<_> = body.lines().map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[tokio::test]
async fn apps_see_what_the_socket_says() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), server.address()).await;
    let request = "GET http://Shop.test:80/head?q=1 HTTP/1.1\r\nHost: other.test\r\nAccept: */*\r\nCookie: a=1\r\n\
        X-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 10.0.0.3\r\n\
        X-Forwarded-Host: evil.test\r\nX-Forwarded-Prefix: /admin\r\nForwarded: for=10.0.0.4\r\nProxy: evil.test\r\n\
        Connection: keep-alive, X-Hop, Host, X-Real-IP\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nCookie: b=2\r\n\r\n";
    assert_eq!(
        seen(&world, request).await,
        [
            "GET /head?q=1 HTTP/1.1",
            "accept: */*",
            "cookie: a=1",
            "cookie: b=2",
            "host: Shop.test:80",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: Shop.test:80",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
        ]
    );
}

#[tokio::test]
async fn a_proxy_in_front_may_be_trusted() {
    let server = TestServer::start("blue").await.unwrap();
    let config = config().with_trusted_peers(["127.0.0.1".parse().unwrap()]);
    let world = World::with(config, server.address(), server.address()).await;
    let request = "GET /head HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 203.0.113.9\r\n\
        X-Forwarded-Proto: https\r\nX-Real-IP: 203.0.113.9\r\n\r\n";
    assert_eq!(
        seen(&world, request).await,
        [
            "GET /head HTTP/1.1",
            "host: shop.test",
            "x-forwarded-for: 203.0.113.9, 127.0.0.1",
            "x-forwarded-host: shop.test",
            "x-forwarded-proto: https",
            "x-real-ip: 203.0.113.9",
        ]
    );
}

#[tokio::test]
async fn answers_lose_what_was_for_one_hop() {
    let blue = Backend::start(|mut wire: Wire| async move {
        wire.head().await;
        wire.send(
            "HTTP/1.1 418 I Am A Teapot\r\nContent-Length: 3\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
            Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: now\r\n\r\ntea",
        )
        .await;
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut client = world.client();
    for _ in 0..2 {
        let mut answer = client.get(HOST, "/").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (418, "tea"));
        answer.fields.sort();
        let fields: Vec<_> = answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(fields, ["content-length: 3", "date: now", "set-cookie: a=1", "set-cookie: b=2"]);
    }
    assert_eq!(client.opened(), 1, "the end of a slot's connection is not that of the client's");
}

/// What the application gets for these bytes: head and body, and then the
/// end, because the client ends.
async fn arrives(request: &str) -> (String, String) {
    let (told, mut heard) = mpsc::unbounded_channel();
    let blue = Backend::start(move |mut wire: Wire| {
        let told = told.clone();
        async move {
            let head = wire.head().await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            told.send((head, wire.rest().await)).unwrap();
        }
    })
    .await;
    let world = World::start(blue.address, nowhere()).await;
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(request).await;
    let answer = wire.head().await;
    if !answer.starts_with("http/1.1 200 ") {
        return (answer, String::new());
    }
    let arrived = heard.recv().await.unwrap();
    assert_eq!(blue.accepted(), 1, "one request has become several");
    arrived
}

#[tokio::test]
async fn nothing_is_smuggled() {
    // The length is ignored, as RFC 9112 section 6.3 has it, and not passed on.
    for both in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\nContent-Length: 9",
    ] {
        let smuggled = "GET /admin HTTP/1.1\r\nHost: shop.test\r\n\r\n";
        let request = format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{both}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{smuggled}");
        let (head, body) = arrives(&request).await;
        assert!(!head.contains("content-length"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert_eq!(body, "5\r\nhello\r\n0\r\n\r\n");
    }
    for (fields, status) in [
        ("Content-Length: 4\r\nContent-Length: 5", "400"),
        ("Content-Length: +4", "400"),
        ("Content-Length: 4, 5", "400"),
        ("Content-Length: 0x4", "400"),
        ("Transfer-Encoding: chunked, identity", "400"),
        ("Transfer-Encoding: xchunked", "400"),
        ("Transfer-Encoding: gzip, chunked", "501"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "501"),
        ("Transfer-Encoding : chunked", "400"),
        ("X: a\r\n b", "400"),
        ("X\u{0}: a", "400"),
    ] {
        let (answer, _) = arrives(&format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n\r\n0\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{fields:?}: {answer}");
    }
    let (answer, _) =
        arrives("POST / HTTP/1.0\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(answer.starts_with("http/1.0 400 ") || answer.starts_with("http/1.1 400 "), "{answer}");
}

/// No method implies what its body looks like.
#[tokio::test]
async fn bodies_of_all_methods_arrive() {
    for method in ["GET", "DELETE", "OPTIONS", "POST", "PROPFIND"] {
        let head = format!("{method} / HTTP/1.1\r\nHost: shop.test\r\n");
        let (_, body) = arrives(&format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")).await;
        assert_eq!(body, "2\r\nhi\r\n0\r\n\r\n", "{method}");
        let (head, body) = arrives(&format!("{head}Content-Length: 2\r\n\r\nhi")).await;
        assert!(head.contains("content-length: 2\r\n") && head.contains("connection: close\r\n"), "{head}");
        assert_eq!(body, "hi", "{method}");
    }
}
