//! What a store keeps about a project.

use serde::{Deserialize, Serialize};

use super::naming::EnvironmentId;
use super::spec::Project;
use crate::app::BranchName;
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, TeamId, Version};

/// A project with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRecord {
    /// Whom it belongs to.
    pub team: TeamId,
    /// What people said about it.
    pub spec: Project,
    /// Counts the changes of `spec`.
    pub version: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When `spec` was last changed.
    pub updated_at: Timestamp,
    /// When it was asked to be removed; it is gone when its last app is.
    pub removed_at: Option<Timestamp>,
}

/// A project and its apps, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectSnapshot {
    /// The project.
    pub project: ProjectRecord,
    /// Its apps in the order of their names, also those that are being removed.
    pub apps: Vec<AppRecord>,
}

impl ProjectSnapshot {
    /// The app of an environment that has one; not one that is being removed.
    #[must_use]
    pub fn environment(&self, id: &EnvironmentId) -> Option<&AppRecord> {
        of_environment(&self.apps, id)
    }

    /// The preview of a branch, also if it is being removed.
    #[must_use]
    pub fn preview(&self, branch: &BranchName) -> Option<&AppRecord> {
        of_branch(&self.apps, branch)
    }
}

pub(super) fn of_environment<'a>(apps: &'a [AppRecord], id: &EnvironmentId) -> Option<&'a AppRecord> {
    apps.iter().find(|app| {
        let environment = app.spec.environment.as_ref();
        app.removed_at.is_none() && environment.is_some_and(|found| found.id == *id && found.branch.is_none())
    })
}

pub(super) fn of_branch<'a>(apps: &'a [AppRecord], branch: &BranchName) -> Option<&'a AppRecord> {
    apps.iter().find(|app| app.spec.environment.as_ref().is_some_and(|found| found.branch.as_ref() == Some(branch)))
}
