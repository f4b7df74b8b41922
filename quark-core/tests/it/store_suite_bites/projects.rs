//! A store with one fault: projects and their apps.

use quark_core::backend::{ProjectChange, ProjectWrite, ProjectWritten};
use quark_core::deployment::Version;
use quark_core::project::{ProjectName, ProjectRecord, ProjectSnapshot};
use quark_core::{App, ErrorKind, Result, Store, Timestamp};

use super::broken::Broken;
use super::fault::Fault;

impl Broken {
    pub(super) async fn write_bent_project(&self, write: ProjectWrite) -> Result<ProjectWritten> {
        let before = self.inner.project(&write.project).await?;
        let mut bent = write.clone();
        match (self.fault, &before) {
            (Fault::LeavesAppsBehind, Some(before)) => {
                for app in &mut bent.apps {
                    let known = before.apps.iter().find(|known| known.spec.name == app.name);
                    app.clone_from(known.map_or(&app.clone(), |known| &known.spec));
                }
            }
            (Fault::WritesEqualApps, Some(_)) => self.rewrite(&write).await?,
            (Fault::FreezesHostNames, Some(before)) => {
                for app in &mut bent.apps {
                    if let Some(known) = before.apps.iter().find(|known| known.spec.name == app.name) {
                        app.domains.clone_from(&known.spec.domains);
                    }
                }
            }
            (Fault::RemovesInSilence, Some(_)) if write.change == ProjectChange::IsRemoved => {
                let mut written = self.inner.write_project(bent).await?;
                written.removals.clear();
                return Ok(written);
            }
            _ => {}
        }
        let error = match self.inner.write_project(bent.clone()).await {
            Ok(mut written) => {
                if self.fault == Fault::CreatesInSilence {
                    written.created.clear();
                }
                if self.fault == Fault::CountsAddedApps && write.change == ProjectChange::Stays {
                    let change = ProjectChange::Becomes(Box::new(written.project.spec.clone()));
                    let apps = self.apps_of(&write.project).await?;
                    let expected = Some(written.project.version);
                    let again = ProjectWrite { change, apps, expected, removals: Vec::new(), ..write };
                    self.inner.write_project(again).await?;
                }
                return Ok(written);
            }
            Err(error) => error,
        };
        let version = before.as_ref().map(|before| before.project.version);
        match (self.fault, error.code()) {
            (Fault::TakesProjectsTwice, "project_exists")
            | (Fault::IgnoresProjectVersions, "version_changed")
            | (Fault::OverlooksApps, "version_changed") => {
                let mut apps = self.apps_of(&write.project).await?;
                apps.retain(|app| bent.apps.iter().all(|named| named.name != app.name));
                bent.apps.extend(apps);
                let is_outdated = self.fault == Fault::OverlooksApps && write.expected != version;
                if is_outdated { Err(error) } else { self.forced(bent, version).await }
            }
            (Fault::LeavesProjects, "app_exists" | "domain_taken" | "app_not_found") => {
                let apps = self.apps_of(&write.project).await?;
                self.forced(ProjectWrite { apps, removals: Vec::new(), ..bent }, version).await?;
                Err(error)
            }
            (Fault::AddsToRemovedProjects, "project_removed") => {
                let project = before.map(|before| before.project);
                let project = project.ok_or(error)?;
                Ok(ProjectWritten { project, created: Vec::new(), removals: Vec::new() })
            }
            _ => Err(error),
        }
    }

    /// Writes on top of whatever version is there; removals count as apps that stay.
    async fn forced(&self, write: ProjectWrite, expected: Option<Version>) -> Result<ProjectWritten> {
        self.inner.write_project(ProjectWrite { expected, ..write }).await
    }

    async fn apps_of(&self, project: &ProjectName) -> Result<Vec<App>> {
        let found = self.inner.project(project).await?;
        let apps = found.map(|found| found.apps).unwrap_or_default().into_iter();
        Ok(apps.filter(|app| app.removed_at.is_none()).map(|app| app.spec).collect())
    }

    /// Writes each app of a project once more than it should be.
    async fn rewrite(&self, write: &ProjectWrite) -> Result<()> {
        let Some(before) = self.inner.project(&write.project).await? else { return Ok(()) };
        for port in [7, 0] {
            let present = before.apps.iter().filter(|app| app.removed_at.is_none());
            let apps = present.map(|app| if port > 0 { app.spec.clone().with_port(port) } else { app.spec.clone() });
            let apps = apps.collect();
            let nothing = ProjectWrite { change: ProjectChange::Stays, apps, removals: Vec::new(), ..write.clone() };
            let done = self.inner.write_project(nothing).await;
            if let Err(error) = done
                && error.kind() != ErrorKind::Conflict
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Says something else of an app, without its project.
    pub(super) async fn change_app_of_project(&self, spec: App, at: Timestamp) -> Result<()> {
        let Some(own) = self.inner.app(&spec.name).await?.and_then(|app| app.spec.environment) else { return Ok(()) };
        let Some(found) = self.inner.project(&own.project).await? else { return Ok(()) };
        let app = App { environment: Some(own.clone()), ..spec };
        let (expected, change) = (Some(found.project.version), ProjectChange::Stays);
        let write = ProjectWrite { project: own.project, expected, change, apps: vec![app], removals: Vec::new(), at };
        self.inner.write_project(write).await.map(|_| ())
    }

    pub(super) async fn read_project(&self, name: &ProjectName) -> Result<Option<ProjectSnapshot>> {
        let mut found = self.inner.project(name).await?;
        if let Some(found) = &mut found {
            self.memory().projects.insert(name.clone(), found.clone());
            if self.fault == Fault::HidesAppsOfProjects {
                found.apps.clear();
            }
            if self.fault == Fault::MixesAppsOfProjects {
                found.apps = self.inner.apps().await?;
            }
        } else if self.fault == Fault::KeepsRemovedProjects {
            return Ok(self.memory().projects.get(name).cloned());
        }
        Ok(found)
    }

    pub(super) async fn read_projects(&self) -> Result<Vec<ProjectRecord>> {
        let mut projects = self.inner.projects().await?;
        if self.fault == Fault::ListsProjectsBackwards {
            projects.reverse();
        }
        Ok(projects)
    }
}
