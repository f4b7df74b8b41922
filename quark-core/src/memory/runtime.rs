//! `MemoryRuntime`: a container runtime without processes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::behaviour::{Behaviour, Health};
use super::container::{Container, Held};
use crate::app::{AppName, Artifact, ImageRef};
use crate::backend::container_runtime::{image_not_found, port_taken};
use crate::backend::{
    Call, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, CreatedContainer, Labels, Listening, LogChunk,
    LogSelection, ObservedContainer, RuntimeCapabilities, StopOutcome,
};
use crate::clock::{Clock, SystemClock};
use crate::deployment::{ContainerName, Endpoint, Slot};
use crate::{Error, ErrorKind, Result};

/// A container runtime without processes: containers are records, programs are
/// [`Behaviour`]s, endpoints are invented. Clones share one world, as two
/// engines share one Docker. For tests and for trying QUARK out.
///
/// ```
/// # async fn example() -> quark_core::Result<()> {
/// use quark_core::memory::{Behaviour, MemoryRuntime};
/// let runtime = MemoryRuntime::new();
/// let artifact = runtime.define("shop:1", Behaviour::healthy());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryRuntime {
    world: Arc<World>,
}

struct World {
    state: Mutex<State>,
    /// Counts the changes, for those who wait for one.
    changes: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    images: HashMap<String, Behaviour>,
    published: HashMap<ImageRef, Artifact>,
    containers: BTreeMap<ContainerName, Container>,
    foreign: HashMap<Endpoint, usize>,
    created: u64,
    allocated: u64,
    last_start: i64,
    effects: Vec<Effect>,
    faults: VecDeque<Fault>,
}

/// An effect that the runtime was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// `ensure_image`, `create`, `start`, `stop` or `remove`.
    pub operation: &'static str,
    /// The container's name, the image's for `ensure_image`, or the id of a
    /// container that is not there.
    pub target: String,
    /// The key of the call.
    pub key: String,
}

struct Fault {
    operation: &'static str,
    done: bool,
    error: Error,
}

impl MemoryRuntime {
    /// A runtime with no images and no containers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// A runtime whose containers live in the time of `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let world = World { state: Mutex::default(), changes: watch::Sender::new(0), clock };
        Self { world: Arc::new(world) }
    }

    /// Puts an image with this id there, or makes the containers that it is
    /// started in from now on behave differently.
    pub fn define(&self, id: impl Into<String>, behaviour: Behaviour) -> Artifact {
        let id = id.into();
        self.change(|state| state.images.insert(id.clone(), behaviour));
        Artifact { label: id.clone(), id }
    }

    /// Takes an image away.
    pub fn forget(&self, id: &str) {
        self.change(|state| state.images.remove(id));
    }

    /// Makes an image that can be pulled by this name.
    pub fn publish(&self, image: &ImageRef, behaviour: Behaviour) -> Artifact {
        let artifact = Artifact { id: format!("memory-image:{image}"), label: image.to_string() };
        self.change(|state| {
            state.images.insert(artifact.id.clone(), behaviour);
            state.published.insert(image.clone(), artifact.clone());
        });
        artifact
    }

    /// Lets something that is no container of ours hold an endpoint until the
    /// result is dropped.
    pub fn occupy(&self, endpoint: &Endpoint) -> Held {
        self.change(|state| *state.foreign.entry(endpoint.clone()).or_default() += 1);
        let (runtime, endpoint) = (self.clone(), endpoint.clone());
        Held::new(move || {
            runtime.change(|state| {
                let left = state.foreign.get(&endpoint).map_or(0, |holders| holders.saturating_sub(1));
                if left == 0 {
                    state.foreign.remove(&endpoint);
                } else {
                    state.foreign.insert(endpoint, left);
                }
            });
        })
    }

    /// Ends the program of a container from outside, as `SIGKILL` does.
    /// Whether there was one.
    pub fn kill(&self, name: &ContainerName) -> bool {
        self.end(name, ContainerState::Exited { code: Some(137), out_of_memory: false })
    }

    /// Ends the program of a container for its use of memory. Whether there was one.
    pub fn exhaust_memory(&self, name: &ContainerName) -> bool {
        self.end(name, ContainerState::Exited { code: Some(137), out_of_memory: true })
    }

    fn end(&self, name: &ContainerName, end: ContainerState) -> bool {
        self.change(|state| match state.containers.get_mut(name) {
            Some(container) if container.is_running() => {
                container.state = end;
                true
            }
            _ => false,
        })
    }

    /// Makes a running program answer differently. Whether there was one.
    pub fn set_health(&self, name: &ContainerName, health: Health) -> bool {
        self.change(|state| match state.containers.get_mut(name) {
            Some(container) if container.is_running() => {
                container.behaviour.health = health;
                true
            }
            _ => false,
        })
    }

    /// Fails the next call of `operation` with `error`, and does nothing then.
    pub fn fail_next(&self, operation: &'static str, error: Error) {
        self.change(|state| state.faults.push_back(Fault { operation, done: false, error }));
    }

    /// Does the next call of `operation` and fails it with `error` all the
    /// same, as a connection does that is cut before the answer.
    pub fn lose_answer(&self, operation: &'static str, error: Error) {
        self.change(|state| state.faults.push_back(Fault { operation, done: true, error }));
    }

    /// All containers in the order of their names.
    #[must_use]
    pub fn containers(&self) -> Vec<ObservedContainer> {
        self.state().containers.values().map(Container::observed).collect()
    }

    /// The spec that a container was made from.
    #[must_use]
    pub fn spec(&self, name: &ContainerName) -> Option<ContainerSpec> {
        self.state().containers.get(name).map(|container| container.spec.clone())
    }

    /// The effects that were asked for, in their order.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.state().effects.clone()
    }

    /// What answers at an endpoint, if something does. Counts as a question
    /// for [`Health::WarmsUp`].
    pub(super) fn ask(&self, endpoint: &Endpoint) -> Option<Health> {
        let mut state = self.state();
        let mut running = state.containers.values_mut().filter(|container| container.holds(endpoint));
        let health = &mut running.next()?.behaviour.health;
        let answer = *health;
        if let Health::WarmsUp(left) = answer {
            *health = left.checked_sub(1).map_or(Health::Healthy, Health::WarmsUp);
        }
        Some(answer)
    }

    /// Waits in the time of this world.
    pub(super) async fn sleep(&self, duration: Duration) {
        self.world.clock.sleep(duration).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has left whole records.
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.world.changes.send_modify(|changes| *changes += 1);
        done
    }

    /// Writes the effect down and does it, unless a test wants it to fail.
    async fn effect<T: Send>(
        &self,
        call: &Call,
        operation: &'static str,
        target: String,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let fault = self.change(|state| {
            state.effects.push(Effect { operation, target, key: call.key.clone() });
            let at = state.faults.iter().position(|fault| fault.operation == operation)?;
            state.faults.remove(at)
        });
        match fault {
            Some(fault) if !fault.done => Err(fault.error),
            Some(fault) => {
                call.bound(operation, work).await?;
                Err(fault.error)
            }
            None => call.bound(operation, work).await,
        }
    }

    /// The name of a container, for the record.
    fn target(&self, id: &ContainerId) -> String {
        let state = self.state();
        state.by_id(id).map_or_else(|| id.0.clone(), |container| container.spec.name.to_string())
    }

    fn try_start(&self, id: &ContainerId) -> Result<()> {
        let now = self.world.clock.now();
        self.change(|state| {
            let (endpoint, artifact) = match state.by_id(id) {
                None => return Err(no_container(id)),
                Some(container) if container.is_running() => return Ok(()),
                Some(container) => (container.spec.endpoint.clone(), container.spec.artifact.clone()),
            };
            if let Some(who) = state.holder(&endpoint) {
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

impl State {
    fn by_id(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.values().find(|container| container.id == *id)
    }

    fn by_id_mut(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.containers.values_mut().find(|container| container.id == *id)
    }

    fn holder(&self, endpoint: &Endpoint) -> Option<String> {
        if self.foreign.contains_key(endpoint) {
            return Some("another program".to_owned());
        }
        let ours = self.containers.values().find(|container| container.holds(endpoint))?;
        Some(format!("`{}`", ours.spec.name))
    }
}

fn no_container(id: &ContainerId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no container `{}`", id.0)).with_code("container_not_found")
}

impl Default for MemoryRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRuntime").field("containers", &self.state().containers.len()).finish_non_exhaustive()
    }
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
            {
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
            }
            self.changes.changed().await.ok()?;
        }
    }
}
