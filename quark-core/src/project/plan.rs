//! What a change of a project means for its apps. Pure.

use std::collections::BTreeSet;

use super::environment::Environment;
use super::naming::{of_branch, of_environment};
use super::overlay::name_taken;
use super::record::{of_branch as app_of_branch, of_environment as app_of_environment};
use super::spec::Project;
use crate::Result;
use crate::app::{App, AppName, BranchName, Domain};
use crate::deployment::AppRecord;

/// What a change of a project means for its apps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What each of its apps is to be; some of them are new.
    pub apps: Vec<App>,
    /// Those that are not wanted any more.
    pub removed: Vec<AppName>,
}

/// What each app of a project is to be; `existing` are those that it has, also
/// those that are being removed, whose names are not free yet.
///
/// An app stays the environment's whatever that is called now: the app keeps its
/// name, and so all that runs under it. Previews whose branch is not for an
/// environment with previews any more are removed.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if an app has too many variables.
pub fn plan(project: &Project, existing: &[AppRecord], base: &Domain) -> Result<Plan> {
    let mut names: BTreeSet<AppName> = existing.iter().map(|app| app.spec.name.clone()).collect();
    let mut wanted: Vec<(&Environment, Option<BranchName>, AppName)> = Vec::new();
    for environment in project.environments.iter().filter(|environment| !environment.previews) {
        let name = match app_of_environment(existing, &environment.id) {
            Some(app) => app.spec.name.clone(),
            None if environment.production => project.name.production()?,
            None => of_environment(&project.name, &environment.name, &environment.id, |name| {
                names.iter().any(|taken| taken.as_str() == name)
            })?,
        };
        names.insert(name.clone());
        wanted.push((environment, None, name));
    }
    for app in existing.iter().filter(|app| app.removed_at.is_none()) {
        let branch = app.spec.environment.as_ref().and_then(|environment| environment.branch.clone());
        let Some(branch) = branch else { continue };
        if let Some(environment) = project.environment_for(&branch).filter(|environment| environment.previews) {
            wanted.push((environment, Some(branch), app.spec.name.clone()));
        }
    }
    let kept: BTreeSet<&AppName> = wanted.iter().map(|(_, _, name)| name).collect();
    let present = existing.iter().filter(|app| app.removed_at.is_none()).map(|app| &app.spec.name);
    let removed = present.filter(|name| !kept.contains(name)).cloned().collect();
    let taken = |name: &str| names.iter().any(|taken| taken.as_str() == name);
    let apps = wanted
        .iter()
        .map(|(environment, branch, name)| project.app(environment, branch.as_ref(), name.clone(), base, taken));
    Ok(Plan { apps: apps.collect::<Result<_>>()?, removed })
}

/// The app of a branch of an environment with previews.
///
/// # Errors
///
/// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) (`preview_name_taken`) if another branch has its name.
pub(crate) fn preview(
    project: &Project,
    environment: &Environment,
    branch: &BranchName,
    existing: &[AppRecord],
    base: &Domain,
) -> Result<App> {
    let name = match app_of_branch(existing, branch) {
        Some(app) => app.spec.name.clone(),
        None => of_branch(&project.name, branch)?,
    };
    let namesake = existing.iter().filter(|app| app.spec.name == name).find_map(|app| app.spec.environment.as_ref());
    match namesake.and_then(|namesake| namesake.branch.as_ref()) {
        Some(other) if other != branch => Err(name_taken(&name, other)),
        _ => project.app(environment, Some(branch), name, base, |_| false),
    }
}

#[cfg(test)]
mod tests;
