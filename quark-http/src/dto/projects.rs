//! Projects on the wire: apps with environments.

use quark_core::deployment::IdempotencyKey;
use quark_core::project::{BranchPattern, EnvironmentId, EnvironmentName, EnvironmentRef, Overrides, ProjectSnapshot};
use quark_core::{
    App, AppRecord, Argv, BranchName, CommitSha, Domain, EnvKey, EnvVars, Environment, Error, Project, PushRequest,
    Pushed, RepositoryUrl, Resources, Result,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::apps::supersede;
use super::deployments::variables;
use super::{
    ApprovalBody, BakeBody, CanaryBody, CreateApp, DeploymentView, HealthBody, HooksBody, LivenessBody, OccupantView,
    ResourcesBody, SupersedeBody, TimingBody, VariablesBody,
};

/// What a project shall be: an app of which several run, each for branches of its own.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProject {
    /// What all of its apps have in common. Its name, of 1 to 20 characters, is
    /// the project's; it has no host names.
    pub template: CreateApp,
    /// In the order in which they are asked whether a branch is theirs. One, and
    /// one only, is production.
    pub environments: Vec<EnvironmentBody>,
}

/// What a project shall be from now on. What a GET has shown can be given back.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateProject {
    /// As in [`CreateProject`].
    pub template: CreateApp,
    /// Variables of the template that keep the value that they have.
    #[serde(default)]
    pub keep_env: Vec<String>,
    /// As in [`CreateProject`]. One without an id is the one of its name, or new.
    pub environments: Vec<EnvironmentBody>,
    /// The version that was read.
    pub version: u64,
    /// On whose behalf, 1 to 100 characters; `api` by default.
    #[serde(default)]
    pub by: Option<String>,
}

/// An environment: an app of its own, or one per branch. What is left out is as
/// the template says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EnvironmentBody {
    /// Which, whatever it is called; eight digits, 0-9 and a-f. Left out of a new one.
    pub id: Option<String>,
    /// 1 to 40 of a-z, 0-9 and `-`, starting with a letter, but not with `id-`.
    #[schema(example = "staging")]
    pub name: String,
    /// The branches that it is for: names, or patterns with one `*`.
    pub branches: Vec<String>,
    /// Whether it is the one that users are served by; it cannot be renamed or removed.
    pub production: bool,
    /// Whether a push to one of its branches is deployed.
    pub auto_deploy: bool,
    /// Whether each branch gets an app of its own.
    pub previews: bool,
    /// The host names that it answers to, besides those below the base domain.
    pub domains: Vec<String>,
    /// Variables, besides and instead of the template's. Values are never shown again.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub env: VariablesBody,
    /// Variables that keep the value that they have.
    pub keep_env: Vec<String>,
    /// As of an app.
    pub port: Option<u16>,
    /// As of an app.
    pub resources: Option<ResourcesBody>,
    /// As of an app.
    pub health: Option<HealthBody>,
    /// As of an app.
    pub command: Option<Vec<String>>,
    /// As of an app.
    pub timing: Option<TimingBody>,
    /// As of an app.
    pub supersede: Option<SupersedeBody>,
    /// As of an app.
    pub approval: Option<ApprovalBody>,
    /// As of an app.
    pub bake: Option<BakeBody>,
    /// As of an app.
    pub canary: Option<CanaryBody>,
    /// As of an app.
    pub liveness: Option<LivenessBody>,
    /// As of an app.
    pub hooks: Option<HooksBody>,
}

impl CreateProject {
    /// The project that is meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_project(self) -> Result<Project> {
        let mut project = Project::of(self.template.into_app()?)?;
        for body in self.environments {
            project.environments.push(body.into_environment(None)?);
        }
        project.check()?;
        Ok(project)
    }
}

impl UpdateProject {
    /// The project that is meant; `before` is what it is now.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_project(self, before: &Project) -> Result<Project> {
        let mut template = self.template.into_app()?;
        keep(&mut template.env, &self.keep_env, &before.template.env)?;
        let mut project = Project::of(template)?;
        for body in self.environments {
            let of_id = before.environments.iter().find(|known| Some(known.id.as_str()) == body.id.as_deref());
            let of_name = || before.environments.iter().find(|known| known.name.as_str() == body.name);
            let known = of_id.or_else(|| if body.id.is_none() { of_name() } else { None });
            project.environments.push(body.into_environment(known)?);
        }
        project.check()?;
        Ok(project)
    }
}

/// Takes values over that nobody but the store knows.
fn keep(env: &mut EnvVars, names: &[String], before: &EnvVars) -> Result<()> {
    for name in names {
        let key = EnvKey::parse(name).map_err(|error| error.with_field("keep_env"))?;
        if env.keys().any(|known| *known == key) {
            let text = format!("`{key}` cannot have a new value and keep its old one");
            return Err(Error::invalid("keep_env", "variable_set", text));
        }
        let Some((_, value)) = before.iter().find(|(known, _)| **known == key) else {
            let text = format!("there is no variable `{key}` yet that could keep its value");
            return Err(Error::invalid("keep_env", "no_such_variable", text));
        };
        env.set(key, value.clone())?;
    }
    Ok(())
}

impl EnvironmentBody {
    fn into_environment(self, before: Option<&Environment>) -> Result<Environment> {
        let id = match (self.id, before) {
            (Some(id), _) => EnvironmentId::parse(id)?,
            (None, Some(before)) => before.id.clone(),
            (None, None) => EnvironmentId::generate(),
        };
        let mut env = variables(self.env)?;
        keep(&mut env, &self.keep_env, before.map_or(&EnvVars::new(), |before| &before.overrides.env))?;
        let resources = |body: ResourcesBody| Resources::new(body.cpu_millis, body.memory_bytes, body.pids);
        Ok(Environment {
            id,
            name: EnvironmentName::parse(self.name)?,
            branches: self.branches.iter().map(BranchPattern::parse).collect::<Result<_>>()?,
            production: self.production,
            auto_deploy: self.auto_deploy,
            previews: self.previews,
            domains: self.domains.iter().map(Domain::parse).collect::<Result<_>>()?,
            overrides: Overrides {
                env,
                port: self.port,
                resources: self.resources.map(resources).transpose()?,
                health: self.health.map(HealthBody::into_check).transpose()?,
                command: self.command.map(Argv::new).transpose()?,
                timing: self.timing.map(TimingBody::into_timing),
                supersede: self.supersede.map(Into::into),
                approval: self.approval.map(Into::into),
                bake: self.bake.map(Into::into),
                canary: self.canary.map(Into::into),
                liveness: self.liveness.map(Into::into),
                hooks: self.hooks.map(HooksBody::into_hooks).transpose()?,
            },
        })
    }
}

/// Without the values of its variables: their names are in `keep_env`.
impl From<Environment> for EnvironmentBody {
    fn from(environment: Environment) -> Self {
        let Environment { id, name, branches, production, auto_deploy, previews, domains, overrides } = environment;
        let Overrides {
            env,
            port,
            resources,
            health,
            command,
            timing,
            supersede: policy,
            approval,
            bake,
            canary,
            liveness,
            hooks,
        } = overrides;
        Self {
            id: Some(id.into()),
            name: name.into(),
            branches: branches.into_iter().map(Into::into).collect(),
            production,
            auto_deploy,
            previews,
            domains: domains.into_iter().map(Into::into).collect(),
            env: VariablesBody::default(),
            keep_env: names(&env),
            port,
            resources: resources.map(Into::into),
            health: health.map(Into::into),
            command: command.map(|command| command.words().to_vec()),
            timing: timing.map(Into::into),
            supersede: policy.and_then(supersede),
            approval: approval.map(Into::into),
            bake: bake.map(Into::into),
            canary: canary.map(Into::into),
            liveness: liveness.map(Into::into),
            hooks: hooks.map(Into::into),
        }
    }
}

fn names(env: &EnvVars) -> Vec<String> {
    env.keys().map(ToString::to_string).collect()
}

/// Without the values of its variables.
fn template(app: App) -> CreateApp {
    CreateApp {
        name: app.name.into(),
        source: app.source.into(),
        domains: Vec::new(),
        port: Some(app.port),
        env: VariablesBody::default(),
        resources: Some(app.resources.into()),
        health: Some(app.health.into()),
        command: app.command.map(|command| command.words().to_vec()),
        dockerfile: Some(app.dockerfile.into()),
        timing: Some(app.timing.into()),
        supersede: supersede(app.supersede),
        approval: app.approval.map(Into::into),
        bake: Some(app.bake.into()),
        canary: app.canary.map(Into::into),
        liveness: app.liveness.map(Into::into),
        hooks: Some(app.hooks.into()),
    }
}

/// Which environment of which project an app is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentRefView {
    /// The project.
    pub project: String,
    /// The environment's id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// The branch whose preview the app is, if it is one.
    pub branch: Option<String>,
}

impl From<EnvironmentRef> for EnvironmentRefView {
    fn from(own: EnvironmentRef) -> Self {
        Self {
            project: own.project.into(),
            id: own.id.into(),
            name: own.name.into(),
            branch: own.branch.map(Into::into),
        }
    }
}

/// An app of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectAppView {
    /// Its name; everything else about it is at `/api/v1/apps/{name}`.
    pub name: String,
    /// Which environment it is.
    pub environment: Option<EnvironmentRefView>,
    /// The host names that reach it now.
    pub reachable_at: Vec<String>,
    /// What serves.
    pub live: Option<OccupantView>,
    /// Whether it is being removed.
    pub removing: bool,
}

impl From<AppRecord> for ProjectAppView {
    fn from(record: AppRecord) -> Self {
        Self {
            name: record.spec.name.into(),
            environment: record.spec.environment.map(Into::into),
            reachable_at: record.serving.domains.into_iter().map(Into::into).collect(),
            live: record.serving.live.map(Into::into),
            removing: record.removed_at.is_some(),
        }
    }
}

/// A project, without the values of its variables.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProjectView {
    /// Its name.
    pub name: String,
    /// What all of its apps have in common.
    pub template: CreateApp,
    /// The names of the template's variables.
    pub keep_env: Vec<String>,
    /// Its environments, in the order in which they are asked for a branch.
    pub environments: Vec<EnvironmentBody>,
    /// Its apps, by name.
    pub apps: Vec<ProjectAppView>,
    /// Counts its changes; to be given back with the next one.
    pub version: u64,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// Whether it is being removed.
    pub removing: bool,
}

impl From<ProjectSnapshot> for ProjectView {
    fn from(snapshot: ProjectSnapshot) -> Self {
        let ProjectSnapshot { project, apps } = snapshot;
        let spec = project.spec;
        Self {
            name: spec.name.into(),
            keep_env: names(&spec.template.env),
            template: template(spec.template),
            environments: spec.environments.into_iter().map(Into::into).collect(),
            apps: apps.into_iter().map(Into::into).collect(),
            version: project.version.0,
            created_at: project.created_at.to_string(),
            removing: project.removed_at.is_some(),
        }
    }
}

/// All projects.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProjectList {
    /// By name.
    pub items: Vec<ProjectView>,
}

/// The deployments that remove a project's apps.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RemovalList {
    /// One per app.
    pub items: Vec<DeploymentView>,
}

/// A branch of a repository has moved, or is gone.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePush {
    /// The repository, in any of the ways to write it.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// Where it points now, all 40 digits; left out if the branch is gone.
    #[serde(default)]
    pub commit: Option<String>,
    /// Names the delivery, as the header `Idempotency-Key` does; one of them is needed.
    #[serde(default)]
    pub key: Option<String>,
    /// On whose behalf, 1 to 100 characters; `push` by default.
    #[serde(default)]
    pub by: Option<String>,
}

impl CreatePush {
    /// The key of the delivery, if the body names it.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput).
    pub fn key(&self) -> Result<Option<IdempotencyKey>> {
        self.key.as_deref().map(IdempotencyKey::parse).transpose()
    }

    /// The request that is meant, under a key.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) with the field at fault.
    pub fn into_request(self, key: IdempotencyKey) -> Result<PushRequest> {
        Ok(PushRequest {
            repository: RepositoryUrl::parse(self.repository).map_err(|error| error.with_field("repository"))?,
            branch: BranchName::parse(self.branch)?,
            commit: self.commit.map(CommitSha::parse).transpose()?,
            key,
            by: self.by,
        })
    }
}

/// What a push means for one environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushedView {
    /// The project.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// The deployment that follows.
    pub deployment: Option<DeploymentView>,
    /// The stable name of why there is none, if there is none.
    pub code: Option<String>,
    /// Why there is none, in one sentence.
    pub message: Option<String>,
}

impl From<Pushed> for PushedView {
    fn from(pushed: Pushed) -> Self {
        let (deployment, error) = match pushed.deployment {
            Ok(deployment) => (Some(deployment.into()), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            project: pushed.project.into(),
            environment: pushed.environment.into(),
            deployment,
            code: error.as_ref().map(|error| error.code().to_owned()),
            message: error.map(|error| error.to_string()),
        }
    }
}

/// What a push means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PushedList {
    /// One per environment that is for the branch and deploys by itself.
    pub items: Vec<PushedView>,
}
