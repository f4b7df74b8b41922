//! `MemoryRuntime`: a container runtime without processes.

mod contract;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::behaviour::{Behaviour, Health};
use super::container::{Container, Held};
use crate::app::{Artifact, ImageRef};
use crate::backend::{Call, ContainerId, ContainerSpec, ContainerState, ObservedContainer};
use crate::clock::{Clock, SystemClock};
use crate::deployment::{ContainerName, Endpoint};
use crate::{Error, Result};

/// A container runtime without processes: containers are records, programs are
/// [`Behaviour`]s, endpoints are invented. Clones share one world, as two
/// engines share one Docker. For tests and for trying QUARK out.
///
/// ```
/// use quark_core::memory::{Behaviour, Health, MemoryRuntime};
/// let runtime = MemoryRuntime::new();
/// let good = runtime.define("shop:1", Behaviour::healthy());
/// let bad = runtime.define("shop:2", Behaviour::with_health(Health::Status(500)));
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

    /// Forgets how the program of a container has ended, as a runtime does whose
    /// engine has died meanwhile. Whether there was an end to forget.
    pub fn forget_end(&self, name: &ContainerName) -> bool {
        self.change(|state| match state.containers.get_mut(name).map(|container| &mut container.state) {
            Some(ContainerState::Exited { code, .. }) => code.take().is_some(),
            _ => false,
        })
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
    pub(in crate::memory) fn ask(&self, endpoint: &Endpoint) -> Option<Health> {
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
    pub(in crate::memory) async fn sleep(&self, duration: Duration) {
        self.world.clock.sleep(duration).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has left whole records.
        let mut state = self.world.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.containers.values().any(|container| container.ends.is_some()) {
            let now = self.world.clock.now();
            state.containers.values_mut().for_each(|container| container.expire(now));
        }
        state
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
