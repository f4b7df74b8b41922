//! `Project`: one app of which several run.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::naming::{EnvironmentId, EnvironmentName, ProjectName};
use super::pattern::BranchPattern;
use crate::app::{App, BranchName, Source};
use crate::{Error, ErrorKind, Result};

/// The most environments of a project.
const MOST: usize = 50;
/// The most branch patterns of an environment.
const MOST_BRANCHES: usize = 50;

/// One app of which several run, each for branches of its own.
///
/// ```
/// use quark_core::project::{Environment, Project};
/// use quark_core::{App, Source};
/// let app = App::new("shop", Source::git("https://github.com/acme/shop", "main")?)?.with_port(8000);
/// let project = Project::of(app)?
///     .with_environment(Environment::production("main")?.with_domain("shop.example.com".parse()?))
///     .with_environment(Environment::new("staging")?.with_branch("develop".parse()?).with_auto_deploy())
///     .with_environment(Environment::new("preview")?.with_branch("feature/*".parse()?).with_previews());
/// project.check()?;
/// let found = project.environment_for(&"feature/cart".parse()?);
/// assert_eq!(found.map(|environment| environment.name.as_str()), Some("preview"));
/// # Ok::<(), quark_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// What it is called.
    pub name: ProjectName,
    /// What all of its apps have in common. Has the project's name, and no host names.
    pub template: App,
    /// In the order in which they are asked whether a branch is theirs.
    pub environments: Vec<Environment>,
}

impl Project {
    /// A project without environments, which is not acceptable yet: one must
    /// be production.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the app's name cannot be a project's.
    pub fn of(template: App) -> Result<Self> {
        Ok(Self { name: ProjectName::parse(template.name.as_str())?, template, environments: Vec::new() })
    }

    /// Adds an environment, which is asked after those before it.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environments.push(environment);
        self
    }

    /// The environment that gets a branch: the first that is for it.
    #[must_use]
    pub fn environment_for(&self, branch: &BranchName) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.matches(branch))
    }

    /// The environment of this id.
    #[must_use]
    pub fn environment(&self, id: &EnvironmentId) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.id == *id)
    }

    /// Checks what no single field can check. Every door of QUARK calls it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] naming the field.
    pub fn check(&self) -> Result<()> {
        self.check_template()?;
        if self.environments.len() > MOST {
            let text = format!("a project may have {MOST} environments");
            return Err(Error::invalid("project.environments", "too_many_environments", text));
        }
        let (mut ids, mut names) = (HashSet::new(), HashSet::new());
        for environment in &self.environments {
            if !ids.insert(&environment.id) || !names.insert(&environment.name) {
                let text = format!("there are two environments `{}`, or of its id", environment.name);
                return Err(Error::invalid("project.environments", "environment_exists", text));
            }
            self.check_environment(environment)?;
        }
        if self.environments.iter().filter(|environment| environment.production).count() != 1 {
            let text = "one environment, and one only, must be production";
            return Err(Error::invalid("project.environments", "one_production", text));
        }
        self.check_shadows()
    }

    fn check_template(&self) -> Result<()> {
        let template = &self.template;
        let refuse = |field, code, text: &str| Err(Error::invalid(field, code, text));
        if template.name.as_str() != self.name.as_str() {
            return refuse("project.template.name", "template_name", "the template must have the name of its project");
        }
        if !template.domains.is_empty() {
            return Err(Error::invalid(
                "project.template.domains",
                "template_domains",
                "a host name belongs to one app, so a template has none",
            )
            .with_hint("give it to an environment"));
        }
        if template.environment.is_some() {
            return refuse("project.template.environment", "template_environment", "a template is of no environment");
        }
        template.check()
    }

    fn check_environment(&self, environment: &Environment) -> Result<()> {
        let refuse = |code, why: &str| {
            Err(Error::invalid("project.environments", code, format!("environment `{}` {why}", environment.name)))
        };
        let is_git = matches!(self.template.source, Source::Git { .. });
        if environment.branches.len() > MOST_BRANCHES {
            return refuse("too_many_branches", "has more than 50 patterns of branches");
        }
        if !is_git && !environment.branches.is_empty() {
            return refuse("branch_needs_git", "is for branches, and the project is an image");
        }
        if is_git && environment.branches.is_empty() {
            return refuse("no_branch", "is for no branch");
        }
        if environment.production && environment.branches.iter().any(|pattern| pattern.exact().is_none()) {
            return refuse("production_pattern", "is production, which must not depend on how somebody calls a branch");
        }
        if environment.production && environment.previews {
            return refuse("production_previews", "is production, which is one app");
        }
        if environment.previews && !is_git {
            return refuse("branch_needs_git", "has one app per branch, and the project is an image");
        }
        if environment.previews && !environment.domains.is_empty() {
            return refuse("preview_domains", "has one app per branch, which cannot all have one host name");
        }
        // As an app it must be acceptable, whatever the engine's base domain is.
        self.overlaid(environment)?.check()
    }

    /// Refuses a pattern that never gets a branch, because an earlier one gets
    /// them all: somebody has meant something else.
    fn check_shadows(&self) -> Result<()> {
        let mut before: Vec<(&EnvironmentName, &BranchPattern)> = Vec::new();
        for environment in &self.environments {
            for pattern in &environment.branches {
                if let Some((other, by)) = before.iter().find(|(_, earlier)| earlier.covers(pattern)) {
                    let text = format!(
                        "`{pattern}` of `{}` never gets a branch: `{by}` of `{other}` gets it",
                        environment.name
                    );
                    return Err(Error::invalid("project.environments", "branch_shadowed", text)
                        .with_hint("put the environment with the narrower pattern first"));
                }
                before.push((&environment.name, pattern));
            }
        }
        Ok(())
    }

    /// Checks that what may not change does not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Conflict`] (`production_stays`): production stays what it
    /// is, and keeps its name; (`source_kind_stays`): what is built from git stays so.
    pub fn check_change(&self, before: &Self) -> Result<()> {
        let production = |project: &Self| {
            let found = project.environments.iter().find(|environment| environment.production);
            found.map(|environment| (environment.id.clone(), environment.name.clone()))
        };
        if production(self) != production(before) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the production environment cannot be renamed, taken away or exchanged for another",
            )
            .with_code("production_stays")
            .with_field("project.environments"));
        }
        let is_git = |project: &Self| matches!(project.template.source, Source::Git { .. });
        if is_git(self) != is_git(before) {
            return Err(Error::new(ErrorKind::Conflict, "a project that is built from git cannot become an image")
                .with_code("source_kind_stays")
                .with_field("project.template.source"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
