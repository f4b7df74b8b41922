//! The proxy tells what users get.

use std::time::Duration;

use quark_core::backend::AnalysisSource;
use quark_core::conformance::CaseResult;
use quark_core::conformance::analysis_source::{AnalysisFixture, Place};
use quark_core::testing::http::TestServer;

use super::*;

mod conformance {
    use super::*;

    quark_core::analysis_source_conformance!(async { Traffic::start().await });
}

/// What hangs for its users has failed, although it never says so.
#[tokio::test]
async fn a_client_that_has_lost_patience_was_failed() {
    let traffic = Traffic::start().await;
    let place = traffic.place(&AppName::parse("shop").unwrap(), Slot::Blue).await.unwrap();
    traffic.switch(&traffic.servers.lock().await, &place).await;
    let mut client = TestClient::new(traffic.router.local_addr());
    let patience = quark_core::backend::analysis_source::PATIENCE;
    // It is as patient as that, and goes.
    tokio::time::timeout(patience + Duration::from_millis(100), client.get("shop.test", "/hold")).await.unwrap_err();
    drop(client);
    let seen = || async { traffic.router.traffic(&place.app, place.slot, &place.endpoint, PATIENCE).await.unwrap() };
    let counted = async {
        while seen().await.failed == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("nobody counts it");
    assert_eq!(seen().await.requests, 1);
}

/// A proxy and what is behind it: one server, at an address for each slot.
struct Traffic {
    router: ProxyRouter,
    servers: tokio::sync::Mutex<Vec<(Place, TestServer)>>,
    generation: std::sync::atomic::AtomicU64,
}

impl Traffic {
    async fn start() -> Self {
        let router = ProxyRouter::bind(config()).await.unwrap();
        Self { router, servers: tokio::sync::Mutex::default(), generation: std::sync::atomic::AtomicU64::new(0) }
    }

    /// Sends what comes for an app to one of its slots.
    async fn switch(&self, servers: &[(Place, TestServer)], place: &Place) {
        let at = |slot| {
            let known = servers.iter().find(|(other, _)| other.app == place.app && other.slot == slot);
            known.map_or_else(|| Endpoint::new(nowhere().to_string()), |(other, _)| other.endpoint.clone())
        };
        let generation = Generation(self.generation.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1);
        let route = Route {
            app: place.app.clone(),
            generation,
            fence: Fence(1),
            domains: vec![host(&place.app)],
            blue: at(Slot::Blue),
            green: at(Slot::Green),
            active: place.slot,
            backup: false,
            canary: None,
        };
        self.router.apply(&call(), &route).await.unwrap();
    }
}

fn host(app: &AppName) -> Domain {
    Domain::parse(format!("{app}.test")).unwrap()
}

#[async_trait]
impl AnalysisFixture for Traffic {
    fn source(&self) -> Arc<dyn AnalysisSource> {
        Arc::new(self.router.clone())
    }

    async fn place(&self, app: &AppName, slot: Slot) -> CaseResult<Place> {
        let mut servers = self.servers.lock().await;
        if let Some((known, _)) = servers.iter().find(|(known, _)| known.app == *app && known.slot == slot) {
            return Ok(known.clone());
        }
        let server = TestServer::start("here").await.unwrap();
        let place = Place { app: app.clone(), slot, endpoint: server.endpoint() };
        servers.push((place.clone(), server));
        Ok(place)
    }

    async fn request(&self, place: &Place, status: Option<u16>, took: Duration) -> CaseResult {
        let servers = self.servers.lock().await;
        let (_, server) = servers.iter().find(|(known, _)| known == place).ok_or("no such place")?;
        self.switch(&servers, place).await;
        let mut client = TestClient::new(self.router.local_addr());
        let host = host(&place.app);
        let path = match status {
            _ if took > Duration::ZERO => "/hold".to_owned(),
            Some(status) => format!("/status/{status}"),
            None => "/cut".to_owned(),
        };
        let released = async {
            if took > Duration::ZERO {
                server.holds(1).await;
                tokio::time::sleep(took).await;
                server.release();
            }
        };
        let (answer, ()) = tokio::join!(client.get(host.as_str(), &path), released);
        let answer = answer.map_err(|error| error.to_string())?;
        let expected = status.unwrap_or(502);
        if answer.status == expected { Ok(()) } else { Err(format!("{} instead of {expected}", answer.status)) }
    }

    async fn settle(&self) {
        // It counts before it answers.
    }

    async fn pass(&self, time: Duration) {
        // The proxy measures real time.
        tokio::time::sleep(time).await;
    }
}
