//! What a router must come with to be tested.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::Domain;
use crate::backend::{Route, Router};
use crate::conformance::CaseResult;
use crate::deployment::Endpoint;
use crate::testing::http::{TestClient, TestServer};

/// A router under test, and the world around it. Each case gets a new one with
/// no routes.
///
/// A router of real sockets says where clients [enter](Self::entry); its slots
/// are [`TestServer`]s on this machine and its clients [`TestClient`]s. A
/// router without sockets brings [slots](Self::slot) and
/// [clients](Self::client) of its own.
#[async_trait]
pub trait RouterFixture: Send + Sync {
    /// The router. The same object each time.
    fn router(&self) -> Arc<dyn Router>;

    /// Another object for the same routes, as another engine would have it.
    async fn another(&self) -> Arc<dyn Router>;

    /// Where clients connect, by plain HTTP/1.1; `None` for a router without sockets.
    fn entry(&self) -> Option<SocketAddr>;

    /// Makes `base`, which is acceptable, one that this router refuses with
    /// `InvalidConfig`. `None` if there is none: then nothing that passes the
    /// types can be refused, and the fixture says why.
    fn refused_route(&self, base: Route) -> Option<Route>;

    /// Starts an application that answers each request with `identity`.
    ///
    /// # Errors
    ///
    /// Why it could not be started.
    async fn slot(&self, identity: &str) -> CaseResult<Box<dyn SlotServer>> {
        let server = TestServer::start(identity).await.map_err(|error| format!("no slot could be started: {error}"))?;
        Ok(Box::new(server))
    }

    /// Makes a client with one connection, which it keeps.
    fn client(&self) -> Box<dyn RouterClient> {
        Box::new(SocketClient(self.entry().map(TestClient::new)))
    }
}

/// An application in a slot. It answers `/hold` when it is released, and all
/// other paths at once.
#[async_trait]
pub trait SlotServer: Send + Sync {
    /// Where it is.
    fn endpoint(&self) -> Endpoint;

    /// How many requests it has got.
    fn requests(&self) -> u64;

    /// Waits until exactly `count` requests are held.
    async fn holds(&self, count: u64);

    /// Answers the requests that are held.
    fn release(&self);

    /// Ends at once: nothing accepts connections at its endpoint from then on.
    async fn stop(self: Box<Self>);
}

#[async_trait]
impl SlotServer for TestServer {
    fn endpoint(&self) -> Endpoint {
        Self::endpoint(self)
    }

    fn requests(&self) -> u64 {
        Self::requests(self)
    }

    async fn holds(&self, count: u64) {
        Self::holds(self, count).await;
    }

    fn release(&self) {
        Self::release(self);
    }

    async fn stop(self: Box<Self>) {
        Self::stop(*self).await;
    }
}

/// A client with one connection, which it keeps.
#[async_trait]
pub trait RouterClient: Send {
    /// Sends one request and returns the identity that has answered it.
    ///
    /// # Errors
    ///
    /// If the request was lost or answered with another status than 200.
    /// Nothing is ever tried again in secret.
    async fn send(&mut self, host: &Domain, path: &str) -> CaseResult<String>;
}

struct SocketClient(Option<TestClient>);

#[async_trait]
impl RouterClient for SocketClient {
    async fn send(&mut self, host: &Domain, path: &str) -> CaseResult<String> {
        let client = self.0.as_mut().ok_or("a fixture without `entry` must bring a client of its own")?;
        let answer = client.get(host.as_str(), path).await;
        answer.map_err(|error| format!("the request to `{host}` was lost: {error}"))?.ok()
    }
}
