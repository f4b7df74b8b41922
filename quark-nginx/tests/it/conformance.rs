//! The suite of `quark-core`.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use quark_core::Router;
use quark_core::backend::Route;
use quark_core::conformance::router::RouterFixture;
use quark_core::deployment::Endpoint;
use quark_nginx::NginxRouter;

use crate::support::World;

#[async_trait]
impl RouterFixture for World {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.router.clone())
    }

    async fn another(&self) -> Arc<dyn Router> {
        Arc::new(NginxRouter::open(self.config.clone()).await.unwrap())
    }

    fn entry(&self) -> Option<SocketAddr> {
        Some(self.listen)
    }

    fn refused_route(&self, base: Route) -> Option<Route> {
        // An endpoint of a runtime that nginx has never heard of.
        Some(Route { green: Endpoint::new("shop.default.svc:80"), ..base })
    }
}

quark_core::router_conformance!(optional World::start());

/// Without that, the cases about shares and the entrance have nothing to show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_splits_requests_and_says_where_they_come_in() {
    let Some(world) = World::start().await else { return };
    assert!(world.router.splits());
    assert_eq!(world.router.entrance(), Some(Endpoint::new(world.listen.to_string())));
}
