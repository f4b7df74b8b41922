//! What the app of an environment is: the template, overlaid.

use super::environment::{Environment, EnvironmentRef};
use super::naming::{label_of_environment, label_of_id};
use super::spec::Project;
use crate::app::{App, AppName, BranchName, Domain, EnvVars, Source};
use crate::planted::planted;
use crate::{Error, Result};

impl Project {
    /// The template with what the environment says otherwise, under the
    /// template's name and without host names.
    pub(super) fn overlaid(&self, environment: &Environment) -> Result<App> {
        let over = &environment.overrides;
        let mut app = self.template.clone();
        app.env = overlay(&self.template.env, &over.env).map_err(|error| error.with_field("project.environments"))?;
        app.port = over.port.unwrap_or(app.port);
        app.resources = over.resources.unwrap_or(app.resources);
        app.timing = over.timing.unwrap_or(app.timing);
        app.supersede = over.supersede.unwrap_or(app.supersede);
        if let Some(health) = &over.health {
            app.health.clone_from(health);
        }
        if over.command.is_some() {
            app.command.clone_from(&over.command);
        }
        if over.approval.is_some() {
            app.approval.clone_from(&over.approval);
        }
        if let Some(bake) = &over.bake {
            app.bake.clone_from(bake);
        }
        if over.canary.is_some() {
            app.canary.clone_from(&over.canary);
        }
        if over.liveness.is_some() {
            app.liveness.clone_from(&over.liveness);
        }
        if let Some(hooks) = &over.hooks {
            app.hooks.clone_from(hooks);
        }
        Ok(app)
    }

    /// The app of an environment, or of one of its branches, called `name`;
    /// `taken` says which names other apps of the project have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it has too many variables.
    pub(super) fn app(
        &self,
        environment: &Environment,
        branch: Option<&BranchName>,
        name: AppName,
        base: &Domain,
        taken: impl Fn(&str) -> bool,
    ) -> Result<App> {
        let mut app = self.overlaid(environment)?;
        app.domains.clone_from(&environment.domains);
        if branch.is_none() {
            let mut labels = vec![label_of_id(&self.name, &environment.id)];
            // Once renamed, it answers to its new name as well, if no app has that for its own.
            let own = label_of_environment(&self.name, &environment.name).filter(|_| !environment.production);
            labels.extend(own.filter(|label| *label != name.as_str() && !taken(label)));
            for label in labels {
                app.domains.push(base.subdomain(&AppName::parse(label)?));
            }
        }
        if let Source::Git { branch: default, .. } = &mut app.source
            && let Some(first) = branch.cloned().or_else(|| environment.branches.iter().find_map(|one| one.exact()))
        {
            *default = first;
        }
        app.name = name;
        app.environment = Some(EnvironmentRef {
            project: self.name.clone(),
            id: environment.id.clone(),
            name: environment.name.clone(),
            branch: branch.cloned(),
        });
        Ok(app)
    }
}

/// The names below the base domain that an app has besides its own, because of
/// what its environment is called.
pub(crate) fn aliases(app: &App, base: &Domain) -> Result<Vec<Domain>> {
    let Some(own) = app.environment.as_ref().filter(|own| own.branch.is_none()) else { return Ok(Vec::new()) };
    let labels = [Some(label_of_id(&own.project, &own.id)), label_of_environment(&own.project, &own.name)];
    labels.into_iter().flatten().map(|label| Ok(base.subdomain(&AppName::parse(label)?))).collect()
}

/// `below` with the variables of `above` besides and instead of its own.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`too_many_env`) if it would be too many.
pub(crate) fn overlay(below: &EnvVars, above: &EnvVars) -> Result<EnvVars> {
    let (first, second) = if planted!(OverlayReversed) { (above, below) } else { (below, above) };
    let mut vars = first.clone();
    for (key, value) in second.iter() {
        vars.set(key.clone(), value.clone())?;
    }
    Ok(vars)
}

/// A preview of another branch has the name already.
pub(super) fn name_taken(name: &AppName, other: &BranchName) -> Error {
    Error::new(crate::ErrorKind::Conflict, format!("`{name}` is the preview of the branch `{other}`"))
        .with_code("preview_name_taken")
        .with_hint("two branches have names that look the same in a host name; rename one of them")
}
