//! Backends that do not keep their contracts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use quark_core::backend::{
    Call, ContainerId, ContainerSpec, CreatedContainer, Drained, EffectiveRoute, Labels, Listening, LogChunk,
    LogSelection, ObservedContainer, ProbeFailure, ProbeTarget, Route, RuntimeCapabilities, StopOutcome,
};
use quark_core::{
    AppName, Artifact, ContainerName, ContainerRuntime, Endpoint, ImageRef, Prober, Result, Router, Slot,
};

/// A router that obeys whoever comes last.
#[derive(Debug, Default)]
pub(super) struct Obedient {
    routes: Mutex<BTreeMap<AppName, Route>>,
}

#[async_trait]
impl Router for Obedient {
    fn splits(&self) -> bool {
        true
    }

    async fn apply(&self, _: &Call, route: &Route) -> Result<()> {
        self.routes.lock().unwrap().insert(route.app.clone(), route.clone());
        Ok(())
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        let routes = self.routes.lock().unwrap();
        let effective = |route: &Route| EffectiveRoute {
            active: route.active,
            backup: route.backup,
            generation: route.generation,
            canary: route.canary,
        };
        Ok(routes.get(app).map(effective))
    }

    async fn drained(&self, _: &AppName, _: Slot, _: &Endpoint, _: Duration) -> Result<Drained> {
        Ok(Drained::Fully)
    }

    async fn remove(&self, _: &Call, app: &AppName) -> Result<()> {
        self.routes.lock().unwrap().remove(app);
        Ok(())
    }
}

/// A prober that finds everything well, without asking.
#[derive(Debug)]
pub(super) struct Optimist;

#[async_trait]
impl Prober for Optimist {
    async fn probe(&self, _: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        Ok(())
    }
}

/// A runtime that forgets to remove the first container that it is told to.
#[derive(Debug)]
pub(super) struct Untidy {
    inner: Arc<dyn ContainerRuntime>,
    forgot: AtomicBool,
}

impl Untidy {
    pub(super) fn new(inner: Arc<dyn ContainerRuntime>) -> Self {
        Self { inner, forgot: AtomicBool::new(false) }
    }
}

#[async_trait]
impl ContainerRuntime for Untidy {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }
    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        self.inner.allocate_endpoint(app, slot, taken).await
    }
    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        self.inner.ensure_image(call, image).await
    }
    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        self.inner.create(call, spec).await
    }
    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.inner.start(call, id).await
    }
    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        self.inner.inspect(name).await
    }
    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        self.inner.listening(id, endpoint).await
    }
    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        // It does not see what it has forgotten, unless it is asked for everything.
        let all = self.inner.list(labels).await?;
        let stopped = |it: &ObservedContainer| matches!(it.state, quark_core::backend::ContainerState::Exited { .. });
        Ok(all.into_iter().filter(|it| labels.is_empty() || !stopped(it)).collect())
    }
    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        self.inner.stop(call, id, grace).await
    }
    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        if !self.forgot.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.remove(call, id, expected).await
    }
    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.inner.logs(id, selection).await
    }
}
