//! The memory backends as the conformance suites want to have them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{ContainerRuntime, Route, Router};
use quark_core::conformance::CaseResult;
use quark_core::conformance::container_runtime::{ProgramKind, RuntimeFixture, Taken};
use quark_core::conformance::router::{RouterClient, RouterFixture, SlotServer};
use quark_core::memory::{Behaviour, Health, HookRun, MemoryRouter, MemoryRuntime};
use quark_core::{Argv, Artifact, Domain, Endpoint, HookPoint, OwnerId};
use tokio::sync::watch;

/// A memory router, with slots and clients that are records too.
#[derive(Default)]
pub(crate) struct MemoryRouterFixture {
    pub(crate) router: MemoryRouter,
    slots: Arc<Mutex<HashMap<Endpoint, Arc<Slot>>>>,
}

#[derive(Default)]
struct Slot {
    identity: String,
    requests: watch::Sender<u64>,
    held: watch::Sender<u64>,
    releases: watch::Sender<u64>,
}

#[async_trait]
impl RouterFixture for MemoryRouterFixture {
    fn router(&self) -> Arc<dyn Router> {
        Arc::new(self.router.clone())
    }

    async fn another(&self) -> Arc<dyn Router> {
        Arc::new(self.router.clone())
    }

    fn entry(&self) -> Option<SocketAddr> {
        None
    }

    fn refused_route(&self, base: Route) -> Option<Route> {
        Some(Route { domains: Vec::new(), ..base })
    }

    async fn slot(&self, identity: &str) -> CaseResult<Box<dyn SlotServer>> {
        let slot = Arc::new(Slot { identity: identity.to_owned(), ..Slot::default() });
        let endpoint = Endpoint::new(format!("memory:{identity}"));
        self.slots.lock().unwrap().insert(endpoint.clone(), Arc::clone(&slot));
        Ok(Box::new(MemorySlot { router: self.router.clone(), endpoint, slot }))
    }

    fn client(&self) -> Box<dyn RouterClient> {
        Box::new(MemoryClient { router: self.router.clone(), slots: Arc::clone(&self.slots) })
    }
}

struct MemorySlot {
    router: MemoryRouter,
    endpoint: Endpoint,
    slot: Arc<Slot>,
}

#[async_trait]
impl SlotServer for MemorySlot {
    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn requests(&self) -> u64 {
        *self.slot.requests.borrow()
    }

    async fn holds(&self, count: u64) {
        self.slot.held.subscribe().wait_for(|held| *held == count).await.unwrap();
    }

    fn release(&self) {
        self.slot.releases.send_modify(|releases| *releases += 1);
    }

    async fn stop(self: Box<Self>) {
        self.router.set_reachable(&self.endpoint, false);
    }
}

struct MemoryClient {
    router: MemoryRouter,
    slots: Arc<Mutex<HashMap<Endpoint, Arc<Slot>>>>,
}

#[async_trait]
impl RouterClient for MemoryClient {
    async fn send(&mut self, host: &Domain, path: &str) -> CaseResult<String> {
        let request = self.router.open_host(host).ok_or_else(|| format!("nothing answers to `{host}`"))?;
        let slot = self.slots.lock().unwrap().get(request.endpoint()).cloned();
        let slot = slot.ok_or_else(|| format!("nothing listens at `{}`", request.endpoint()))?;
        slot.requests.send_modify(|requests| *requests += 1);
        if path == "/hold" {
            let mut releases = slot.releases.subscribe();
            slot.held.send_modify(|held| *held += 1);
            releases.changed().await.unwrap();
            slot.held.send_modify(|held| *held -= 1);
        }
        Ok(slot.identity.clone())
    }
}

/// A memory runtime with programs that are behaviours.
pub(crate) struct MemoryRuntimeFixture {
    pub(crate) runtime: MemoryRuntime,
    installation: String,
}

impl Default for MemoryRuntimeFixture {
    fn default() -> Self {
        Self { runtime: MemoryRuntime::new(), installation: OwnerId::unique().to_string() }
    }
}

#[async_trait]
impl RuntimeFixture for MemoryRuntimeFixture {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.runtime.clone())
    }

    async fn another(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.runtime.clone())
    }

    fn installation(&self) -> String {
        self.installation.clone()
    }

    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)> {
        let serves = Behaviour::healthy().printing(["listening on 8080"]);
        let ends = Behaviour::with_health(Health::ExitsAtOnce(0));
        let behaviour = match kind {
            ProgramKind::Serves => serves,
            ProgramKind::IgnoresStop => serves.ignoring_stop(),
            ProgramKind::PrintsAndExits => ends.printing((1..=200).map(|number| format!("line {number}"))),
            ProgramKind::Fails => Behaviour::with_health(Health::ExitsAtOnce(3))
                .running_hook(HookPoint::PreDeploy, HookRun::Ends(3))
                .printing(["line 1"]),
            ProgramKind::PrintsEnvironment => ends.printing_environment(),
            ProgramKind::Missing => serves.missing(),
            _ => return Err(format!("there is no program for {kind:?}")),
        };
        Ok((self.runtime.define(format!("{kind:?}"), behaviour), None))
    }

    async fn taken(&self, endpoint: &Endpoint) -> CaseResult<Option<Taken>> {
        Ok(Some(Taken::new(self.runtime.occupy(endpoint))))
    }
}
