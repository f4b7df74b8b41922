//! A container runtime behind a socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::answers::Answers;
use super::gate::Gate;
use super::op::Op;
use super::store::boxed;
use crate::app::{AppName, Artifact, ImageRef};
use crate::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, CreatedContainer, Labels, Listening, LogChunk, LogSelection,
    ObservedContainer, RuntimeCapabilities, StopOutcome,
};
use crate::deployment::{ContainerName, Endpoint, Slot};
use crate::simulation::change::Change;
use crate::{Error, ErrorKind, Result};

/// A container runtime behind a socket.
#[derive(Debug)]
pub(crate) struct FaultyRuntime {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn ContainerRuntime>,
    /// The addresses that there are, if they are few.
    pub(crate) ports: Option<u32>,
    seen: Answers<ContainerName, Option<ObservedContainer>>,
    listed: Answers<Labels, Vec<ObservedContainer>>,
}

impl FaultyRuntime {
    pub(crate) fn new(gate: Gate, inner: Arc<dyn ContainerRuntime>, ports: Option<u32>) -> Self {
        Self { gate, inner, ports, seen: Answers::default(), listed: Answers::default() }
    }

    /// The name of a container, which is how the ledger knows it.
    async fn name_of(inner: &Arc<dyn ContainerRuntime>, id: &ContainerId) -> Option<ContainerName> {
        let all = inner.list(&Labels::new()).await.unwrap_or_default();
        all.into_iter().find(|container| container.id == *id).map(|container| container.name)
    }

    /// Tells the ledger how a container is now.
    async fn look(gate: &Gate, inner: &Arc<dyn ContainerRuntime>, name: Option<&ContainerName>) {
        let Some(name) = name else { return };
        match inner.inspect(name).await {
            Ok(Some(observed)) => gate.sim.change(gate.process, &Change::ContainerSeen(&observed)),
            Ok(None) => gate.sim.change(gate.process, &Change::ContainerRemoved(name)),
            Err(_) => {}
        }
    }

    fn asked(gate: &Gate, op: Op, call: &Call, container: Option<&ContainerName>) {
        gate.sim.change(gate.process, &Change::Asked { op, call, container, route: None });
    }
}

#[async_trait]
impl ContainerRuntime for FaultyRuntime {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }

    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        let Some(ports) = self.ports else {
            return self.gate.read(Op::RuntimeAllocateEndpoint, self.inner.allocate_endpoint(app, slot, taken)).await;
        };
        let free = async {
            let mut pool = (1..=ports).map(|port| Endpoint::new(format!("pool:{port}")));
            let is_free = |endpoint: &Endpoint| {
                let held = self.gate.sim.with(|state| state.ledger.at(endpoint).is_some());
                !taken.contains(endpoint) && !held
            };
            pool.find(is_free).ok_or_else(|| {
                Error::new(ErrorKind::ResourceExhausted, "no port of the pool is free").with_code("no_free_port")
            })
        };
        self.gate.read(Op::RuntimeAllocateEndpoint, free).await
    }

    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        let make = |call: Call| {
            let (inner, image) = (Arc::clone(&self.inner), image.clone());
            boxed(async move { inner.ensure_image(&call, &image).await })
        };
        self.gate.call(Op::RuntimeEnsureImage, call, make).await
    }

    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        Self::asked(&self.gate, Op::RuntimeCreate, call, Some(&spec.name));
        let make = |call: Call| {
            let (inner, gate, spec) = (Arc::clone(&self.inner), self.gate.clone(), spec.clone());
            boxed(async move {
                let created = inner.create(&call, &spec).await?;
                if !created.adopted {
                    gate.sim.change(gate.process, &Change::ContainerCreated(&spec));
                }
                Ok(created)
            })
        };
        self.gate.call(Op::RuntimeCreate, call, make).await
    }

    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        let name = Self::name_of(&self.inner, id).await;
        Self::asked(&self.gate, Op::RuntimeStart, call, name.as_ref());
        let make = |call: Call| {
            let (inner, gate, id, name) = (Arc::clone(&self.inner), self.gate.clone(), id.clone(), name.clone());
            boxed(async move {
                let started = inner.start(&call, &id).await;
                Self::look(&gate, &inner, name.as_ref()).await;
                started
            })
        };
        self.gate.call(Op::RuntimeStart, call, make).await
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        let there = self.inner.inspect(name).await;
        if let Ok(Some(observed)) = &there {
            // A hook ends by itself: nobody else tells.
            let known = self.gate.sim.with(|state| state.ledger.hook(name).map(|hook| hook.state.clone()));
            if known.is_some_and(|known| known != observed.state) {
                self.gate.sim.change(self.gate.process, &Change::ContainerSeen(observed));
            }
        }
        let (answer, stale) = self.seen.ask(&self.gate, Op::RuntimeInspect, name, self.inner.inspect(name)).await?;
        if stale {
            self.gate.sim.change(self.gate.process, &Change::Misled(name));
        }
        Ok(answer)
    }

    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        self.gate.read(Op::RuntimeListening, self.inner.listening(id, endpoint)).await
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        Ok(self.listed.ask(&self.gate, Op::RuntimeList, labels, self.inner.list(labels)).await?.0)
    }

    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        let name = Self::name_of(&self.inner, id).await;
        Self::asked(&self.gate, Op::RuntimeStop, call, name.as_ref());
        let make = |call: Call| {
            let (inner, gate, id, name) = (Arc::clone(&self.inner), self.gate.clone(), id.clone(), name.clone());
            boxed(async move {
                let stopped = inner.stop(&call, &id, grace).await;
                Self::look(&gate, &inner, name.as_ref()).await;
                stopped
            })
        };
        self.gate.call(Op::RuntimeStop, call, make).await
    }

    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        let name = Self::name_of(&self.inner, id).await;
        Self::asked(&self.gate, Op::RuntimeRemove, call, name.as_ref());
        let make = |call: Call| {
            let (inner, gate, id) = (Arc::clone(&self.inner), self.gate.clone(), id.clone());
            let (name, expected) = (name.clone(), expected.clone());
            boxed(async move {
                let removed = inner.remove(&call, &id, &expected).await;
                Self::look(&gate, &inner, name.as_ref()).await;
                removed
            })
        };
        self.gate.call(Op::RuntimeRemove, call, make).await
    }

    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.gate.read(Op::RuntimeLogs, self.inner.logs(id, selection)).await
    }
}
