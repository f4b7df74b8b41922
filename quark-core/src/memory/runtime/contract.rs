//! How the memory runtime keeps the contract.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::MemoryRuntime;
use crate::app::{AppName, Artifact, ImageRef};
use crate::backend::container_runtime::{image_not_found, port_taken};
use crate::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, CreatedContainer, Labels, Listening, LogChunk,
    LogSelection, ObservedContainer, RuntimeCapabilities, StopOutcome,
};
use crate::deployment::{ContainerName, Endpoint, Slot};
use crate::memory::container::Container;
use crate::{Error, ErrorKind, Result};

impl MemoryRuntime {
    fn try_start(&self, id: &ContainerId) -> Result<()> {
        let now = self.world.clock.now();
        self.change(|state| {
            let (endpoint, artifact) = match state.by_id(id) {
                None => return Err(no_container(id)),
                Some(container) if container.is_running() || container.is_over() => return Ok(()),
                Some(container) => (container.spec.endpoint().cloned(), container.spec.artifact.clone()),
            };
            if let Some((endpoint, who)) = endpoint.and_then(|at| state.holder(&at).map(|who| (at, who))) {
                return Err(port_taken(&endpoint, &who));
            }
            let behaviour = state.images.get(&artifact.id).cloned().ok_or_else(|| image_not_found(&artifact.label))?;
            if behaviour.program_missing {
                return Err(Error::new(ErrorKind::NotFound, format!("`{}` holds no such program", artifact.label))
                    .with_code("command_not_found")
                    .with_hint("check the command and that the build made the program"));
            }
            // Two starts are two processes, also within one microsecond.
            state.last_start = now.as_micros().max(state.last_start + 1);
            let started_at = state.last_start;
            if let Some(container) = state.by_id_mut(id) {
                container.start(behaviour, started_at);
            }
            Ok(())
        })
    }

    async fn end_gently(&self, id: &ContainerId, grace: Duration) -> StopOutcome {
        let ignores = self.change(|state| {
            let container = state.by_id_mut(id).filter(|container| container.is_running())?;
            let ignores = container.behaviour.ignores_stop;
            if !ignores {
                container.state = ContainerState::Exited { code: Some(0), out_of_memory: false };
            }
            Some(ignores)
        });
        match ignores {
            None => StopOutcome::AlreadyStopped,
            Some(false) => StopOutcome::Exited,
            Some(true) => {
                self.sleep(grace).await;
                self.change(|state| {
                    if let Some(container) = state.by_id_mut(id).filter(|container| container.is_running()) {
                        container.state = ContainerState::Exited { code: Some(137), out_of_memory: false };
                    }
                });
                StopOutcome::Killed
            }
        }
    }
}

fn no_container(id: &ContainerId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no container `{}`", id.0)).with_code("container_not_found")
}

#[async_trait]
impl ContainerRuntime for MemoryRuntime {
    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities { name: "memory", enforces_limits: false, pulls_images: true }
    }

    async fn allocate_endpoint(&self, _: &AppName, _: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        let taken: HashSet<_> = taken.iter().collect();
        self.change(|state| {
            loop {
                state.allocated += 1;
                let endpoint = Endpoint::new(format!("memory:{}", state.allocated));
                if !taken.contains(&endpoint) && state.holder(&endpoint).is_none() {
                    return Ok(endpoint);
                }
            }
        })
    }

    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        let work = async {
            let state = self.state();
            let published = state.published.get(image).filter(|artifact| state.images.contains_key(&artifact.id));
            published.cloned().ok_or_else(|| image_not_found(image.as_str()))
        };
        self.effect(call, "ensure_image", image.to_string(), work).await
    }

    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        let work = async {
            self.change(|state| {
                if let Some(there) = state.containers.get(&spec.name) {
                    if there.spec.hash() == spec.hash() {
                        return Ok(CreatedContainer { id: there.id.clone(), adopted: true });
                    }
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("`{}` exists and was made from something else", spec.name),
                    )
                    .with_code("container_differs"));
                }
                if !state.images.contains_key(&spec.artifact.id) {
                    return Err(image_not_found(&spec.artifact.label));
                }
                state.created += 1;
                let id = ContainerId(format!("memory-{}", state.created));
                state.containers.insert(spec.name.clone(), Container::new(id.clone(), spec.clone()));
                Ok(CreatedContainer { id, adopted: false })
            })
        };
        self.effect(call, "create", spec.name.to_string(), work).await
    }

    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.effect(call, "start", self.target(id), async { self.try_start(id) }).await
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        Ok(self.state().containers.get(name).map(Container::observed))
    }

    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        let state = self.state();
        let container = state.by_id(id);
        if container.is_some_and(|container| container.holds(endpoint)) {
            return Ok(Listening::Ours);
        }
        if let Some(who) = state.holder(endpoint) {
            return Ok(Listening::Foreign { who });
        }
        let running = container.filter(|container| container.is_running());
        Ok(Listening::Nothing { elsewhere: running.map(|it| it.behaviour.elsewhere.clone()).unwrap_or_default() })
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        let state = self.state();
        let wanted = state.containers.values().filter(|container| container.carries(labels));
        Ok(wanted.map(Container::observed).collect())
    }

    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        self.effect(call, "stop", self.target(id), async { Ok(self.end_gently(id, grace).await) }).await
    }

    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        let work = async {
            self.change(|state| {
                let Some(container) = state.by_id(id) else { return Ok(()) };
                let name = container.spec.name.clone();
                if !container.carries(expected) {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("`{name}` is not the container that was meant"),
                    )
                    .with_code("labels_differ"));
                }
                if container.is_running() {
                    return Err(
                        Error::new(ErrorKind::Conflict, format!("`{name}` still runs")).with_code("container_running")
                    );
                }
                state.containers.remove(&name);
                Ok(())
            })
        };
        self.effect(call, "remove", self.target(id), work).await
    }

    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let from = {
            let state = self.state();
            let printed = state.by_id(id).ok_or_else(|| no_container(id))?.output.len();
            selection.tail.map_or(0, |tail| printed.saturating_sub(tail))
        };
        let reader = Reader {
            runtime: self.clone(),
            changes: self.world.changes.subscribe(),
            id: id.clone(),
            next: from,
            follow: selection.follow,
        };
        let chunks = stream::unfold(reader, |mut reader| async { Some((Ok(reader.next().await?), reader)) });
        Ok(chunks.boxed())
    }
}

/// Somebody who reads the output of a container.
struct Reader {
    runtime: MemoryRuntime,
    changes: watch::Receiver<u64>,
    id: ContainerId,
    next: usize,
    follow: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<LogChunk> {
        loop {
            self.changes.borrow_and_update();
            let ends = {
                let state = self.runtime.state();
                let container = state.by_id(&self.id)?;
                if let Some(chunk) = container.output.get(self.next) {
                    self.next += 1;
                    return Some(chunk.clone());
                }
                let ended = matches!(container.state, ContainerState::Exited { .. });
                if ended || !self.follow {
                    return None;
                }
                container.ends.map(|(at, _)| at.since(self.runtime.world.clock.now()))
            };
            tokio::select! {
                biased;
                changed = self.changes.changed() => changed.ok()?,
                () = self.runtime.sleep(ends.unwrap_or_default()), if ends.is_some() => {}
            }
        }
    }
}
