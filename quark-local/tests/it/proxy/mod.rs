//! The proxy, by real sockets on this machine.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod analysis;
mod answers;
mod bodies;
mod ending;
mod hygiene;
mod limits;
mod losses;
mod switching;
mod upgrades;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use quark_core::backend::{Call, Drained, Route, Router};
use quark_core::conformance::router::RouterFixture;
use quark_core::deployment::{Fence, Generation};
use quark_core::testing::http::TestClient;
use quark_core::{AppName, Domain, Endpoint, Result, Slot};
use quark_local::{ProxyConfig, ProxyRouter};
use tokio::net::TcpSocket;

/// The name that the app of a [`World`] answers to.
const HOST: &str = "shop.test";
/// Longer than anything takes that ends at all.
const PATIENCE: Duration = Duration::from_secs(60);

struct ProxyFixture(ProxyRouter);

#[async_trait]
impl RouterFixture for ProxyFixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.0.clone())
    }

    async fn another(&self) -> Arc<dyn Router> {
        Arc::new(self.0.clone())
    }

    fn entry(&self) -> Option<SocketAddr> {
        Some(self.0.local_addr())
    }

    fn refused_route(&self, base: Route) -> Option<Route> {
        Some(Route { green: Endpoint::new("green:80"), ..base })
    }
}

mod conformance {
    use super::*;

    quark_core::router_conformance!(async { ProxyFixture(ProxyRouter::bind(config()).await.unwrap()) });

    /// Without that, the cases about shares and the entrance have nothing to show.
    #[tokio::test]
    async fn it_splits_requests_and_says_where_they_come_in() {
        let router = ProxyRouter::bind(config()).await.unwrap();
        assert!(router.splits());
        assert_eq!(router.entrance(), Some(Endpoint::new(router.local_addr().to_string())));
    }
}

fn config() -> ProxyConfig {
    ProxyConfig::new((Ipv4Addr::LOCALHOST, 0).into())
}

fn call() -> Call {
    Call::new("test", Fence(1), PATIENCE)
}

/// An app behind a proxy.
struct World {
    router: ProxyRouter,
    route: Route,
}

impl World {
    /// Blue serves.
    async fn start(blue: SocketAddr, green: SocketAddr) -> Self {
        Self::with(config(), blue, green).await
    }

    async fn with(config: ProxyConfig, blue: SocketAddr, green: SocketAddr) -> Self {
        let router = ProxyRouter::bind(config).await.unwrap();
        let route = Route {
            app: AppName::parse("shop").unwrap(),
            generation: Generation(1),
            fence: Fence(1),
            domains: vec![Domain::parse(HOST).unwrap()],
            blue: Endpoint::new(blue.to_string()),
            green: Endpoint::new(green.to_string()),
            active: Slot::Blue,
            backup: false,
            canary: None,
        };
        router.apply(&call(), &route).await.unwrap();
        Self { router, route }
    }

    fn client(&self) -> TestClient {
        TestClient::new(self.router.local_addr())
    }

    /// Puts a changed route into force.
    async fn change(&mut self, change: impl FnOnce(&mut Route)) -> Result<()> {
        let mut route = Route { generation: self.route.generation.next(), ..self.route.clone() };
        change(&mut route);
        self.router.apply(&call(), &route).await?;
        self.route = route;
        Ok(())
    }

    async fn switch(&mut self, active: Slot) {
        self.change(|route| route.active = active).await.unwrap();
    }

    async fn drained(&self, slot: Slot, longest: Duration) -> Drained {
        self.router.drained(&self.route.app, slot, self.route.endpoint(slot), longest).await.unwrap()
    }
}

/// An address where nothing listens, and nobody else ever will: it is taken.
fn nowhere() -> SocketAddr {
    static TAKEN: LazyLock<TcpSocket> = LazyLock::new(|| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        socket
    });
    TAKEN.local_addr().unwrap()
}
