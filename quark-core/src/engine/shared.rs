//! What all parts of an engine share.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::config::EngineConfig;
use super::places::Places;
use super::safe_mode::SafeMode;
use crate::app::{App, AppName, Domain};
use crate::backend::{
    AnalysisSource, ContainerRuntime, ImageBuilder, Labels, Metric, MetricsSink, NewJob, Prober, Queue, Router,
    SourceFetcher, Store, container_runtime::label, router::canary_unsupported,
};
use crate::clock::{Clock, Timestamp};
use crate::deployment::{Deployment, DeploymentId, State};
use crate::platform::Platform;
use crate::workspace::Workspace;
use crate::{Error, ErrorKind, Result};

/// The code of a question that nobody answered.
pub(super) const NO_ANSWER: &str = "no_answer";
/// How long a question to a backend may take that only looks.
const MOMENT: Duration = Duration::from_secs(5);

/// What all parts of an engine share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EngineConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) router: Arc<dyn Router>,
    pub(super) builder: Option<Arc<dyn ImageBuilder>>,
    pub(super) source: Option<Arc<dyn SourceFetcher>>,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) analysis: Option<Arc<dyn AnalysisSource>>,
    pub(super) metrics: Arc<dyn MetricsSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) workspace: Arc<dyn Workspace>,
    pub(super) installation: String,
    pub(super) safe_mode: SafeMode,
    /// The store's time less this engine's monotonic time, in microseconds.
    pub(super) ahead: AtomicI64,
    /// Counts what was written, to wake those who read.
    pub(super) changed: watch::Sender<u64>,
    /// Names the deployments that have ended or are stuck, for those who wait for one.
    pub(super) settled: broadcast::Sender<DeploymentId>,
    pub(super) stopping: CancellationToken,
    /// How to reach the driver of a deployment at once when it is cancelled.
    pub(super) running: Mutex<HashMap<DeploymentId, (u64, CancellationToken)>>,
    /// Tells one registration of a driver from the next.
    pub(super) registrations: AtomicU64,
    /// Counts the passes that have collected garbage.
    pub(super) passes: AtomicUsize,
    /// Deployments whose work was broken off by an error, such as a store that
    /// is away: whoever goes on with them has not died of them.
    pub(super) broken_off: Mutex<HashSet<DeploymentId>>,
    /// The apps that this engine is at work on.
    pub(super) claimed: Mutex<HashSet<AppName>>,
    /// Wakes those who wait for an app that this engine is at work on.
    pub(super) freed: Notify,
    /// Places for what takes long.
    pub(super) places: Arc<Places>,
    /// Room on the machine.
    pub(super) admission: Admission,
    pub(super) tasks: TaskTracker,
}

impl Shared {
    pub(super) fn source(&self) -> Result<&dyn SourceFetcher> {
        self.source.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "this engine has no source fetcher")
                .with_hint("build it `with_source`, or deploy an image")
        })
    }

    pub(super) fn builder(&self) -> Result<&dyn ImageBuilder> {
        self.builder.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "this engine has no image builder")
                .with_hint("build it `with_builder`, or deploy an image")
        })
    }

    /// Refuses an app whose versions get their users by steps, where the router
    /// cannot do that.
    pub(super) fn refuse_canary(&self, app: &App) -> Result<()> {
        if app.canary.is_none() || self.router.splits() {
            return Ok(());
        }
        Err(canary_unsupported().with_field("app.canary"))
    }

    /// Refuses to go back to "the version before" while a version gets a share of
    /// the requests: whoever does not like that one means something else.
    pub(super) async fn refuse_during_canary(&self, name: &AppName) -> Result<()> {
        let unfinished = self.store.unfinished(Some(name)).await?;
        let gets_share = |other: &&Deployment| other.state == State::Canary && other.cancel.is_none();
        let Some(canary) = unfinished.iter().find(gets_share) else { return Ok(()) };
        let (id, sequence) = (canary.id, canary.sequence);
        let message = format!("#{sequence} of `{name}` gets a share of the requests; what is live serves the rest");
        Err(Error::new(ErrorKind::Conflict, message).with_code("canary_under_way").with_hint(format!(
            "cancel deployment `{id}` to take its share back, or say which deployment to go back to"
        )))
    }

    /// The time that all engines of the store agree on. Between two looks at the
    /// store it moves with this engine's monotonic time, so that a jump of the
    /// time of day changes nothing.
    pub(super) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(elapsed.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// Asks the store for its time.
    pub(super) async fn set_time(&self) -> Result<()> {
        let now = self.store.now().await?;
        let elapsed = i64::try_from(self.clock.monotonic().as_micros()).unwrap_or(i64::MAX);
        self.ahead.store(now.as_micros().saturating_sub(elapsed), Ordering::Relaxed);
        Ok(())
    }

    /// A host name of a release that belongs to another app by now: names are
    /// reserved for what apps say today, and a release is from another day.
    pub(super) async fn domain_of_others(&self, name: &AppName, release: &App) -> Result<Option<Domain>> {
        // Read now: an app may have given names up since work on the release began.
        if release.domains.is_empty()
            || (self.store.app(name).await?.is_some_and(|app| app.spec.domains == release.domains)
                && !release.domains.iter().any(|domain| domain.is_below(&self.config.base_domain)))
        {
            return Ok(None);
        }
        let others = self.store.apps().await?.into_iter().filter(|app| app.spec.name != *name);
        let base = &self.config.base_domain;
        // Also the name that each has without saying so.
        let theirs: HashSet<Domain> =
            others.flat_map(|app| app.spec.domains.into_iter().chain([base.subdomain(&app.spec.name)])).collect();
        Ok(release.domains.iter().find(|domain| theirs.contains(*domain)).cloned())
    }

    /// What a backend answers to a question that should take a moment. One that
    /// hangs must not keep everybody else waiting: it counts as away.
    pub(super) async fn ask<T>(&self, what: &'static str, question: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            answer = question => answer,
            () = self.clock.sleep(MOMENT) => {
                let text = format!("{what} did not answer within {} s", MOMENT.as_secs());
                Err(Error::new(ErrorKind::Unavailable, text).with_code(NO_ANSWER))
            }
            () = self.stopping.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the engine is shutting down")),
        }
    }

    /// Remembers that the work on a deployment was broken off.
    pub(super) fn break_off(&self, id: DeploymentId) {
        self.broken_off.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// Whether the work on a deployment was broken off; asked once.
    pub(super) fn was_broken_off(&self, id: DeploymentId) -> bool {
        self.broken_off.lock().unwrap_or_else(PoisonError::into_inner).remove(&id)
    }

    /// Runs a task that [`shutdown`](super::DeploymentEngine::shutdown) waits for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.platform.spawn(Box::pin(self.tasks.track_future(task)));
    }

    /// Where the source of a deployment is checked out.
    pub(super) fn checkout(&self, id: DeploymentId) -> PathBuf {
        self.workspace.checkout(&self.installation, id)
    }

    /// Queues a job whose deployment is written down already. If that fails the
    /// wish stands all the same, and the next sweep queues it.
    pub(super) async fn enqueue(&self, job: NewJob) {
        let deployment = job.deployment;
        if let Err(error) = self.queue.enqueue(job).await {
            tracing::warn!(%deployment, report = error.report(), "a job waits for the next sweep");
        }
    }

    /// Removes a checkout that is not needed any more. One that cannot be
    /// removed now is removed when an engine starts.
    pub(super) async fn discard_checkout(&self, id: DeploymentId) {
        if let Err(error) = self.workspace.discard_checkout(&self.installation, id).await {
            tracing::warn!(deployment = %id, report = error.report(), "a checkout is left for the next start");
        }
    }

    /// The labels that mark what belongs to this store.
    pub(super) fn labels(&self) -> Labels {
        Labels::from([(label::INSTALLATION.to_owned(), self.installation.clone())])
    }

    /// Wakes those who read events and logs.
    pub(super) fn announce(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Tells the driver of a deployment, if this engine has it, that the
    /// deployment was asked to stop. Whether it has.
    pub(super) fn hurry(&self, id: DeploymentId) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let driver = running.get(&id);
        if let Some((_, token)) = driver {
            token.cancel();
        }
        driver.is_some()
    }

    /// Wakes those who wait for the end of a deployment.
    pub(super) fn settle(&self, id: DeploymentId) {
        // Nobody has to wait.
        let _ = self.settled.send(id);
    }

    /// Waits until this engine is not at work on an app, for `longest` at most:
    /// who has seen a deployment end and asks for the next one meets the first
    /// while it is tidied up.
    pub(super) async fn until_free(&self, app: &AppName, longest: Duration) {
        let mut over = self.clock.sleep(longest);
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on nothing is missed.
            freed.as_mut().enable();
            if !self.claimed.lock().unwrap_or_else(PoisonError::into_inner).contains(app) {
                return;
            }
            tokio::select! {
                biased;
                () = freed => {}
                () = self.stopping.cancelled() => return,
                () = &mut over => return,
            }
        }
    }

    /// Makes this the only work of this engine on an app for as long as the
    /// result lives; `None` if there is other work on it.
    pub(super) fn claim_app(self: &Arc<Self>, app: &AppName) -> Option<AppClaim> {
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.insert(app.clone()).then(|| AppClaim { shared: Arc::clone(self), app: app.clone() })
    }

    /// Makes a driver reachable for as long as the result lives.
    pub(super) fn register(self: &Arc<Self>, id: DeploymentId, token: CancellationToken) -> Registration {
        let number = self.registrations.fetch_add(1, Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(id, (number, token));
        self.metrics.record(Metric::ActiveDeployments(i64::try_from(running.len()).unwrap_or(i64::MAX)));
        Registration { shared: Arc::clone(self), id, number }
    }
}

/// The only work of an engine on an app.
pub(super) struct AppClaim {
    shared: Arc<Shared>,
    app: AppName,
}

impl Drop for AppClaim {
    fn drop(&mut self) {
        let mut claimed = self.shared.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&self.app);
        drop(claimed);
        self.shared.freed.notify_waiters();
    }
}

/// A driver that can be reached.
pub(super) struct Registration {
    shared: Arc<Shared>,
    id: DeploymentId,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // A driver that lost its claim may have been followed by another one here.
        if running.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.id);
        }
        self.shared.metrics.record(Metric::ActiveDeployments(i64::try_from(running.len()).unwrap_or(i64::MAX)));
    }
}
