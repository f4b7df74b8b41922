//! `Environment`: for which branches, and what is said of it otherwise.

use serde::{Deserialize, Serialize};

use super::naming::{EnvironmentId, EnvironmentName, ProjectName};
use super::pattern::BranchPattern;
use crate::Result;
use crate::app::{
    ApprovalPolicy, Argv, BakePolicy, BranchName, CanaryPolicy, Domain, EnvKey, EnvVars, HealthCheck, Hooks,
    LivenessPolicy, Resources, Secret, Timing,
};
use crate::deployment::SupersedePolicy;

/// An environment of a project: an app of its own, or one per branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Which, whatever it is called.
    pub id: EnvironmentId,
    /// What it is called.
    pub name: EnvironmentName,
    /// The branches that it is for. Of several environments that a branch
    /// matches, the first of the project's list gets it.
    #[serde(default)]
    pub branches: Vec<BranchPattern>,
    /// Whether it is the one that users are served by: its app has the
    /// project's name, and it cannot be renamed or taken away.
    #[serde(default)]
    pub production: bool,
    /// Whether a push to one of its branches is deployed.
    #[serde(default)]
    pub auto_deploy: bool,
    /// Whether each branch gets an app of its own, made when the branch is first
    /// deployed and taken away when the branch is gone.
    #[serde(default)]
    pub previews: bool,
    /// The host names that it answers to, besides those below the base domain.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// What it does otherwise than the project's template.
    #[serde(default)]
    pub overrides: Overrides,
}

/// What an environment says otherwise than its project's template. What only
/// some environments shall have, such as an approval, is said there and not in
/// the template: nothing that the template says can be taken away, only replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Variables, besides and instead of the template's.
    pub env: EnvVars,
    /// The port it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// When it counts as healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Argv>,
    /// How long the parts of a replacement may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// What a newer deployment means for those before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersede: Option<SupersedePolicy>,
    /// Who must agree before a version serves users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// How long a version is watched after it was promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<BakePolicy>,
    /// Which share of the requests a version gets before it is promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryPolicy>,
    /// What is done about a version that falls ill while it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<LivenessPolicy>,
    /// The programs that run beside its deployments, instead of the template's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
}

/// Which environment of which project an app is. Only a project sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentRef {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub id: EnvironmentId,
    /// What the environment was called.
    pub name: EnvironmentName,
    /// The branch whose preview it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
}

impl Environment {
    /// An environment with a new id, for no branch yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name is not acceptable.
    pub fn new(name: &str) -> Result<Self> {
        Ok(Self {
            id: EnvironmentId::generate(),
            name: EnvironmentName::parse(name)?,
            branches: Vec::new(),
            production: false,
            auto_deploy: false,
            previews: false,
            domains: Vec::new(),
            overrides: Overrides::default(),
        })
    }

    /// The environment that users are served by, of one branch.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); also if the branch is not acceptable.
    pub fn production(branch: &str) -> Result<Self> {
        Ok(Self { production: true, ..Self::new("production")? }.with_branch(BranchPattern::parse(branch)?))
    }

    /// Adds branches that it is for.
    #[must_use]
    pub fn with_branch(mut self, pattern: BranchPattern) -> Self {
        self.branches.push(pattern);
        self
    }

    /// Deploys what is pushed to its branches.
    #[must_use]
    pub fn with_auto_deploy(mut self) -> Self {
        self.auto_deploy = true;
        self
    }

    /// Gives each of its branches an app of its own.
    #[must_use]
    pub fn with_previews(mut self) -> Self {
        self.previews = true;
        self
    }

    /// Adds a host name that it answers to.
    #[must_use]
    pub fn with_domain(mut self, domain: Domain) -> Self {
        if !self.domains.contains(&domain) {
            self.domains.push(domain);
        }
        self
    }

    /// Sets what it does otherwise than the template.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Overrides) -> Self {
        self.overrides = overrides;
        self
    }

    /// Sets a variable of this environment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if name or value are not acceptable.
    pub fn with_env(mut self, key: &str, value: impl Into<String>) -> Result<Self> {
        self.overrides.env.set(EnvKey::parse(key)?, Secret::new(value))?;
        Ok(self)
    }

    /// Whether it is for this branch.
    #[must_use]
    pub fn matches(&self, branch: &BranchName) -> bool {
        self.branches.iter().any(|pattern| pattern.matches(branch))
    }
}
