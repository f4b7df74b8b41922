//! `ProjectWrite`: one atomic change of a project and of its apps.

use super::queue::NewJob;
use super::store::CreatedDeployment;
use crate::app::App;
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, Deployment, Version};
use crate::project::{Project, ProjectName, ProjectRecord};

/// One atomic change of a project and of its apps. All of it happens, or nothing.
#[derive(Clone, Debug)]
pub struct ProjectWrite {
    /// Which project.
    pub project: ProjectName,
    /// The version that the writer has read; `None` if the project is new.
    pub expected: Option<Version>,
    /// What becomes of the project itself.
    pub change: ProjectChange,
    /// Apps of the project as they shall be: those that are not there are made,
    /// the others changed. Each names the project in
    /// [`App::environment`](crate::App::environment).
    pub apps: Vec<App>,
    /// Deployments that remove apps of the project, with their jobs.
    pub removals: Vec<(Deployment, NewJob)>,
    /// When.
    pub at: Timestamp,
}

/// What becomes of a project itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store must handle each")]
pub enum ProjectChange {
    /// Nothing, its version neither: apps are added or removed, as previews are.
    Stays,
    /// It is made, or is this from now on. The write must name all its apps
    /// that are not being removed.
    Becomes(Box<Project>),
    /// It is removed: gone once its last app is. The write must name all its
    /// apps that are not being removed.
    IsRemoved,
}

/// What a [`ProjectWrite`] did.
#[derive(Clone, Debug)]
pub struct ProjectWritten {
    /// The project as it is now.
    pub project: ProjectRecord,
    /// The apps that it made.
    pub created: Vec<AppRecord>,
    /// What became of each removal.
    pub removals: Vec<CreatedDeployment>,
}

/// Errors about projects that every store reports in the same words.
pub mod refusal {
    use crate::app::AppName;
    use crate::project::ProjectName;
    use crate::{Error, ErrorKind};

    /// There is no such project.
    #[must_use]
    pub fn project_not_found(name: &ProjectName) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no project `{name}`")).with_code("project_not_found")
    }

    /// There is a project of that name.
    #[must_use]
    pub fn project_exists(name: &ProjectName) -> Error {
        Error::new(ErrorKind::AlreadyExists, format!("a project `{name}` exists already"))
            .with_code("project_exists")
            .with_field("project.name")
    }

    /// The project is being removed.
    #[must_use]
    pub fn project_removed(name: &ProjectName) -> Error {
        Error::new(ErrorKind::Conflict, format!("the project `{name}` is being removed")).with_code("project_removed")
    }

    /// The app is an environment of a project.
    #[must_use]
    pub fn app_of_project(app: &AppName, project: &ProjectName) -> Error {
        Error::new(ErrorKind::Conflict, format!("`{app}` is an environment of the project `{project}`"))
            .with_code("app_of_project")
            .with_hint("change the project; its apps follow")
    }
}
