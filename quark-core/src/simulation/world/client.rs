//! What people ask engines for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::{Program, World};
use crate::app::{
    App, AppName, Argv, BranchName, CommitSha, HealthCheck, ImageRef, RepositoryUrl, Resources, Source, Timing,
};
use crate::deployment::{Conclusion, DeploymentId, IdempotencyKey, State};
use crate::engine::{ApprovalRequest, DeployRequest, DeploymentEngine, PendingApproval, RollbackRequest};
use crate::error::ErrorClass;
use crate::memory::Tree;
use crate::simulation::change::Change;
use crate::simulation::executor::ProcessId;
use crate::simulation::ledger::Ledger;
use crate::{Error, ErrorKind, Result};

/// How long somebody waits for an engine's answer.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often somebody asks again.
const TRIES: usize = 200;

impl World {
    /// Asks an engine that is up, by chance if there are several. An error
    /// of kind `Unavailable` if none is, or if it dies before it answers.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(DeploymentEngine) -> BoxFuture<'static, Result<T>> + Send,
    ) -> Result<T> {
        let up = self.up();
        let asked = self.with_chance(|chance| chance.pick(&up).cloned());
        let Some((process, engine)) = asked else {
            return Err(Error::new(ErrorKind::Unavailable, "no engine is up"));
        };
        let (sender, answer) = oneshot::channel();
        let work = question(engine);
        let request = async move {
            let _ = sender.send(work.await);
        };
        self.inner.sim.executor.spawn(process, Box::pin(request));
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the engine died"))),
            () = self.sleep(PATIENCE) => Err(Error::new(ErrorKind::Timeout, "the engine does not answer")),
        }
    }

    /// Asks again and again, until there is an answer that asking again would not change.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn insist<T: Send + 'static>(
        &self,
        question: impl Fn(DeploymentEngine) -> BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let answer = self.ask(&question).await;
            tries += 1;
            match answer {
                Err(error) if error.class() != ErrorClass::Permanent && tries < TRIES => {
                    self.sleep(Duration::from_millis(500)).await;
                }
                answer => return answer,
            }
        }
    }

    /// An app of this name, made from a repository of its own, with short times.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if that is no name for an app.
    pub fn app(&self, name: &str) -> Result<App> {
        self.app_from(name, Source::git(&repository(name), "main")?)
    }

    /// As [`app`](Self::app), but made from an image, with a first one published.
    ///
    /// # Errors
    ///
    /// As [`app`](Self::app).
    pub fn image_app(&self, name: &str) -> Result<App> {
        let image = self.image(&AppName::parse(name)?, Program::Good)?;
        self.app_from(name, Source::Image { image })
    }

    fn app_from(&self, name: &str, source: Source) -> Result<App> {
        let check = HealthCheck {
            interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            successes: 2,
            deadline: Duration::from_secs(15),
            ..HealthCheck::default()
        };
        let timing = Timing {
            drain: Duration::from_secs(5),
            grace: Duration::from_secs(45),
            stop: Duration::from_secs(5),
            build: Duration::from_secs(90),
        };
        // A story says so if its versions are watched.
        let mut app = App::new(name, source)?.without_bake();
        app = app.with_health(check).with_timing(timing).with_domain(format!("{name}.test").parse()?);
        for (key, secret) in ["PASSWORD", "TOKEN"].into_iter().zip(self.secrets()) {
            app = app.with_env(key, secret.clone())?;
        }
        Ok(app)
    }

    /// Makes an app of this name known, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says; that the app exists already is no error.
    pub async fn create_app(&self, name: &str) -> Result<AppName> {
        self.create(self.app(name)?).await
    }

    /// Makes an app known, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says; that the app exists already is no error.
    pub async fn create(&self, app: App) -> Result<AppName> {
        let name = app.name.clone();
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
            let app = app.clone();
            Box::pin(async move { engine.create_app(app).await.map(|_| ()) })
        };
        match self.insist(asked).await {
            // An answer was lost: it is there.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(name),
            answer => answer.map(|()| name),
        }
    }

    /// A new commit of an app, whose branch points at it from now on.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub fn commit(&self, app: &AppName, program: Program) -> Result<CommitSha> {
        self.commit_on(app, &BranchName::parse("main")?, program)
    }

    /// As [`commit`](Self::commit), on another branch.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub fn commit_on(&self, app: &AppName, branch: &BranchName, program: Program) -> Result<CommitSha> {
        let repository = RepositoryUrl::parse(repository(app.as_str()))?;
        let file = Tree::from([("app".parse()?, app.as_str().as_bytes().to_vec())]);
        let commit = self.inner.memory.source.push(&repository, branch, file)?;
        match program.behaviour() {
            Ok(behaviour) => self.inner.memory.builder.define(&commit, behaviour),
            Err(why) => self.inner.memory.builder.fail(&commit, why),
        }
        self.set_fate(&commit, program.fate());
        self.inner.sim.change(ProcessId::WORLD, &Change::Pushed(app, &commit));
        Ok(commit)
    }

    /// Takes a branch away.
    pub(crate) fn forget_branch(&self, repository: &RepositoryUrl, branch: &BranchName) {
        self.inner.memory.source.forget_branch(repository, branch);
    }

    /// A new image for an app that is an image, with this program in it. One
    /// that cannot be built was never published.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the app's name cannot be part of an image's.
    pub fn image(&self, app: &AppName, program: Program) -> Result<ImageRef> {
        let number = self.inner.sim.names.fetch_add(1, Ordering::Relaxed);
        let image = ImageRef::parse(format!("registry.test/acme/{app}:{number}"))?;
        if let Ok(behaviour) = program.behaviour() {
            self.inner.memory.runtime.publish(&image, behaviour);
        }
        Ok(image)
    }

    /// Asks for a commit to be deployed, however often it takes. The wish has a
    /// key, so it is one deployment however often it was asked for.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn deploy(&self, app: &AppName, commit: &CommitSha) -> Result<DeploymentId> {
        let (app, request) = (app.clone(), DeployRequest::commit(commit.clone()).with_key(self.key()?));
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<DeploymentId>> {
            let (app, request) = (app.clone(), request.clone());
            Box::pin(async move { Ok(engine.deploy(&app, request).await?.id) })
        };
        self.insist(asked).await
    }

    /// A key that no wish had before.
    pub(crate) fn key(&self) -> Result<IdempotencyKey> {
        let number = self.inner.sim.names.fetch_add(1, Ordering::Relaxed);
        IdempotencyKey::parse(format!("wish-{number}"))
    }

    /// Deploys a new commit with this program, and waits until that has ended.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn release(&self, app: &AppName, program: Program) -> Result<Option<Conclusion>> {
        let commit = self.commit(app, program)?;
        let id = self.deploy(app, &commit).await?;
        Ok(self.ended(id).await)
    }

    /// Asks for the version before to be brought back, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn roll_back(&self, app: &AppName) -> Result<DeploymentId> {
        self.bring_back(app, None).await
    }

    /// Asks for an earlier deployment to be brought back, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn roll_back_to(&self, app: &AppName, to: DeploymentId) -> Result<DeploymentId> {
        self.bring_back(app, Some(to)).await
    }

    async fn bring_back(&self, app: &AppName, to: Option<DeploymentId>) -> Result<DeploymentId> {
        let request = RollbackRequest { to, key: Some(self.key()?), ..RollbackRequest::default() };
        let app = app.clone();
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<DeploymentId>> {
            let (app, request) = (app.clone(), request.clone());
            Box::pin(async move { Ok(engine.rollback(&app, request).await?.id) })
        };
        self.insist(asked).await
    }

    /// Says something else about an app from now on, another thing for each number.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn change(&self, app: &AppName, number: u16) -> Result<()> {
        let app = app.clone();
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
            let name = app.clone();
            Box::pin(async move {
                let record = engine.app(&name).await?;
                let mut changed = record.spec.with_port(9000 + number).with_command(Argv::new(["serve", "again"])?);
                changed = changed.with_resources(Resources::new(100 + u32::from(number), 64 << 20, 50)?);
                changed = changed.with_env("SETTING", format!("setting-number-{number}"))?;
                engine.update_app(changed, record.version).await.map(|_| ())
            })
        };
        match self.insist(asked).await {
            // An answer was lost: it is said.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            answer => answer,
        }
    }

    /// Asks a deployment to stop, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn cancel(&self, id: DeploymentId) -> Result<()> {
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
            Box::pin(async move { engine.cancel(id, "somebody").await })
        };
        self.insist(asked).await
    }

    /// Asks for an app to be taken out of service, however often it takes.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn remove_app(&self, app: &AppName) -> Result<DeploymentId> {
        let app = app.clone();
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<DeploymentId>> {
            let app = app.clone();
            Box::pin(async move { Ok(engine.remove_app(&app, "somebody").await?.id) })
        };
        self.insist(asked).await
    }

    /// Tries once more to clean up after a stuck deployment.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn retry(&self, id: DeploymentId) -> Result<()> {
        self.ask(move |engine| Box::pin(async move { engine.retry(id).await })).await
    }

    /// What people are asked just now.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn approvals(&self) -> Result<Vec<PendingApproval>> {
        self.ask(|engine| Box::pin(async move { engine.approvals().await })).await
    }

    /// Answers whether a deployment may serve.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub async fn answer(&self, id: DeploymentId, request: ApprovalRequest) -> Result<()> {
        self.ask(move |engine| Box::pin(async move { engine.answer_approval(id, request).await.map(|_| ()) })).await
    }

    /// Waits until people are asked about a deployment; `None` if it has ended
    /// before, or is stuck.
    pub async fn question(&self, id: DeploymentId) -> Option<PendingApproval> {
        loop {
            let over = |state: State| state.is_terminal() || state == State::Stuck;
            if self.with_ledger(|ledger| ledger.deployment(id).is_none_or(|entry| over(entry.state))) {
                return None;
            }
            // Who is not answered asks again.
            let pending = self.approvals().await.unwrap_or_default();
            if let Some(found) = pending.into_iter().find(|pending| pending.deployment.id == id) {
                return Some(found);
            }
            self.sleep(Duration::from_millis(200)).await;
        }
    }

    /// Lets a person remove what looks like garbage, however much it is.
    ///
    /// # Errors
    ///
    /// As the engine's own call.
    pub async fn collect_garbage(&self) -> Result<()> {
        self.ask(|engine| Box::pin(async move { engine.collect_garbage().await.map(|_| ()) })).await
    }

    /// Waits until a deployment has ended; `None` if it is stuck, or has not
    /// ended within an hour.
    pub async fn ended(&self, id: DeploymentId) -> Option<Conclusion> {
        let over = |state: State| state.is_terminal() || state == State::Stuck;
        self.until(|ledger| ledger.deployment(id).is_some_and(|entry| over(entry.state))).await;
        self.with_ledger(|ledger| ledger.deployment(id).and_then(|entry| entry.conclusion))
    }

    /// Waits until something is true in this world, at most an hour; whether it is.
    pub async fn until(&self, condition: impl Fn(&Ledger) -> bool) -> bool {
        self.inner.sim.until(Duration::from_secs(3600), condition).await
    }
}

fn repository(app: &str) -> String {
    format!("https://git.test/acme/{app}")
}
