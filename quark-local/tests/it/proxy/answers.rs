//! Which app a request goes to, and what is answered if to none.

use std::time::Duration;

use quark_core::testing::http::TestServer;
use quark_local::ProxyRouter;
use tokio::net::{TcpSocket, TcpStream};

use super::wire::{Backend, Wire};
use super::{HOST, World, config, nowhere};

/// The first line of the answer to these bytes, and the connection after it.
async fn first_line(world: &World, request: &str) -> (String, Wire) {
    let mut wire = Wire::connect(world.router.local_addr()).await;
    wire.send(request).await;
    let head = wire.head().await;
    (head.lines().next().unwrap_or_default().to_owned(), wire)
}

#[tokio::test]
async fn the_host_decides() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), server.address()).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: Shop.TEST\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nhost: shop.test:8080\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: shop.test.\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost:shop.test.:80  \r\n\r\n", "200"),
        ("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n", "200"),
        ("GET http://shop.test/x?y HTTP/1.1\r\nHost: other.test\r\n\r\n", "200"),
        ("GET http://SHOP.test:99 HTTP/1.1\r\nHost: shop.test\r\n\r\n", "200"),
        ("GET http://shop.test/ HTTP/1.0\r\n\r\n", "200"),
        ("OPTIONS * HTTP/1.1\r\nHost: shop.test\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: www.shop.test\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "404"),
        ("GET http://other.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n", "404"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
        ("GET http://shop.test/ HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: shop.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n", "400"),
        ("GET http://shop.test/ HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: user@shop.test\r\n\r\n", "400"),
        ("GET http://user@shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.test/\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.test, other.test\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: shop.test:port\r\n\r\n", "400"),
        ("CONNECT shop.test:443 HTTP/1.1\r\nHost: shop.test\r\n\r\n", "405"),
        ("nonsense\r\n\r\n", "400"),
    ] {
        let (line, _wire) = first_line(&world, request).await;
        assert_eq!(line.split(' ').nth(1), Some(status), "{request:?} is answered with {line:?}");
    }
}

#[tokio::test]
async fn refusals_are_short_and_keep_the_connection() {
    let server = TestServer::start("blue").await.unwrap();
    let world = World::start(server.address(), nowhere()).await;
    let mut client = world.client();
    let answer = client.get("other.test", "/").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (404, "no app answers to this host name\n"));
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(client.get(HOST, "/").await.unwrap().text(), "blue");
    assert_eq!(client.opened(), 1);
}

#[tokio::test]
async fn an_app_that_is_down_is_a_bad_gateway() {
    let world = World::start(nowhere(), nowhere()).await;
    let mut client = world.client();
    for _ in 0..2 {
        let answer = client.get(HOST, "/").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (502, "the app cannot be reached at present\n"));
    }
    assert_eq!(client.request("POST", HOST, "/", b"an order").await.unwrap().status, 502);
    assert_eq!(client.opened(), 1);
}

/// A listener whose queue is full lets further connections hang.
async fn full_listener() -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
        queued.push(stream.unwrap());
    }
    (listener, queued)
}

#[tokio::test]
async fn an_app_that_does_not_accept_is_a_gateway_timeout() {
    let (busy, _queued) = full_listener().await;
    let green = TestServer::start("green").await.unwrap();
    let config = config().with_connect_timeout(Duration::from_millis(50));
    let mut world = World::with(config, busy.local_addr().unwrap(), green.address()).await;
    let answer = world.client().get(HOST, "/").await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (504, "the app does not accept connections in time\n"));
    world.change(|route| route.backup = true).await.unwrap();
    assert_eq!(world.client().request("POST", HOST, "/", b"an order").await.unwrap().text(), "green");
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    for nonsense in
        ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"]
    {
        let blue = Backend::start(move |mut wire: Wire| async move {
            wire.head().await;
            wire.send(nonsense).await;
        })
        .await;
        let world = World::start(blue.address, nowhere()).await;
        assert_eq!(world.client().get(HOST, "/").await.unwrap().status, 502, "{nonsense:?}");
        assert_eq!(blue.accepted(), 1);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let first = ProxyRouter::bind(config()).await.unwrap();
    let error = ProxyRouter::bind(quark_local::ProxyConfig::new(first.local_addr())).await.unwrap_err();
    assert_eq!((error.code(), error.operation()), ("address_in_use", Some("proxy.bind")));
    assert!(error.hint().is_some());
}
