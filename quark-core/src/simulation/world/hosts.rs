//! The machines that engines run on.

use std::sync::Arc;
use std::time::Duration;

use super::World;
use crate::backend::MetricsSink;
use crate::deployment::OwnerId;
use crate::engine::{DeploymentEngine, EngineConfig};
use crate::simulation::change::Change;
use crate::simulation::clock::{SimClock, SimPlatform};
use crate::simulation::executor::{ProcessId, lock};
use crate::simulation::faults::{
    Answers, FaultyAnalysis, FaultyBuilder, FaultyHost, FaultyProber, FaultyQueue, FaultyRouter, FaultyRuntime,
    FaultySource, FaultyStore, FaultyWorkspace, Gate,
};
use crate::{Error, ErrorKind, Result};

/// A machine that an engine runs on.
pub(super) struct Host {
    number: usize,
    /// How often its engine was started.
    lives: u32,
    /// How often its engine has taken another name.
    names: u32,
    pub(super) process: Option<ProcessId>,
    pub(super) engine: Option<DeploymentEngine>,
    frozen: bool,
    clock: SimClock,
    /// Polls of the processes that are gone.
    polls: u64,
}

impl Host {
    pub(super) fn new(number: usize, clock: SimClock) -> Self {
        Self { number, lives: 0, names: 0, process: None, engine: None, frozen: false, clock, polls: 0 }
    }
}

impl World {
    /// How many machines have an engine.
    #[must_use]
    pub fn engines(&self) -> usize {
        self.inner.furniture.engines
    }

    fn with_host<T>(&self, host: usize, change: impl FnOnce(&mut Host) -> T) -> Option<T> {
        lock(&self.inner.hosts).get_mut(host).map(change)
    }

    /// The engines that can be asked now.
    pub(crate) fn up(&self) -> Vec<(ProcessId, DeploymentEngine)> {
        let hosts = lock(&self.inner.hosts);
        hosts.iter().filter_map(|host| Some((host.process?, host.engine.clone()?))).collect()
    }

    /// Starts the engine of a machine that has none running.
    pub fn start(&self, host: usize) {
        let begun = self.with_host(host, |host| {
            if host.process.is_some() {
                return None;
            }
            host.lives += 1;
            let process = self.inner.sim.begin_process(format!("e{}.{}", host.number + 1, host.lives));
            host.process = Some(process);
            host.frozen = false;
            Some((process, host.clock.clone(), format!("engine-{}-{}", host.number + 1, host.names)))
        });
        let Some((process, clock, owner)) = begun.flatten() else { return };
        let world = self.clone();
        let starting = async move {
            match world.engine(process, clock, &owner).await {
                Ok(engine) => world.is_up(host, process, engine),
                Err(error) => world.has_failed(host, process, &error),
            }
        };
        self.inner.sim.executor.spawn(process, Box::pin(starting));
    }

    async fn engine(&self, process: ProcessId, clock: SimClock, owner: &str) -> Result<DeploymentEngine> {
        let inner = &self.inner;
        let sim = Arc::clone(&inner.sim);
        let gate = Gate { sim: Arc::clone(&sim), process, clock: sim.clock.clone() };
        let backends = inner.backends.clone();
        let platform = SimPlatform {
            executor: Arc::clone(&sim.executor),
            process,
            clock: clock.clone(),
            names: Arc::clone(&sim.names),
        };
        let config = EngineConfig {
            owner: OwnerId::parse(owner)?,
            lease: inner.furniture.lease,
            // So that apps have to wait for each other.
            builds: 1,
            // So that logs are forgotten in the time that a run has.
            keep_logs: Duration::from_secs(60),
            ..EngineConfig::new("/sim")
        };
        let workspace = FaultyWorkspace { gate: gate.clone(), inner: inner.disk.clone() };
        let runtime = FaultyRuntime::new(gate.clone(), backends.runtime, inner.furniture.ports);
        let host = FaultyHost { gate: gate.clone(), inner: backends.host };
        let builder = DeploymentEngine::builder_dyn(
            Arc::new(FaultyStore { gate: gate.clone(), inner: backends.store }),
            Arc::new(FaultyQueue { gate: gate.clone(), inner: backends.queue }),
            Arc::new(runtime),
            Arc::new(FaultyRouter { gate: gate.clone(), inner: backends.router, observed: Answers::default() }),
        )
        .with_config(config)
        .with_clock(Arc::new(clock))
        .with_builder(FaultyBuilder { gate: gate.clone(), inner: backends.builder })
        .with_source(FaultySource { gate: gate.clone(), inner: backends.source, disk: inner.disk.clone() })
        .with_metrics(Arc::clone(&inner.counts) as Arc<dyn MetricsSink>)
        .with_analysis(FaultyAnalysis { gate: gate.clone(), inner: backends.analysis })
        .with_prober(FaultyProber { gate, inner: backends.prober })
        .in_world(Arc::new(platform), Arc::new(workspace));
        if self.is_tight() { builder.with_host(host) } else { builder }.start().await
    }

    fn is_up(&self, host: usize, process: ProcessId, engine: DeploymentEngine) {
        self.inner.sim.tell(process, format_args!("is up"));
        let now = self.now();
        self.with_faults(|faults| faults.trouble(now));
        self.with_host(host, |host| {
            if host.process == Some(process) {
                host.engine = Some(engine);
            }
        });
    }

    /// What watches over the processes of the machine starts it again.
    fn has_failed(&self, host: usize, process: ProcessId, error: &Error) {
        self.inner.sim.tell(process, format_args!("cannot start: {}", error.code()));
        if error.kind() == ErrorKind::InvalidConfig || error.kind() == ErrorKind::Internal {
            self.inner.sim.violate("no-internal-error", error.report());
        }
        let world = self.clone();
        self.spawn(async move {
            if world.end(host, Some(process)) {
                world.sleep(Duration::from_secs(1)).await;
                world.start(host);
            }
        });
    }

    /// Ends the process of a machine; whether it had one, and this one if it is given.
    fn end(&self, host: usize, only: Option<ProcessId>) -> bool {
        let ended = self.with_host(host, |host| {
            let process = host.process.filter(|process| only.is_none_or(|only| only == *process))?;
            host.process = None;
            host.polls += self.inner.sim.executor.polls_of(process);
            Some((process, host.engine.take()))
        });
        let Some((process, engine)) = ended.flatten() else { return false };
        self.inner.sim.executor.kill(process);
        drop(engine);
        self.inner.sim.tell(process, format_args!("is dead"));
        let now = self.now();
        self.with_faults(|faults| faults.trouble(now));
        true
    }

    /// Kills the engine of a machine and starts it again after a while, with
    /// another name if it is `renamed`. Whether it ran.
    pub fn crash(&self, host: usize, after: Duration, renamed: bool) -> bool {
        let ended = self.end(host, None);
        if ended {
            self.with_host(host, |host| host.names += u32::from(renamed));
            let world = self.clone();
            self.spawn(async move {
                world.sleep(after).await;
                world.start(host);
            });
        }
        ended
    }

    /// Stops the engine of a machine from doing anything for a while. Whether it ran.
    pub fn freeze(&self, host: usize, during: Duration) -> bool {
        let frozen = self.with_host(host, |host| {
            let process = host.process.filter(|_| !host.frozen)?;
            host.frozen = true;
            Some(process)
        });
        let Some(process) = frozen.flatten() else { return false };
        self.inner.sim.executor.freeze(process);
        let world = self.clone();
        self.spawn(async move {
            world.sleep(during).await;
            world.thaw(host, process);
        });
        true
    }

    fn thaw(&self, host: usize, process: ProcessId) {
        self.with_host(host, |host| {
            if host.process == Some(process) {
                host.frozen = false;
            }
        });
        self.inner.sim.executor.thaw(process);
        self.inner.sim.change(process, &Change::GoesOn);
    }

    /// Sets how wrong the time of day is on a machine.
    pub fn jump_clock(&self, host: usize, micros: i64) {
        self.with_host(host, |host| host.clock.set_offset(micros));
    }

    /// Sets how wrong the time of day is on the machine of the store.
    pub fn jump_store_clock(&self, micros: i64) {
        self.inner.store_clock.set_offset(micros);
        self.inner.sim.change(ProcessId::WORLD, &Change::StoreClockSet(micros));
    }

    /// Starts all engines anew, with clocks that are right.
    pub(crate) fn restart_all(&self) {
        for host in 0..self.engines() {
            self.end(host, None);
            self.jump_clock(host, 0);
            self.start(host);
        }
    }

    /// How often the engine of a machine was polled, over all its lives.
    pub(crate) fn polls(&self, host: usize) -> u64 {
        let alive = |process| self.inner.sim.executor.polls_of(process);
        self.with_host(host, |host| host.polls + host.process.map_or(0, alive)).unwrap_or(0)
    }

    /// The machine of a process that runs.
    pub(crate) fn host_of(&self, process: ProcessId) -> Option<usize> {
        lock(&self.inner.hosts).iter().position(|host| host.process == Some(process))
    }
}
