//! Backends through which a test can make calls fail, wait or do more.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use quark_core::backend::{
    BuildKey, BuildRequest, Call, ContainerId, ContainerSpec, CreatedContainer, Drained, EffectiveRoute, Labels,
    Listening, LogChunk, LogSelection, LogSink, ObservedContainer, Route, RuntimeCapabilities, StopOutcome,
};
use quark_core::{
    AppName, Artifact, BranchName, CommitSha, ContainerName, ContainerRuntime, Endpoint, Error, ImageBuilder, ImageRef,
    RepositoryUrl, Result, Router, Slot, SourceFetcher,
};
use tokio::sync::watch;

/// What happens before each call, by its name; an error is the call's answer.
pub(crate) type Hook = Arc<dyn Fn(&'static str) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// A backend with a hook before each of its calls.
pub(crate) struct Hooked<B> {
    inner: B,
    hook: Hook,
}

impl<B> Hooked<B> {
    pub(crate) fn new(inner: B, hook: Hook) -> Self {
        Self { inner, hook }
    }

    /// Fails the calls for which `fault` has an error.
    pub(crate) fn failing(
        inner: B,
        fault: impl Fn(&'static str) -> Option<Error> + Clone + Send + Sync + 'static,
    ) -> Self {
        let fault = move |operation| {
            let error = fault(operation);
            Box::pin(async move { error.map_or(Ok(()), Err) }) as BoxFuture<'static, Result<()>>
        };
        Self::new(inner, Arc::new(fault))
    }

    async fn at(&self, operation: &'static str) -> Result<&B> {
        (self.hook)(operation).await?;
        Ok(&self.inner)
    }
}

impl<B: fmt::Debug> fmt::Debug for Hooked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// Holds the calls of one operation back while it is closed.
#[derive(Clone)]
pub(crate) struct Gate {
    operation: &'static str,
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Default)]
struct GateState {
    /// So many calls are let through before it holds the others.
    closed_after: Option<usize>,
    waiting: usize,
}

impl Gate {
    /// An open gate.
    pub(crate) fn new(operation: &'static str) -> Self {
        Self { operation, state: Arc::default() }
    }

    /// Lets so many calls through and holds those after them.
    pub(crate) fn close_after(&self, calls: usize) {
        self.state.send_modify(|state| state.closed_after = Some(calls));
    }

    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.closed_after = None);
    }

    /// Waits until a call is held back.
    pub(crate) async fn reached(&self) {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| state.waiting > 0);
        tokio::time::timeout(Duration::from_secs(3600), reached).await.expect("nobody comes this way").unwrap();
    }

    pub(crate) fn hook(&self) -> Hook {
        let gate = self.clone();
        Arc::new(move |operation| {
            let gate = gate.clone();
            Box::pin(async move {
                if operation == gate.operation {
                    gate.enter().await;
                }
                Ok(())
            })
        })
    }

    async fn enter(&self) {
        let mut held = false;
        self.state.send_modify(|state| match &mut state.closed_after {
            None => {}
            Some(0) => {
                state.waiting += 1;
                held = true;
            }
            Some(left) => *left -= 1,
        });
        if held {
            self.state.subscribe().wait_for(|state| state.closed_after.is_none()).await.unwrap();
            self.state.send_modify(|state| state.waiting -= 1);
        }
    }
}

#[async_trait]
impl<R: ContainerRuntime> ContainerRuntime for Hooked<R> {
    fn capabilities(&self) -> RuntimeCapabilities {
        self.inner.capabilities()
    }
    async fn allocate_endpoint(&self, app: &AppName, slot: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        self.at("allocate_endpoint").await?.allocate_endpoint(app, slot, taken).await
    }
    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        self.at("ensure_image").await?.ensure_image(call, image).await
    }
    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        self.at("create").await?.create(call, spec).await
    }
    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.at("start").await?.start(call, id).await
    }
    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        self.at("inspect").await?.inspect(name).await
    }
    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        self.at("listening").await?.listening(id, endpoint).await
    }
    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        let found = self.at("list").await?.list(labels).await?;
        // Something may happen before the answer arrives.
        self.at("listed").await?;
        Ok(found)
    }
    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        self.at("stop").await?.stop(call, id, grace).await
    }
    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        self.at("remove").await?.remove(call, id, expected).await
    }
    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.at("logs").await?.logs(id, selection).await
    }
}

#[async_trait]
impl<R: Router> Router for Hooked<R> {
    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.at("apply").await?.apply(call, route).await?;
        self.at("applied").await?;
        Ok(())
    }
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        self.at("observe").await?.observe(app).await
    }
    async fn drained(&self, app: &AppName, slot: Slot, at: &Endpoint, longest: Duration) -> Result<Drained> {
        self.at("drained").await?.drained(app, slot, at, longest).await
    }
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        self.at("remove").await?.remove(call, app).await
    }
}

#[async_trait]
impl<S: SourceFetcher> SourceFetcher for Hooked<S> {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        self.at("resolve").await?.resolve(call, repository, branch).await
    }
    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        self.at("fetch").await?.fetch(call, repository, commit, into, log).await
    }
}

#[async_trait]
impl<B: ImageBuilder> ImageBuilder for Hooked<B> {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        self.at("find").await?.find(key).await
    }
    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        self.at("build").await?.build(call, request, log).await
    }
    async fn discard(&self, key: &BuildKey) -> Result<()> {
        self.at("discard").await?.discard(key).await
    }
}
