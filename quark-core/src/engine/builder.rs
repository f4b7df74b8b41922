//! Puts an engine together.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::api::DeploymentEngine;
use super::config::EngineConfig;
use super::places::Places;
use super::safe_mode::SafeMode;
use super::shared::Shared;
use super::{liveness, reconcile, recovery, sweep, worker};
use crate::app::Domain;
use crate::backend::{
    AnalysisSource, ContainerRuntime, HostGauge, ImageBuilder, MetricsSink, NoMetrics, Prober, Queue, Router,
    SourceFetcher, Store,
};
use crate::clock::{Clock, SystemClock};
use crate::deployment::OwnerId;
use crate::platform::{Platform, TokioPlatform};
use crate::probe::HttpProber;
use crate::workspace::{DiskWorkspace, Workspace};
use crate::{Error, ErrorKind, Result};

/// Puts an engine together: the four backends that it cannot do without are
/// given first, the rest has defaults.
#[derive(Debug)]
#[must_use = "an engine does nothing before it is started"]
pub struct DeploymentEngineBuilder {
    config: EngineConfig,
    store: Arc<dyn Store>,
    queue: Arc<dyn Queue>,
    runtime: Arc<dyn ContainerRuntime>,
    router: Arc<dyn Router>,
    builder: Option<Arc<dyn ImageBuilder>>,
    source: Option<Arc<dyn SourceFetcher>>,
    prober: Arc<dyn Prober>,
    analysis: Option<Arc<dyn AnalysisSource>>,
    host: Option<Arc<dyn HostGauge>>,
    metrics: Arc<dyn MetricsSink>,
    clock: Arc<dyn Clock>,
    platform: Arc<dyn Platform>,
    workspace: Option<Arc<dyn Workspace>>,
}

impl DeploymentEngineBuilder {
    pub(super) fn new(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        runtime: Arc<dyn ContainerRuntime>,
        router: Arc<dyn Router>,
    ) -> Self {
        Self {
            config: EngineConfig::new(std::env::temp_dir().join("quark")),
            store,
            queue,
            runtime,
            router,
            builder: None,
            source: None,
            prober: Arc::new(HttpProber::new()),
            analysis: None,
            host: None,
            metrics: Arc::new(NoMetrics),
            clock: Arc::new(SystemClock::new()),
            platform: Arc::new(TokioPlatform),
            workspace: None,
        }
    }

    /// Builds images with this; without it, apps from git are refused.
    pub fn with_builder(self, builder: impl ImageBuilder) -> Self {
        self.with_builder_dyn(Arc::new(builder))
    }

    /// As [`with_builder`](Self::with_builder), for one that is chosen at run time.
    pub fn with_builder_dyn(mut self, builder: Arc<dyn ImageBuilder>) -> Self {
        self.builder = Some(builder);
        self
    }

    /// Fetches sources with this; without it, apps from git are refused.
    pub fn with_source(mut self, source: impl SourceFetcher) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Asks for health with this, instead of over HTTP.
    pub fn with_prober(mut self, prober: impl Prober) -> Self {
        self.prober = Arc::new(prober);
        self
    }

    /// Asks this what users get from a version that was just promoted; without
    /// it only probes tell how such a version does.
    pub fn with_analysis(mut self, source: impl AnalysisSource) -> Self {
        self.analysis = Some(Arc::new(source));
        self
    }

    /// Looks with this how much room the machine has, and refuses what there is
    /// none for ([`EngineConfig::host`]); without it nothing is ever refused for
    /// lack of room. All engines on one store must look at one machine: what is
    /// reserved is that of all apps of the store.
    pub fn with_host(mut self, gauge: impl HostGauge) -> Self {
        self.host = Some(Arc::new(gauge));
        self
    }

    /// Counts into this.
    pub fn with_metrics(mut self, metrics: Arc<dyn MetricsSink>) -> Self {
        self.metrics = metrics;
        self
    }

    /// Takes the time from this.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets everything that can be said in numbers and words at once.
    pub fn with_config(mut self, config: EngineConfig) -> Self {
        self.config = config;
        self
    }

    /// Names the engine; see [`EngineConfig::owner`].
    pub fn with_owner(mut self, owner: OwnerId) -> Self {
        self.config.owner = owner;
        self
    }

    /// Checks sources out below this folder.
    pub fn with_work_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.work_dir = folder.into();
        self
    }

    /// Lets every app answer to `<name>.<base>`.
    pub fn with_base_domain(mut self, base: Domain) -> Self {
        self.config.base_domain = base;
        self
    }

    /// Allows `file://` repositories below this folder.
    pub fn with_local_repositories(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.local_repositories.push(folder.into());
        self
    }

    /// Runs the engine in another world than that of this process.
    #[cfg(feature = "test-util")]
    pub(crate) fn in_world(mut self, platform: Arc<dyn Platform>, workspace: Arc<dyn Workspace>) -> Self {
        self.platform = platform;
        self.workspace = Some(workspace);
        self
    }

    /// Recovers what an earlier engine left and starts to work.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidConfig`] if the configuration cannot be meant;
    /// [`ErrorKind::Unavailable`] if the store or the work folder cannot be used.
    pub async fn start(self) -> Result<DeploymentEngine> {
        let config = &self.config;
        if config.workers == 0 || config.lease.as_millis() < 100 {
            return Err(Error::new(ErrorKind::InvalidConfig, "at least one worker and a lease of 100 ms are needed"));
        }
        if config.builds == 0 {
            return Err(Error::new(ErrorKind::InvalidConfig, "without a place for builds nothing is ever deployed"));
        }
        config.host.check()?;
        let admission = Admission::new(self.host, config.host.clone());
        let places = Places::new(config.builds.min(config.workers.saturating_sub(1)).max(1));
        let installation = self.store.installation().await?;
        let work_dir = || Arc::new(DiskWorkspace::new(config.work_dir.clone()));
        let workspace = self.workspace.unwrap_or_else(|| work_dir());
        workspace.prepare(&installation).await?;
        let (changed, _) = watch::channel(0);
        let shared = Arc::new(Shared {
            config: self.config,
            store: self.store,
            queue: self.queue,
            runtime: self.runtime,
            router: self.router,
            builder: self.builder,
            source: self.source,
            prober: self.prober,
            analysis: self.analysis,
            metrics: self.metrics,
            clock: self.clock,
            platform: self.platform,
            workspace,
            installation,
            safe_mode: SafeMode::default(),
            ahead: AtomicI64::new(0),
            changed,
            settled: broadcast::channel(64).0,
            stopping: CancellationToken::new(),
            running: std::sync::Mutex::default(),
            registrations: std::sync::atomic::AtomicU64::new(0),
            passes: std::sync::atomic::AtomicUsize::new(0),
            broken_off: std::sync::Mutex::default(),
            claimed: std::sync::Mutex::default(),
            freed: Notify::new(),
            places,
            admission,
            tasks: TaskTracker::new(),
        });
        shared.set_time().await?;
        // Boxed, so that whoever starts an engine does not carry all of it.
        let settled = Box::pin(recovery::recover(&shared)).await?;
        shared.spawn(reconcile::watch(Arc::clone(&shared), settled));
        shared.spawn(liveness::watch(Arc::clone(&shared)));
        shared.spawn(sweep::count_waiting(Arc::clone(&shared)));
        shared.spawn(worker::work(Arc::clone(&shared)));
        Ok(DeploymentEngine::new(shared))
    }
}
