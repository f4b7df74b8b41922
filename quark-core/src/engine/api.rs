//! `DeploymentEngine`: what programs, the HTTP API and Python call.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::builder::DeploymentEngineBuilder;
use super::projects::refuse_what_projects_give;
use super::requests::{DeployRequest, RollbackRequest};
use super::shared::Shared;
use super::watch as live;
use super::wish::Wish;
use super::worker::go_on;
use crate::app::{App, AppName, Domain, Source, check_person};
use crate::backend::store::refusal;
use crate::backend::{CancelOutcome, ContainerRuntime, LogChunk, LogSelection, Metric, Queue, Router, Store};
use crate::deployment::{
    AppRecord, CancelRequest, Deployment, DeploymentId, DeploymentKind, Event, InstanceState, LogLine, State,
    StepRecord, Version,
};
use crate::project::aliases;
use crate::{Error, ErrorKind, Result};

/// Deploys apps. Cheap to clone; all clones are the same engine.
///
/// Dropping the last one leaves the work to the tasks that do it; call
/// [`shutdown`](Self::shutdown) to end in order. Applications keep running
/// either way.
#[derive(Clone, Debug)]
pub struct DeploymentEngine {
    pub(super) shared: Arc<Shared>,
}

impl DeploymentEngine {
    /// Begins to put an engine together from the backends it cannot do without.
    pub fn builder(
        store: impl Store,
        queue: impl Queue,
        runtime: impl ContainerRuntime,
        router: impl Router,
    ) -> DeploymentEngineBuilder {
        DeploymentEngineBuilder::new(Arc::new(store), Arc::new(queue), Arc::new(runtime), Arc::new(router))
    }

    /// As [`builder`](Self::builder), for backends that are chosen at run time.
    pub fn builder_dyn(
        store: Arc<dyn Store>,
        queue: Arc<dyn Queue>,
        runtime: Arc<dyn ContainerRuntime>,
        router: Arc<dyn Router>,
    ) -> DeploymentEngineBuilder {
        DeploymentEngineBuilder::new(store, queue, runtime, router)
    }

    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes an app known. Nothing runs yet. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] with the field, [`ErrorKind::AlreadyExists`],
    /// [`ErrorKind::Unsupported`] (`app.canary`) if the router cannot split requests,
    /// [`ErrorKind::Conflict`] if a host name belongs to another app.
    pub async fn create_app(&self, app: App) -> Result<AppRecord> {
        refuse_what_projects_give(&app)?;
        self.check(&app)?;
        self.shared.refuse_in_safe_mode()?;
        self.shared.store.create_app(app, self.shared.now()).await
    }

    /// Replaces what is said about an app; the next deployment takes it up.
    ///
    /// # Errors
    ///
    /// As [`create_app`](Self::create_app); [`ErrorKind::NotFound`];
    /// [`ErrorKind::Conflict`] if `expected` is not the app's version any more,
    /// or (`app_of_project`) if it is an environment of a project.
    pub async fn update_app(&self, app: App, expected: Version) -> Result<AppRecord> {
        if let Some(environment) = &app.environment {
            return Err(refusal::app_of_project(&app.name, &environment.project));
        }
        self.check(&app)?;
        self.shared.refuse_in_safe_mode()?;
        self.shared.store.update_app(app, expected, self.shared.now()).await
    }

    /// What is known of an app.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    pub async fn app(&self, name: &AppName) -> Result<AppRecord> {
        self.shared.store.app(name).await?.ok_or_else(|| refusal::app_not_found(name))
    }

    /// All apps, by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store cannot be read.
    pub async fn apps(&self) -> Result<Vec<AppRecord>> {
        self.shared.store.apps().await
    }

    /// Takes an app out of service: its route, its instances, then itself.
    /// Returns at once; [`wait`](Self::wait) for the deployment to see it done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::Conflict`] if it is being removed already,
    /// or (`app_of_project`) if it is an environment of a project, other than the preview of a branch;
    /// [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn remove_app(&self, name: &AppName, by: &str) -> Result<Deployment> {
        self.wish(name, Wish::Remove { by: by.to_owned() }, None).await
    }

    /// Asks for a version of an app to be brought into service. Returns when
    /// that is written down; the work goes on by itself, also if the caller
    /// goes away. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidInput`] if the request does
    /// not fit the app, [`ErrorKind::Conflict`] if the app is being removed,
    /// [`ErrorKind::ResourceExhausted`] with the code of a [`Shortage`](crate::deployment::Shortage) if
    /// the machine could never run it.
    pub async fn deploy(&self, name: &AppName, request: DeployRequest) -> Result<Deployment> {
        self.wish(name, Wish::Deploy(request), None).await
    }

    /// Asks for an earlier deployment to be brought back, exactly as it was.
    /// If it still runs this takes a moment, else it is started anew. While a
    /// version is being promoted, "the one before" is the one that it replaces.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] with code
    /// `nothing_to_roll_back_to`, `deployment_not_of_app`, `not_a_release`, `already_live`,
    /// `rollback_under_way`, or `canary_under_way` if no deployment is named while one gets a
    /// share of the requests: to cancel that one is what takes it back.
    pub async fn rollback(&self, name: &AppName, request: RollbackRequest) -> Result<Deployment> {
        self.wish(name, Wish::Rollback(request), None).await
    }

    /// Asks a deployment to stop. What it has made is taken away; what serves
    /// is not touched.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] (`too_late`) once it is
    /// being promoted or has ended, or if it removes its app;
    /// [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn cancel(&self, id: DeploymentId, by: &str) -> Result<()> {
        check_person(by)?;
        self.shared.refuse_in_safe_mode()?;
        let deployment = self.deployment(id).await?;
        if deployment.kind == DeploymentKind::Remove {
            // From its first row on the app takes no deployments; half a removal is no state to be in.
            return Err(Error::new(ErrorKind::Conflict, "the removal of an app cannot be cancelled")
                .with_code("too_late")
                .with_hint("create the app again when it is gone"));
        }
        let request = CancelRequest::new(by, self.shared.now());
        let outcome = self.shared.store.request_cancel(id, request).await?;
        if outcome == CancelOutcome::TooLate {
            return Err(Error::new(ErrorKind::Conflict, format!("deployment `{id}` cannot be cancelled any more"))
                .with_code("too_late")
                .with_hint("roll back instead, if it is live"));
        }
        if outcome == CancelOutcome::Ended
            && let Some(ended) = self.shared.store.deployment(id).await?
        {
            self.count_ended(&ended);
        }
        self.shared.announce();
        if outcome == CancelOutcome::Requested {
            self.stop(&deployment.app, id);
        }
        Ok(())
    }

    /// What is known of a deployment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    pub async fn deployment(&self, id: DeploymentId) -> Result<Deployment> {
        self.shared.store.deployment(id).await?.ok_or_else(|| refusal::deployment_not_found(id))
    }

    /// The deployments of an app, newest first, at most `most`, with a sequence
    /// below `before` if it is given.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store cannot be read.
    pub async fn deployments(&self, app: &AppName, before: Option<u64>, most: usize) -> Result<Vec<Deployment>> {
        self.shared.store.deployments(app, before, most).await
    }

    /// The journal of a deployment, in the order in which its steps were begun.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    pub async fn steps(&self, id: DeploymentId) -> Result<Vec<StepRecord>> {
        let snapshot = self.shared.store.snapshot(id).await?.ok_or_else(|| refusal::deployment_not_found(id))?;
        Ok(snapshot.steps)
    }

    /// Waits until a deployment has ended, or is stuck. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Cancelled`] if the engine shuts down meanwhile.
    pub async fn wait(&self, id: DeploymentId) -> Result<Deployment> {
        let mut settled = self.shared.settled.subscribe();
        loop {
            let deployment = self.deployment(id).await?;
            if deployment.state.is_terminal() || deployment.state == State::Stuck {
                return Ok(deployment);
            }
            let told = async {
                // Whoever was told of too many others to keep them apart looks again.
                while settled.recv().await.is_ok_and(|other| other != id) {}
            };
            tokio::select! {
                biased;
                () = told => {}
                // Another engine on the same store cannot tell.
                () = self.shared.clock.sleep(Duration::from_millis(500)) => {}
                () = self.shared.stopping.cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "the engine is shutting down"));
                }
            }
        }
    }

    /// The events of a deployment after the sequence number `after` (0 for all),
    /// as they happen, up to its end. Nothing is lost, however slow the reader.
    #[must_use]
    pub fn watch(&self, id: DeploymentId, after: u64) -> BoxStream<'static, Result<Event>> {
        live::events(Arc::clone(&self.shared), id, after)
    }

    /// What was said while a deployment was made, after line `after` (0 for
    /// all); with `follow` up to its end. Nothing once the log was forgotten
    /// ([`keep_logs`](crate::EngineConfig::keep_logs)); should something be said after that, it is
    /// line 1 again.
    #[must_use]
    pub fn log(&self, id: DeploymentId, after: u64, follow: bool) -> BoxStream<'static, Result<LogLine>> {
        live::log(Arc::clone(&self.shared), id, after, follow)
    }

    /// What the live instance of an app prints.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] (`not_live`) if nothing is live.
    pub async fn runtime_log(
        &self,
        name: &AppName,
        selection: LogSelection,
    ) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let app = self.app(name).await?;
        let not_live = || Error::new(ErrorKind::NotFound, format!("nothing of `{name}` is live")).with_code("not_live");
        let live = app.serving.live.ok_or_else(not_live)?;
        let snapshot = self.shared.store.snapshot(live.deployment).await?.ok_or_else(not_live)?;
        let is_live = |state| state != InstanceState::Removed;
        let instance = snapshot.instances.into_iter().find(|i| i.slot == live.slot && is_live(i.state));
        let observed = self.shared.runtime.inspect(&instance.ok_or_else(not_live)?.name).await?.ok_or_else(not_live)?;
        Ok(self.shared.runtime.logs(&observed.id, selection).await?.boxed())
    }

    /// Whether the store can be read: what a readiness check should ask.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if not.
    pub async fn ready(&self) -> Result<()> {
        self.shared.store.position().await.map(|_| ())
    }

    /// Ends in order: no new work is taken, short steps are finished, long ones
    /// are broken off and left to the next engine. Applications keep running.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        if let Err(error) = self.shared.note_position().await {
            tracing::warn!(report = error.report(), "how far the store has come could not be noted");
        }
    }

    pub(super) fn check(&self, app: &App) -> Result<()> {
        app.check()?;
        self.shared.refuse_canary(app)?;
        let base = &self.shared.config.base_domain;
        let (own, aliases) = (base.subdomain(&app.name), aliases(app, base)?);
        let is_free = |domain: &Domain| *domain != *base && (!domain.is_below(base) || aliases.contains(domain));
        if let Some(domain) = app.domains.iter().find(|domain| !is_free(domain) && **domain != own) {
            return Err(Error::invalid("app.domains", "domain_reserved", format!("`{domain}` is reserved"))
                .with_hint(format!("every app has its own name below `{base}`; this one has `{own}`")));
        }
        let Source::Git { repository, .. } = &app.source else { return Ok(()) };
        let Some(path) = repository.as_local_path() else { return Ok(()) };
        if self.shared.config.local_repositories.iter().any(|root| path.starts_with(root)) {
            return Ok(());
        }
        Err(Error::invalid(
            "app.source.repository",
            "repo_scheme_not_allowed",
            "local repositories are not allowed here",
        )
        .with_hint("use an https or ssh URL, or allow the folder when the engine is built"))
    }

    /// Has a deployment stop that was asked to. One that waits for people has
    /// no driver.
    pub(super) fn stop(&self, app: &AppName, id: DeploymentId) {
        if !self.shared.hurry(id) {
            go_on(&self.shared, app, id);
        }
    }

    /// Counts a deployment that ended before any work on it.
    pub(super) fn count_ended(&self, ended: &Deployment) {
        if let (Some(conclusion), Some(at)) = (ended.conclusion, ended.finished_at) {
            let (kind, took) = (ended.kind.as_str(), at.since(ended.created_at));
            self.shared.metrics.record(Metric::DeploymentCompleted { kind, conclusion, took });
        }
        self.shared.settle(ended.id);
    }
}
