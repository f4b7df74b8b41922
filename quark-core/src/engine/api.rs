//! `DeploymentEngine`: what programs, the HTTP API and Python call.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::builder::DeploymentEngineBuilder;
use super::requests::{DeployRequest, RollbackRequest};
use super::shared::Shared;
use super::worker::go_on;
use super::{sweep, watch as live};
use crate::app::{App, AppName, Source, check_person};
use crate::backend::store::refusal;
use crate::backend::{CancelOutcome, ContainerRuntime, LogChunk, LogSelection, Metric, Queue, Router, Store};
use crate::deployment::{
    AppRecord, CancelRequest, Conclusion, Deployment, DeploymentId, DeploymentKind, Event, Fence, IdempotencyKey,
    InstanceState, LogLine, Occupant, Revision, State, StepRecord, Trigger, Version,
};
use crate::planted::planted;
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
        self.check(&app)?;
        self.shared.refuse_in_safe_mode()?;
        self.shared.store.create_app(app, self.shared.now()).await
    }

    /// Replaces what is said about an app; the next deployment takes it up.
    ///
    /// # Errors
    ///
    /// As [`create_app`](Self::create_app); [`ErrorKind::NotFound`];
    /// [`ErrorKind::Conflict`] if `expected` is not the app's version any more.
    pub async fn update_app(&self, app: App, expected: Version) -> Result<AppRecord> {
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
    /// [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn remove_app(&self, name: &AppName, by: &str) -> Result<Deployment> {
        self.shared.refuse_in_safe_mode()?;
        let app = self.app(name).await?;
        self.submit(self.draft(&app, DeploymentKind::Remove, Some(by))).await
    }

    /// Asks for a version of an app to be brought into service. Returns when
    /// that is written down; the work goes on by itself, also if the caller
    /// goes away. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`], [`ErrorKind::InvalidInput`] if the request does
    /// not fit the app, [`ErrorKind::Unsupported`] as [`create_app`](Self::create_app),
    /// [`ErrorKind::Conflict`] if the app is being removed.
    pub async fn deploy(&self, name: &AppName, request: DeployRequest) -> Result<Deployment> {
        self.shared.refuse_in_safe_mode()?;
        let app = self.app(name).await?;
        if let Some(known) = self.known(&app, request.key.as_ref(), DeploymentKind::Deploy.as_str()).await? {
            return Ok(known);
        }
        self.check(&app.spec)?;
        let mut deployment = self.draft(&app, DeploymentKind::Deploy, request.by.as_deref());
        deployment.trigger = request.trigger;
        deployment.key = request.key;
        match &mut Arc::make_mut(&mut deployment.release).source {
            Source::Git { .. } if request.image.is_some() => {
                return Err(Error::invalid(
                    "image",
                    "source_mismatch",
                    "this app is built from git, not from an image",
                ));
            }
            Source::Git { .. } => {
                self.shared.source()?;
                self.shared.builder()?;
                deployment.revision = Revision { branch: request.branch, commit: request.commit };
            }
            Source::Image { .. } if request.branch.is_some() || request.commit.is_some() => {
                return Err(Error::invalid("commit", "source_mismatch", "this app is an image; it has no commits"));
            }
            Source::Image { image } => {
                if let Some(wanted) = request.image {
                    *image = wanted;
                }
            }
        }
        self.submit(deployment).await
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
        self.shared.refuse_in_safe_mode()?;
        let app = self.app(name).await?;
        if let Some(known) = self.known(&app, request.key.as_ref(), "rollback").await? {
            return Ok(known);
        }
        let conflict = |code, message: String| Err(Error::new(ErrorKind::Conflict, message).with_code(code));
        if request.to.is_none() {
            self.shared.refuse_during_canary(name).await?;
        }
        let (promoting, rolling_back) = self.switching(name).await?;
        if rolling_back && request.to.is_none_or(|to| app.serving.previous == Some(to)) {
            return conflict("rollback_under_way", format!("`{name}` is going back to the version before already"));
        }
        let live = app.serving.live.as_ref().map(Occupant::release);
        let before = match promoting {
            // Who sees a bad version coming means the one that it is about to replace.
            Some(DeploymentKind::Deploy) => live,
            Some(DeploymentKind::Rollback { to }) if request.to.is_none() => {
                return conflict("rollback_under_way", format!("`{name}` is going back to deployment `{to}` already"));
            }
            _ => app.serving.previous,
        };
        let Some(to) = request.to.or(before) else {
            return conflict("nothing_to_roll_back_to", format!("`{name}` has no earlier version"));
        };
        let mut target = self.deployment(to).await?;
        if let DeploymentKind::Rollback { to: first } = target.kind {
            // One release has one name: that of the deployment that made it.
            target = self.deployment(first).await?;
        }
        let to = target.id;
        if target.app != *name || target.created_at < app.created_at {
            return conflict("deployment_not_of_app", format!("deployment `{to}` belongs to another app"));
        }
        if live == Some(to) && promoting.is_none() {
            return conflict("already_live", format!("deployment `{to}` is live"));
        }
        if target.conclusion != Some(Conclusion::Succeeded) || target.kind == DeploymentKind::Remove {
            return conflict(
                "not_a_release",
                format!("deployment `{to}` never served, or was rolled back by the engine"),
            );
        }
        if let Some(domain) = self.shared.domain_of_others(name, &target.release).await? {
            return Err(refusal::domain_taken(domain.as_str()));
        }
        let mut deployment = self.draft(&app, DeploymentKind::Rollback { to }, request.by.as_deref());
        if !planted!(TodaysSettings) {
            deployment.release = target.release;
        }
        deployment.revision = target.revision;
        deployment.artifact = target.artifact;
        deployment.key = request.key;
        self.submit(deployment).await
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

    fn check(&self, app: &App) -> Result<()> {
        app.check()?;
        self.shared.refuse_canary(app)?;
        let base = &self.shared.config.base_domain;
        let own = base.subdomain(&app.name);
        if let Some(domain) = app.domains.iter().find(|d| (d.is_below(base) && **d != own) || *d == base) {
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

    /// What is about to change what is live, if anything is, and whether what is
    /// live is being rolled back by itself.
    async fn switching(&self, name: &AppName) -> Result<(Option<DeploymentKind>, bool)> {
        let unfinished = self.shared.store.unfinished(Some(name)).await?;
        let rolling_back = unfinished.iter().any(|other| other.state == State::RollingBack);
        let promoting = unfinished.into_iter().find(|other| other.state == State::Promoting);
        Ok((promoting.map(|promoting| promoting.kind), rolling_back))
    }

    /// The deployment that was asked for under this key before.
    async fn known(&self, app: &AppRecord, key: Option<&IdempotencyKey>, kind: &str) -> Result<Option<Deployment>> {
        let Some(key) = key else { return Ok(None) };
        let Some(known) = self.shared.store.deployment_by_key(&app.spec.name, key).await? else { return Ok(None) };
        if known.kind.as_str() != kind || known.created_at < app.created_at {
            return Err(key_reused());
        }
        Ok(Some(known))
    }

    fn draft(&self, app: &AppRecord, kind: DeploymentKind, by: Option<&str>) -> Deployment {
        Deployment {
            id: DeploymentId::from(self.shared.platform.unique()),
            app: app.spec.name.clone(),
            team: app.team.clone(),
            sequence: 0,
            kind,
            release: Arc::new(app.spec.clone()),
            revision: Revision::default(),
            artifact: None,
            slot: None,
            state: State::Queued,
            conclusion: None,
            failure: None,
            cancel: None,
            fence: Fence::default(),
            version: Version::default(),
            created_by: by.unwrap_or("engine").to_owned(),
            trigger: Trigger::default(),
            key: None,
            approval: None,
            bake: None,
            canary: None,
            created_at: self.shared.now(),
            started_at: None,
            finished_at: None,
        }
    }

    async fn submit(&self, deployment: Deployment) -> Result<Deployment> {
        check_person(&deployment.created_by)?;
        self.shared.refuse_in_safe_mode()?;
        let job = sweep::job(&deployment, deployment.created_at);
        let kind = deployment.kind.as_str();
        let policy = deployment.release.supersede;
        let created = self.shared.store.create_deployment(deployment, job.clone(), policy).await?;
        if created.existing {
            if created.deployment.kind.as_str() != kind {
                // Two wishes of different kinds came under one key at one moment.
                return Err(key_reused());
            }
            return Ok(created.deployment);
        }
        if !self.shared.store.queues_jobs() {
            self.shared.enqueue(job).await;
        }
        self.shared.metrics.record(Metric::DeploymentCreated { kind });
        for ended in &created.ended {
            self.count_ended(ended);
        }
        self.shared.announce();
        for stopping in created.stopping {
            self.stop(&created.deployment.app, stopping);
        }
        Ok(created.deployment)
    }

    /// Has a deployment stop that was asked to. One that waits for people has
    /// no driver.
    fn stop(&self, app: &AppName, id: DeploymentId) {
        if !self.shared.hurry(id) {
            go_on(&self.shared, app, id);
        }
    }

    /// Counts a deployment that ended before any work on it.
    fn count_ended(&self, ended: &Deployment) {
        if let (Some(conclusion), Some(at)) = (ended.conclusion, ended.finished_at) {
            let (kind, took) = (ended.kind.as_str(), at.since(ended.created_at));
            self.shared.metrics.record(Metric::DeploymentCompleted { kind, conclusion, took });
        }
        self.shared.settle(ended.id);
    }
}

fn key_reused() -> Error {
    Error::new(ErrorKind::Conflict, "the key was used for another wish before")
        .with_code("key_reused")
        .with_field("key")
        .with_hint("a key names one wish; use a new one for a new wish")
}
