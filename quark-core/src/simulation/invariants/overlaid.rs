//! What must hold of the apps of a project: that they are what the project says.
//! Worked out anew here, and not by what the engine goes by.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::app::{App, AppName, EnvKey, Secret, Source};
use crate::backend::ProjectWritten;
use crate::deployment::{Deployment, DeploymentKind};
use crate::project::{Project, ProjectName};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// Each app of a project is what the project says, at each change of it; what is
/// deployed is what it said at some time; and no two branches share an app.
#[derive(Debug, Default)]
pub(super) struct Overlaid {
    /// All that was ever said about each project.
    said: BTreeMap<ProjectName, Vec<Project>>,
    /// The apps of each project that are not being removed.
    apps: BTreeMap<ProjectName, BTreeSet<AppName>>,
    /// Whether something of what was said was lost with a store that went back.
    forgot: bool,
}

/// The variables that an app must have at least.
fn wanted(project: &Project, app: &App) -> Result<BTreeMap<EnvKey, Secret>, String> {
    let own = app.environment.as_ref().ok_or_else(|| format!("`{}` is of no project", app.name))?;
    let environment = project.environment(&own.id);
    let environment = environment.ok_or_else(|| format!("`{}` is of no environment", app.name))?;
    let mut env = BTreeMap::new();
    for (key, value) in project.template.env.iter().chain(environment.overrides.env.iter()) {
        env.insert(key.clone(), value.clone());
    }
    Ok(env)
}

/// Whether an app is what the project says; `exactly` unless it has variables of
/// a deployment as well.
fn compare(project: &Project, app: &App, exactly: bool) -> Verdict {
    let name = &app.name;
    let env = wanted(project, app)?;
    for (key, value) in &env {
        if app.env.iter().find(|(known, _)| *known == key).is_none_or(|(_, found)| found != value) {
            return Err(format!("the variable `{key}` of `{name}` is not what its project says"));
        }
    }
    if exactly && app.env.iter().count() != env.len() {
        return Err(format!("`{name}` has variables that its project does not say"));
    }
    let Some(own) = &app.environment else { return Ok(()) };
    let overrides = project.environment(&own.id).map(|environment| &environment.overrides);
    let port = overrides.and_then(|overrides| overrides.port).unwrap_or(project.template.port);
    if app.port != port {
        return Err(format!("`{name}` has the port {} instead of {port}", app.port));
    }
    match (&app.source, &own.branch) {
        (Source::Git { branch, .. }, Some(wanted)) if branch != wanted => {
            Err(format!("`{name}` is of the branch `{branch}` instead of `{wanted}`"))
        }
        _ => Ok(()),
    }
}

impl Overlaid {
    fn written(&mut self, written: &ProjectWritten, apps: &[App]) -> Verdict {
        let project = &written.project.spec;
        let known = self.apps.entry(project.name.clone()).or_default();
        for removal in &written.removals {
            known.remove(&removal.deployment.app);
        }
        if written.project.removed_at.is_some() {
            known.clear();
            return Ok(());
        }
        known.extend(apps.iter().map(|app| app.name.clone()));
        let said = self.said.entry(project.name.clone()).or_default();
        let is_new = said.last() != Some(project);
        if is_new {
            said.push(project.clone());
        }
        if is_new && let Some(left) = known.iter().find(|name| apps.iter().all(|app| app.name != **name)) {
            return Err(format!("a change of `{}` has left `{left}` behind", project.name));
        }
        apps.iter().try_for_each(|app| compare(project, app, true))
    }

    fn created(&mut self, deployment: &Deployment) -> Verdict {
        let Some(own) = &deployment.release.environment else { return Ok(()) };
        if deployment.kind == DeploymentKind::Remove {
            if let Some(apps) = self.apps.get_mut(&own.project) {
                apps.remove(&deployment.app);
            }
            return Ok(());
        }
        let branch = &deployment.revision.branch;
        if let (Some(only), Some(branch)) = (&own.branch, branch)
            && only != branch
        {
            return Err(format!("the branch `{branch}` goes to the preview of `{only}`"));
        }
        // A project may have changed since the app was read.
        let Some(said) = self.said.get(&own.project).filter(|_| !self.forgot) else { return Ok(()) };
        let told = said.iter().rev().map(|project| compare(project, &deployment.release, false));
        let mut first = None;
        for verdict in told {
            match verdict {
                Ok(()) => return Ok(()),
                Err(why) => first = first.or(Some(why)),
            }
        }
        first.map_or(Ok(()), Err)
    }
}

impl Invariant for Overlaid {
    fn name(&self) -> &'static str {
        "overlaid"
    }

    fn before(&mut self, _: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            Change::ProjectWritten(written, apps) => self.written(written, apps),
            Change::DeploymentCreated(created) if !created.existing => self.created(&created.deployment),
            // What is said now may be older than what is known here.
            Change::StoreRestored(_) => {
                *self = Self { forgot: true, ..Self::default() };
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
