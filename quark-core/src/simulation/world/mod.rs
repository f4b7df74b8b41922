//! `World`: backends, engines on them, and what can be done to both.

mod client;
mod counts;
mod harm;
mod hosts;
mod machine;
mod program;
mod restore;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::chance::Chance;
use super::clock::{SimClock, SimPlatform};
use super::events::Happening;
use super::executor::{ProcessId, lock};
use super::faults::{Faults, SimWorkspace};
use super::ledger::Ledger;
use super::sim::Sim;
use crate::app::CommitSha;
use crate::backend::{
    AnalysisSource, ContainerRuntime, HostGauge, ImageBuilder, Prober, Queue, Router, SourceFetcher, Store,
};
use crate::clock::Clock;
use crate::deployment::DeploymentId;
use crate::memory::{
    MemoryAnalysis, MemoryBuilder, MemoryHost, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemorySource,
    MemoryStore,
};

pub use program::Program;

use counts::Counts;
use hosts::Host;
use program::Fate;
use restore::Past;

/// What the engines of a simulated world work with. What is not replaced is
/// kept in memory.
///
/// A backend that is put in the place of one of these must answer without a
/// runtime: it must take the time from `clock`, and may wait for nothing else
/// that is outside of the simulation.
#[derive(Clone, Debug)]
pub struct Backends {
    /// Keeps what was intended.
    pub store: Arc<dyn Store>,
    /// Hands out work.
    pub queue: Arc<dyn Queue>,
    /// Runs instances.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Sends requests to the live slot.
    pub router: Arc<dyn Router>,
    /// Asks for health.
    pub prober: Arc<dyn Prober>,
    /// Makes images.
    pub builder: Arc<dyn ImageBuilder>,
    /// Tells what users get.
    pub analysis: Arc<dyn AnalysisSource>,
    /// Fetches sources.
    pub source: Arc<dyn SourceFetcher>,
    /// Tells what the machine has left, in worlds where there is little.
    pub host: Arc<dyn HostGauge>,
    /// The time of the simulated world.
    pub clock: Arc<dyn Clock>,
}

/// The backends in memory, for what cannot be said through a trait.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) store: MemoryStore,
    pub(crate) queue: MemoryQueue,
    pub(crate) runtime: MemoryRuntime,
    pub(crate) builder: MemoryBuilder,
    pub(crate) source: MemorySource,
    pub(crate) analysis: MemoryAnalysis,
    pub(crate) host: MemoryHost,
    pub(crate) router: MemoryRouter,
}

/// How long what happens to a world disturbs it, at most.
const TROUBLE: Duration = Duration::from_secs(100);

/// How a world is furnished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Furniture {
    pub(crate) engines: usize,
    /// Addresses that all apps share; any number if there is none.
    pub(crate) ports: Option<u32>,
    /// Whether the store queues jobs together with what it writes.
    pub(crate) queue_in_store: bool,
    pub(crate) lease: Duration,
    /// For how many instances of the usual size there is room on the machine; it
    /// is not looked at without.
    pub(crate) room: Option<u64>,
}

/// A simulated world: backends, engines on them, and what can be done to both.
/// Clones are the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    sim: Arc<Sim>,
    backends: Backends,
    memory: Memory,
    disk: SimWorkspace,
    /// Whether the store is the one in memory.
    own_store: bool,
    /// The time of the store's machine.
    store_clock: SimClock,
    past: Mutex<Past>,
    /// Whether an engine has noticed that the store went back in time.
    doubted: AtomicBool,
    counts: Arc<Counts>,
    furniture: Furniture,
    hosts: Mutex<Vec<Host>>,
    fates: Mutex<BTreeMap<CommitSha, Fate>>,
    fulfilled: Mutex<BTreeSet<DeploymentId>>,
    chance: Mutex<Chance>,
    /// Values that nobody may be shown.
    secrets: Vec<String>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("sim", &self.inner.sim).finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(
        sim: &Arc<Sim>,
        furniture: Furniture,
        chance: &Chance,
        refit: impl FnOnce(Backends) -> Backends,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(sim.clock.clone());
        let platform = Arc::new(SimPlatform {
            executor: Arc::clone(&sim.executor),
            process: ProcessId::WORLD,
            clock: sim.clock.clone(),
            names: Arc::clone(&sim.names),
        });
        // Store and queue are on one machine, and so have one clock.
        let store_clock = SimClock::new(Arc::clone(&sim.executor));
        let kept_by: Arc<dyn Clock> = Arc::new(store_clock.clone());
        let queue = MemoryQueue::with_names(Arc::clone(&kept_by), platform);
        let in_store = furniture.queue_in_store.then(|| queue.clone());
        let store = MemoryStore::named(kept_by, in_store, "sim".to_owned());
        let runtime = MemoryRuntime::with_clock(Arc::clone(&clock));
        let memory = Memory {
            store: store.clone(),
            queue: queue.clone(),
            builder: MemoryBuilder::new(&runtime),
            source: MemorySource::without_files(),
            analysis: MemoryAnalysis::new(Arc::clone(&clock)),
            router: MemoryRouter::with_clock(Arc::clone(&clock)),
            runtime: runtime.clone(),
            host: MemoryHost::new(furniture.room.map(machine::with_room_for).unwrap_or_default()),
        };
        sim.with(|state| state.ledger.set_room(furniture.room.map(machine::room)));
        let store: Arc<dyn Store> = Arc::new(store);
        let backends = refit(Backends {
            store: Arc::clone(&store),
            queue: Arc::new(queue),
            runtime: Arc::new(runtime.clone()),
            router: Arc::new(memory.router.clone()),
            prober: Arc::new(MemoryProber::new(&runtime)),
            builder: Arc::new(memory.builder.clone()),
            source: Arc::new(memory.source.clone()),
            analysis: Arc::new(memory.analysis.clone()),
            host: Arc::new(memory.host.clone()),
            clock,
        });
        let own_store = std::ptr::addr_eq(Arc::as_ptr(&store), Arc::as_ptr(&backends.store));
        let hosts = (0..furniture.engines).map(|number| Host::new(number, SimClock::new(Arc::clone(&sim.executor))));
        Self {
            inner: Arc::new(Inner {
                sim: Arc::clone(sim),
                backends,
                memory,
                disk: SimWorkspace::default(),
                own_store,
                store_clock,
                past: Mutex::default(),
                doubted: AtomicBool::new(false),
                counts: Arc::default(),
                furniture,
                hosts: Mutex::new(hosts.collect()),
                fates: Mutex::default(),
                fulfilled: Mutex::default(),
                chance: Mutex::new(chance.fork("world")),
                secrets: vec!["correct-horse-battery".to_owned(), "staple-of-secrets".to_owned()],
            }),
        }
    }

    /// The virtual time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.inner.sim.executor.now()
    }

    /// Waits in virtual time.
    pub async fn sleep(&self, duration: Duration) {
        self.inner.sim.sleep(duration).await;
    }

    /// Runs something beside the scenario, as a part of the world.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.sim.executor.spawn(ProcessId::WORLD, Box::pin(task));
    }

    /// The backends as they are, without any faults before them.
    #[must_use]
    pub fn backends(&self) -> &Backends {
        &self.inner.backends
    }

    /// What is true in this world.
    pub fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        self.inner.sim.with(|state| read(&state.ledger))
    }

    /// Draws from the seed.
    pub fn with_chance<T>(&self, draw: impl FnOnce(&mut Chance) -> T) -> T {
        draw(&mut lock(&self.inner.chance))
    }

    /// Ends the run as failed, for a reason of the scenario's own.
    pub fn fail(&self, why: impl Into<String>) {
        self.inner.sim.violate("scenario", why.into());
    }

    /// Writes a line into the trace.
    pub fn tell(&self, what: impl fmt::Display) {
        self.inner.sim.tell(ProcessId::WORLD, format_args!("{what}"));
    }

    /// What people call a deployment: its app and its number.
    #[must_use]
    pub fn label(&self, id: DeploymentId) -> String {
        self.with_ledger(|ledger| ledger.label(id))
    }

    pub(crate) fn with_faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        self.inner.sim.with(|state| change(&mut state.faults))
    }

    /// Notes that something happened.
    pub(crate) fn note(&self, happening: Happening) {
        self.tell(format_args!("it happens: {happening}"));
        if !happening.is_life() {
            let until = self.now() + TROUBLE;
            self.with_faults(|faults| faults.trouble(until));
        }
        self.inner.sim.happened(happening);
    }

    /// The deployments that have a checkout.
    pub(crate) fn checkouts(&self) -> Vec<DeploymentId> {
        self.inner.disk.left()
    }

    /// Whether what engines have counted is what happened; `all` says that
    /// nothing went wrong, so that nothing may be missing.
    pub(crate) fn counts_agree(&self, all: bool) -> Result<(), String> {
        self.with_ledger(|ledger| self.inner.counts.agree(ledger, all))
    }

    pub(crate) fn sim(&self) -> &Sim {
        &self.inner.sim
    }

    pub(crate) fn secrets(&self) -> &[String] {
        &self.inner.secrets
    }
}
