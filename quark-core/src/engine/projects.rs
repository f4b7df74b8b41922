//! `DeploymentEngine`, continued: projects, whose environments are apps.

use serde::{Deserialize, Serialize};

use super::api::DeploymentEngine;
use super::requests::DeployRequest;
use super::sweep;
use crate::app::{App, AppName, BranchName, CommitSha, RepositoryUrl, Source, check_person};
use crate::backend::store::refusal;
use crate::backend::{Call, CreatedDeployment, Metric, NewJob, ProjectChange, ProjectWrite, ProjectWritten};
use crate::deployment::{AppRecord, Deployment, DeploymentKind, Fence, IdempotencyKey, Version};
use crate::planted::planted;
use crate::project::{
    Environment, EnvironmentName, Plan, Project, ProjectName, ProjectRecord, ProjectSnapshot, is_reserved, plan,
    preview, reserved,
};
use crate::{Error, ErrorKind, Result};

/// How often a change of a project is planned anew because an app of it was
/// made or removed in between.
const TRIES: usize = 20;
/// How long a repository is asked whether a branch is gone.
const LOOK: std::time::Duration = std::time::Duration::from_secs(20);

/// A branch of a repository has moved, as a git host tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// Which repository, in any of the ways to write it.
    pub repository: RepositoryUrl,
    /// Which branch.
    pub branch: BranchName,
    /// Where it points now; `None` if it is gone.
    #[serde(default)]
    pub commit: Option<CommitSha>,
    /// Names the delivery: whatever comes under the same key a second time
    /// changes nothing.
    pub key: IdempotencyKey,
    /// Who wants it, for the record; `push` if nobody is named.
    #[serde(default)]
    pub by: Option<String>,
}

/// What a push means for one environment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pushed {
    /// The project.
    pub project: ProjectName,
    /// The environment that has the branch.
    pub environment: EnvironmentName,
    /// The deployment that follows, or why there is none. One that was refused
    /// does not keep the others from being made.
    pub deployment: Result<Deployment>,
}

impl DeploymentEngine {
    /// Makes a project known, and the apps of its environments. Nothing runs yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] with the field, [`ErrorKind::AlreadyExists`], [`ErrorKind::Conflict`] if a
    /// host name belongs to another app.
    pub async fn create_project(&self, project: Project) -> Result<ProjectSnapshot> {
        project.check()?;
        self.shared.refuse_in_safe_mode()?;
        let Plan { apps, .. } = plan(&project, &[], &self.shared.config.base_domain)?;
        let name = project.name.clone();
        self.write_project(&name, None, ProjectChange::Becomes(Box::new(project)), apps, Vec::new()).await?;
        self.project(&name).await
    }

    /// Replaces what is said about a project. Its apps follow in the same
    /// moment: they are made, changed (the next deployment of each takes it up)
    /// or removed. An environment is known by its id, so one that gets another
    /// name keeps its app, and what runs.
    ///
    /// # Errors
    ///
    /// As [`create_project`](Self::create_project); [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`]
    /// (`version_changed`) if `expected` is not the project's version any more, (`production_stays`),
    /// (`source_kind_stays`), (`project_removed`); [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn update_project(&self, project: Project, expected: Version, by: &str) -> Result<ProjectSnapshot> {
        project.check()?;
        check_person(by)?;
        self.shared.refuse_in_safe_mode()?;
        let name = project.name.clone();
        for tried in 1.. {
            let now = self.unchanged(&name, expected).await?;
            project.check_change(&now.project.spec)?;
            let planned = plan(&project, &now.apps, &self.shared.config.base_domain)?;
            let removals = self.removals(&now, |app| planned.removed.contains(app), by);
            let mut apps = planned.apps;
            if planted!(PreviewsForgotten) {
                for app in apps.iter_mut().filter(|app| app.environment.as_ref().is_some_and(|it| it.branch.is_some()))
                {
                    if let Some(known) = now.apps.iter().find(|known| known.spec.name == app.name) {
                        app.clone_from(&known.spec);
                    }
                }
            }
            let change = ProjectChange::Becomes(Box::new(project.clone()));
            match self.write_project(&name, Some(expected), change, apps, removals).await {
                Err(error) if tried < TRIES && came_in_between(&error) => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        self.project(&name).await
    }

    /// What is known of a project and its apps.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`].
    pub async fn project(&self, name: &ProjectName) -> Result<ProjectSnapshot> {
        self.shared.store.project(name).await?.ok_or_else(|| refusal::project_not_found(name))
    }

    /// All projects, by name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store cannot be read.
    pub async fn projects(&self) -> Result<Vec<ProjectRecord>> {
        self.shared.store.projects().await
    }

    /// Takes all apps of a project out of service, and then the project away.
    /// Returns at once, with a deployment per app to wait for; the project is
    /// gone when the last of them is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] (`project_removed`) if it is being removed already;
    /// [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn remove_project(&self, name: &ProjectName, by: &str) -> Result<Vec<Deployment>> {
        check_person(by)?;
        self.shared.refuse_in_safe_mode()?;
        let mut tried = 0;
        loop {
            tried += 1;
            let now = self.project(name).await?;
            let removals = self.removals(&now, |_| true, by);
            let version = Some(now.project.version);
            match self.write_project(name, version, ProjectChange::IsRemoved, Vec::new(), removals).await {
                Err(error) if tried < TRIES && came_in_between(&error) => {}
                Err(error) => return Err(error),
                Ok(written) => return Ok(written.removals.into_iter().map(|removal| removal.deployment).collect()),
            }
        }
    }

    /// Asks for a version of a branch to be brought into service, in the
    /// environment that has the branch. Where each branch has an app of its
    /// own, that is made if it is not there. Otherwise as [`deploy`](Self::deploy).
    ///
    /// # Errors
    ///
    /// As [`deploy`](Self::deploy); [`ErrorKind::NotFound`] (`no_environment`) if no environment is for the
    /// branch; [`ErrorKind::Conflict`] (`app_removed`) while the preview of the branch is being removed,
    /// (`preview_name_taken`).
    pub async fn deploy_branch(
        &self,
        project: &ProjectName,
        branch: BranchName,
        request: DeployRequest,
    ) -> Result<Deployment> {
        self.shared.refuse_in_safe_mode()?;
        match self.target(project, &branch, request.key.as_ref()).await? {
            Target::App(app) => self.deploy(&app, DeployRequest { branch: Some(branch), ..request }).await,
            Target::Known(deployment) => Ok(*deployment),
        }
    }

    /// What follows from a push: a deployment in each environment that is for
    /// the branch of that repository and deploys by itself. For a branch that
    /// is gone, its preview is removed, unless the repository has the branch
    /// nevertheless. Delivered again under the same key, it changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store cannot be read; [`ErrorKind::InvalidInput`] if `by` names
    /// nobody. What keeps one environment from being deployed is in [`Pushed::deployment`].
    pub async fn push(&self, request: PushRequest) -> Result<Vec<Pushed>> {
        let by = request.by.clone().unwrap_or_else(|| "push".to_owned());
        check_person(&by)?;
        self.shared.refuse_in_safe_mode()?;
        let mut pushed = Vec::new();
        for record in self.projects().await? {
            let Some(environment) = wanted(&record, &request) else { continue };
            let deployment = match request.commit.clone() {
                Some(commit) => {
                    let wish =
                        DeployRequest { by: Some(by.clone()), ..DeployRequest::push(commit, request.key.clone()) };
                    Some(self.deploy_branch(&record.spec.name, request.branch.clone(), wish).await)
                }
                None if environment.previews => self.branch_gone(&record, &request, &by).await.transpose(),
                None => None,
            };
            pushed.extend(deployment.map(|deployment| Pushed {
                project: record.spec.name.clone(),
                environment: environment.name.clone(),
                deployment,
            }));
        }
        Ok(pushed)
    }

    /// Removes the preview of a branch that is gone, if there is one.
    async fn branch_gone(&self, record: &ProjectRecord, request: &PushRequest, by: &str) -> Result<Option<Deployment>> {
        let now = self.project(&record.spec.name).await?;
        let Some(app) = now.preview(&request.branch).filter(|app| app.removed_at.is_none()) else { return Ok(None) };
        if let Some(known) = self.shared.store.deployment_by_key(&app.spec.name, &request.key).await? {
            // The branch has come again since then.
            return Ok(Some(known));
        }
        let Source::Git { repository, .. } = &app.spec.source else { return Ok(None) };
        let call = Call::new(format!("gone:{}", app.spec.name), Fence::default(), LOOK);
        let call = call.with_clock(std::sync::Arc::clone(&self.shared.clock));
        let source = self.shared.source()?;
        match call.bound("source.resolve", source.resolve(&call, repository, &request.branch)).await {
            // Told late: it has come again.
            Ok(_) => return Ok(None),
            // A repository that is not found may only be hidden from us.
            Err(error) if error.code() == "branch_not_found" => {}
            Err(error) => return Err(error),
        }
        let mut removal = self.draft(app, DeploymentKind::Remove, Some(by));
        removal.key = Some(request.key.clone());
        self.submit(removal).await.map(Some)
    }

    /// What a branch of a project is deployed to: an app, which is made if it is
    /// a preview that is not there. What was asked for under this key of a preview
    /// that is gone by now, does not bring it back.
    async fn target(&self, name: &ProjectName, branch: &BranchName, key: Option<&IdempotencyKey>) -> Result<Target> {
        let mut tried = 0;
        loop {
            tried += 1;
            let now = self.project(name).await?;
            let spec = &now.project.spec;
            let environment = spec.environment_for(branch).ok_or_else(|| no_environment(name, branch))?;
            if !environment.previews {
                let app = now.environment(&environment.id).ok_or_else(|| refusal::project_removed(name))?;
                return Ok(Target::App(app.spec.name.clone()));
            }
            if let Some(known) = now.preview(branch).filter(|app| app.removed_at.is_none()) {
                return Ok(Target::App(known.spec.name.clone()));
            }
            let app = preview(spec, environment, branch, &now.apps, &self.shared.config.base_domain)?;
            let made = app.name.clone();
            if let Some(key) = key
                && let Some(known) = self.shared.store.deployment_by_key(&made, key).await?
            {
                return Ok(Target::Known(Box::new(known)));
            }
            let version = Some(now.project.version);
            match self.write_project(name, version, ProjectChange::Stays, vec![app], Vec::new()).await {
                Err(error) if tried < TRIES && error.code() == "version_changed" => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(Target::App(made)),
            }
        }
    }

    /// Whether an app of a project may be deployed from a branch: an
    /// environment's variables are for the branches that it is for.
    pub(super) async fn check_branch(&self, app: &App, branch: Option<&BranchName>) -> Result<()> {
        let (Some(own), Source::Git { branch: default, .. }) = (&app.environment, &app.source) else { return Ok(()) };
        let branch = branch.unwrap_or(default);
        let now = self.project(&own.project).await?;
        let fits = match &own.branch {
            Some(only) => only == branch,
            None => now.project.spec.environment_for(branch).is_some_and(|environment| environment.id == own.id),
        };
        if fits {
            return Ok(());
        }
        let text = format!("the branch `{branch}` is not for the environment `{}` of `{}`", own.name, own.project);
        Err(Error::invalid("branch", "branch_not_of_environment", text)
            .with_hint("name a branch that the environment is for, or change the project"))
    }

    /// The project as it is, if it is still what the caller has read.
    async fn unchanged(&self, name: &ProjectName, expected: Version) -> Result<ProjectSnapshot> {
        let now = self.project(name).await?;
        if now.project.removed_at.is_some() {
            return Err(refusal::project_removed(name));
        }
        if now.project.version != expected {
            return Err(refusal::version_changed());
        }
        Ok(now)
    }

    fn removals(&self, now: &ProjectSnapshot, which: impl Fn(&AppName) -> bool, by: &str) -> Vec<(Deployment, NewJob)> {
        let present = now.apps.iter().filter(|app| app.removed_at.is_none() && which(&app.spec.name));
        let removal = |app: &AppRecord| {
            let deployment = self.draft(app, DeploymentKind::Remove, Some(by));
            let job = sweep::job(&deployment, deployment.created_at);
            (deployment, job)
        };
        present.map(removal).collect()
    }

    /// What is done about a deployment that is written down.
    pub(super) async fn follow(&self, created: &CreatedDeployment, job: NewJob) {
        if !self.shared.store.queues_jobs() {
            self.shared.enqueue(job).await;
        }
        let kind = created.deployment.kind.as_str();
        self.shared.metrics.record(Metric::DeploymentCreated { kind });
        for ended in &created.ended {
            self.count_ended(ended);
        }
        self.shared.announce();
        for stopping in &created.stopping {
            self.stop(&created.deployment.app, *stopping);
        }
    }

    async fn write_project(
        &self,
        project: &ProjectName,
        expected: Option<Version>,
        change: ProjectChange,
        apps: Vec<App>,
        removals: Vec<(Deployment, NewJob)>,
    ) -> Result<ProjectWritten> {
        for app in &apps {
            self.check(app)?;
        }
        let jobs: Vec<NewJob> = removals.iter().map(|(_, job)| job.clone()).collect();
        let write = ProjectWrite { project: project.clone(), expected, change, apps, removals, at: self.shared.now() };
        let written = self.shared.store.write_project(write).await?;
        for (removal, job) in written.removals.iter().zip(jobs) {
            self.follow(removal, job).await;
        }
        Ok(written)
    }
}

/// What a branch is deployed to.
enum Target {
    App(AppName),
    /// The wish was granted before.
    Known(Box<Deployment>),
}

/// Refuses an app that says of itself what only its project can say.
pub(super) fn refuse_what_projects_give(app: &App) -> Result<()> {
    if is_reserved(app.name.as_str()) {
        return Err(reserved("app.name", app.name.as_str()));
    }
    if app.environment.is_some() {
        let text = "only a project says which of its environments an app is";
        return Err(Error::invalid("app.environment", "environment_set", text).with_hint("create a project"));
    }
    Ok(())
}

/// The environment that a push is for: one that deploys by itself or, when a
/// branch is gone, one that has made an app for it.
fn wanted<'a>(record: &'a ProjectRecord, request: &PushRequest) -> Option<&'a Environment> {
    let Source::Git { repository, .. } = &record.spec.template.source else { return None };
    if record.removed_at.is_some() || !repository.is_same(&request.repository) {
        return None;
    }
    record
        .spec
        .environment_for(&request.branch)
        .filter(|environment| environment.auto_deploy || (request.commit.is_none() && environment.previews))
}

/// Whether another write came between reading a project and changing it.
fn came_in_between(error: &Error) -> bool {
    matches!(error.code(), "version_changed" | "app_removed")
}

fn no_environment(project: &ProjectName, branch: &BranchName) -> Error {
    Error::new(ErrorKind::NotFound, format!("no environment of `{project}` is for the branch `{branch}`"))
        .with_code("no_environment")
        .with_field("branch")
        .with_hint("add a pattern for it to one of the project's environments")
}
