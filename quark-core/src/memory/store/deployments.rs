//! Deployments: written down, read, and asked to stop.

use super::tables::{DeploymentRow, Tables};
use crate::app::AppName;
use crate::backend::store::refusal;
use crate::backend::{CancelOutcome, Snapshot};
use crate::clock::Timestamp;
use crate::deployment::{CancelRequest, Deployment, DeploymentId, DeploymentKind, EventKind, Instance, Version};
use crate::{Error, ErrorKind, Result};

impl Tables {
    pub(super) fn create_deployment(&mut self, mut deployment: Deployment) -> Result<Deployment> {
        let app = self.apps.get_mut(&deployment.app).ok_or_else(|| refusal::app_not_found(&deployment.app))?;
        if app.removed_at.is_some() {
            return Err(refusal::app_removed(&deployment.app));
        }
        let id = deployment.id;
        if self.deployments.contains_key(&id) {
            let message = format!("there is a deployment `{id}` already");
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_code("deployment_exists"));
        }
        if deployment.kind == DeploymentKind::Remove {
            app.removed_at = Some(deployment.created_at);
        }
        let history = self.histories.entry(deployment.app.clone()).or_default();
        history.push(id);
        deployment.sequence = history.len() as u64;
        deployment.version = Version::default().next();
        deployment.cancel = None;
        if !deployment.state.is_terminal() {
            self.unfinished.insert((deployment.created_at, id), deployment.app.clone());
        }
        self.deployments.insert(id, DeploymentRow::new(deployment.clone()));
        self.tell(id, EventKind::Created, deployment.created_at);
        Ok(deployment)
    }

    pub(super) fn deployments_of(&self, app: &AppName, before: Option<u64>, most: usize) -> Vec<Deployment> {
        let Some(history) = self.histories.get(app) else { return Vec::new() };
        let below = before.map_or(history.len(), |before| {
            usize::try_from(before.saturating_sub(1)).map_or(history.len(), |below| below.min(history.len()))
        });
        let newest_first = history.iter().take(below).rev().take(most);
        newest_first.filter_map(|id| self.deployments.get(id)).map(|row| row.deployment.clone()).collect()
    }

    pub(super) fn snapshot(&self, id: DeploymentId) -> Option<Snapshot> {
        let row = self.deployments.get(&id)?;
        let app = &row.deployment.app;
        let mut instances: Vec<Instance> =
            self.instances.get(app).map(|instances| instances.values().cloned().collect()).unwrap_or_default();
        instances.sort_by_key(|instance| (instance.deployment, instance.replica));
        Some(Snapshot {
            deployment: row.deployment.clone(),
            app: self.apps.get(app).cloned(),
            steps: row.steps.clone(),
            instances,
        })
    }

    pub(super) fn unfinished(&self) -> Vec<Deployment> {
        let rows = self.unfinished.keys().filter_map(|(_, id)| self.deployments.get(id));
        rows.map(|row| row.deployment.clone()).collect()
    }

    pub(super) fn request_cancel(&mut self, id: DeploymentId, by: &str, at: Timestamp) -> Result<CancelOutcome> {
        let deployment = &mut self.row_mut(id)?.deployment;
        if !deployment.state.can_cancel() {
            return Ok(CancelOutcome::TooLate);
        }
        if deployment.cancel.is_none() {
            deployment.cancel = Some(CancelRequest { by: by.to_owned(), at });
            self.tell(id, EventKind::CancelRequested { by: by.to_owned() }, at);
        }
        Ok(CancelOutcome::Requested)
    }
}
