//! Runtime, router, builder, source, prober and clock as one process reaches them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use quark_core::backend::{
    BuildKey, BuildRequest, Call, ContainerId, ContainerSpec, CreatedContainer, Drained, EffectiveRoute, Labels,
    Listening, LogChunk, LogSelection, LogSink, ObservedContainer, ProbeFailure, ProbeTarget, Route,
    RuntimeCapabilities, StopOutcome,
};
use quark_core::memory::{MemoryBuilder, MemoryProber, MemoryRouter, MemoryRuntime, MemorySource};
use quark_core::{
    AppName, Artifact, BranchName, Clock, CommitSha, ContainerName, ContainerRuntime, Endpoint, ImageBuilder, ImageRef,
    Prober, RepositoryUrl, Result, Router, Slot, SourceFetcher, SystemClock, Timestamp,
};

use super::fate::{Detail, Fate};

/// Something of the world as one process reaches it.
#[derive(Debug)]
pub(crate) struct Fated<T> {
    pub(crate) inner: T,
    pub(crate) fate: Fate,
}

impl<T> Fated<T> {
    async fn pass<R>(&self, operation: &'static str, work: impl Future<Output = Result<R>>) -> Result<R> {
        self.fate.pass(operation, Detail::Nothing, work).await
    }
}

#[async_trait]
impl ContainerRuntime for Fated<MemoryRuntime> {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }
    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        self.pass("runtime.allocate_endpoint", self.inner.allocate_endpoint(app, slot, taken)).await
    }
    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        self.pass("runtime.ensure_image", self.inner.ensure_image(call, image)).await
    }
    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        self.fate.pass("runtime.create", Detail::Spec(spec), self.inner.create(call, spec)).await
    }
    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.pass("runtime.start", self.inner.start(call, id)).await
    }
    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        self.pass("runtime.inspect", self.inner.inspect(name)).await
    }
    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        self.pass("runtime.listening", self.inner.listening(id, endpoint)).await
    }
    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        self.pass("runtime.list", self.inner.list(labels)).await
    }
    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        self.pass("runtime.stop", self.inner.stop(call, id, grace)).await
    }
    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        self.pass("runtime.remove", self.inner.remove(call, id, expected)).await
    }
    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.pass("runtime.logs", self.inner.logs(id, selection)).await
    }
}

#[async_trait]
impl Router for Fated<MemoryRouter> {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.fate.pass("router.apply", Detail::Route(route), self.inner.apply(call, route)).await
    }
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        self.pass("router.observe", self.inner.observe(app)).await
    }
    async fn drained(&self, app: &AppName, slot: Slot, at: &Endpoint, longest: Duration) -> Result<Drained> {
        self.pass("router.drained", self.inner.drained(app, slot, at, longest)).await
    }
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        self.pass("router.remove", self.inner.remove(call, app)).await
    }
}

#[async_trait]
impl ImageBuilder for Fated<MemoryBuilder> {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        self.pass("builder.find", self.inner.find(key)).await
    }
    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        self.pass("builder.build", self.inner.build(call, request, log)).await
    }
    async fn discard(&self, key: &BuildKey) -> Result<()> {
        self.pass("builder.discard", self.inner.discard(key)).await
    }
}

#[async_trait]
impl SourceFetcher for Fated<MemorySource> {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        self.pass("source.resolve", self.inner.resolve(call, repository, branch)).await
    }
    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        self.pass("source.fetch", self.inner.fetch(call, repository, commit, into, log)).await
    }
}

#[async_trait]
impl Prober for Fated<MemoryProber> {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        let asked = async { Ok(self.inner.probe(target).await) };
        // Who fails a question means that no answer came.
        self.pass("prober.probe", asked).await.unwrap_or(Err(ProbeFailure::TimedOut))
    }
}

/// Time that passes only while nobody has anything to do, and then at once.
#[derive(Clone, Debug)]
pub(crate) struct IdleTime(SystemClock);

impl IdleTime {
    pub(crate) fn new() -> Self {
        Self(SystemClock::new())
    }
}

#[async_trait]
impl Clock for IdleTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).after(self.0.monotonic())
    }
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

/// The clock of one process, whose time of day may be wrong.
#[derive(Debug)]
pub(crate) struct FatedClock {
    pub(crate) inner: IdleTime,
    pub(crate) fate: Fate,
    /// How many microseconds it is ahead.
    pub(crate) ahead: Arc<AtomicI64>,
}

#[async_trait]
impl Clock for FatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.inner.now().as_micros() + self.ahead.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }
    async fn sleep(&self, duration: Duration) {
        let slept = async {
            self.inner.sleep(duration).await;
            self.fate.thawed().await;
        };
        self.fate.alive(slept).await;
    }
}
