//! Projects: written together with their apps.

use std::collections::BTreeSet;

use super::tables::Tables;
use crate::Result;
use crate::app::{App, AppName};
use crate::backend::store::refusal;
use crate::backend::{CreatedDeployment, NewJob, ProjectChange, ProjectWrite, ProjectWritten};
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, SupersedePolicy, TeamId, Version};
use crate::project::{ProjectName, ProjectRecord, ProjectSnapshot};

impl Tables {
    /// Does all of it, or fails in the middle: for a copy of the tables. The
    /// jobs that follow are handed back.
    pub(super) fn write_project(&mut self, write: ProjectWrite) -> Result<(ProjectWritten, Vec<NewJob>)> {
        let ProjectWrite { project: name, expected, change, apps, removals, at } = write;
        self.check_version(&name, expected)?;
        if change != ProjectChange::Stays {
            let named = apps.iter().map(|app| &app.name).chain(removals.iter().map(|(removal, _)| &removal.app));
            self.check_all_are_named(&name, &named.cloned().collect())?;
        }
        let project = self.change_project(&name, change, at)?;
        self.give_up_domains(&apps);
        let mut created = Vec::new();
        for app in apps {
            created.extend(self.put_app(&name, app, at)?);
        }
        let mut jobs = Vec::new();
        let mut removed: Vec<CreatedDeployment> = Vec::new();
        for (removal, job) in removals {
            removed.push(self.create_deployment(removal, SupersedePolicy::Coalesce)?);
            jobs.push(job);
        }
        self.forget_project_if_done(&name);
        Ok((ProjectWritten { project, created, removals: removed }, jobs))
    }

    pub(super) fn project(&self, name: &ProjectName) -> Option<ProjectSnapshot> {
        let project = self.projects.get(name)?.clone();
        Some(ProjectSnapshot { project, apps: self.apps_of(name).cloned().collect() })
    }

    /// A project that is being removed goes with its last app.
    pub(super) fn forget_project_if_done(&mut self, name: &ProjectName) {
        let is_removed = self.projects.get(name).is_some_and(|project| project.removed_at.is_some());
        if is_removed && self.apps_of(name).next().is_none() {
            self.projects.remove(name);
        }
    }

    fn apps_of(&self, project: &ProjectName) -> impl Iterator<Item = &AppRecord> {
        self.apps.values().filter(move |app| is_of(app, project))
    }

    fn check_version(&self, name: &ProjectName, expected: Option<Version>) -> Result<()> {
        match (self.projects.get(name), expected) {
            (Some(_), None) => Err(refusal::project_exists(name)),
            (None, Some(_)) => Err(refusal::project_not_found(name)),
            (Some(known), Some(_)) if known.removed_at.is_some() => Err(refusal::project_removed(name)),
            (Some(known), Some(expected)) if known.version != expected => Err(refusal::version_changed()),
            _ => Ok(()),
        }
    }

    /// Whoever changes a project must have seen all of its apps.
    fn check_all_are_named(&self, project: &ProjectName, named: &BTreeSet<AppName>) -> Result<()> {
        let mut present = self.apps_of(project).filter(|app| app.removed_at.is_none());
        if present.all(|app| named.contains(&app.spec.name)) { Ok(()) } else { Err(refusal::version_changed()) }
    }

    fn change_project(&mut self, name: &ProjectName, change: ProjectChange, at: Timestamp) -> Result<ProjectRecord> {
        let known = self.projects.get(name).cloned();
        let record = match (change, known) {
            (ProjectChange::Becomes(spec), None) => ProjectRecord {
                team: TeamId::default(),
                spec: *spec,
                version: Version::default().next(),
                created_at: at,
                updated_at: at,
                removed_at: None,
            },
            (_, None) => return Err(refusal::project_not_found(name)),
            (ProjectChange::Stays, Some(known)) => return Ok(known),
            (ProjectChange::Becomes(spec), Some(known)) => {
                ProjectRecord { spec: *spec, version: known.version.next(), updated_at: at, ..known }
            }
            (ProjectChange::IsRemoved, Some(known)) => {
                ProjectRecord { version: known.version.next(), removed_at: Some(at), ..known }
            }
        };
        self.projects.insert(name.clone(), record.clone());
        Ok(record)
    }

    /// Host names may move between the apps of one write.
    fn give_up_domains(&mut self, apps: &[App]) {
        let names: BTreeSet<&AppName> = apps.iter().map(|app| &app.name).collect();
        // What is another's, or being removed, is refused a moment later.
        self.domains.retain(|_, app| !names.contains(app));
    }

    /// Makes an app what it shall be; the app, if it was not there.
    fn put_app(&mut self, project: &ProjectName, spec: App, at: Timestamp) -> Result<Option<AppRecord>> {
        let Some(known) = self.apps.get(&spec.name) else { return self.create_app(spec, at).map(Some) };
        if !is_of(known, project) {
            return Err(refusal::app_exists(&spec.name));
        }
        if known.removed_at.is_some() {
            return Err(refusal::app_removed(&spec.name));
        }
        if known.spec == spec {
            // Its names were given up a moment ago, as those of all.
            self.check_domains(&spec)?;
            self.hold_domains(&spec);
            return Ok(None);
        }
        self.replace_app(spec, at)?;
        Ok(None)
    }
}

fn is_of(app: &AppRecord, project: &ProjectName) -> bool {
    app.spec.environment.as_ref().is_some_and(|environment| environment.project == *project)
}
