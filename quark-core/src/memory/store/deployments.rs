//! Deployments: written down, read, and asked to stop.

use super::tables::{DeploymentRow, Tables};
use crate::app::AppName;
use crate::backend::store::refusal;
use crate::backend::{CancelOutcome, CreatedDeployment, Snapshot};
use crate::deployment::{
    CancelRequest, Deployment, DeploymentId, DeploymentKind, EventKind, IdempotencyKey, Instance, State,
    SupersedePolicy, Superseding, Version,
};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

impl Tables {
    pub(super) fn create_deployment(
        &mut self,
        mut deployment: Deployment,
        policy: SupersedePolicy,
    ) -> Result<CreatedDeployment> {
        let known = deployment.key.as_ref().and_then(|key| self.by_key(&deployment.app, key));
        if let Some(existing) = known.filter(|_| !planted!(KeyForgotten)) {
            let existing = existing.clone();
            return Ok(CreatedDeployment {
                deployment: existing,
                existing: true,
                ended: Vec::new(),
                stopping: Vec::new(),
            });
        }
        let verdicts = self.verdicts(&deployment, policy)?;
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
        let at = deployment.created_at;
        self.tell(id, EventKind::Created, at);
        let request = CancelRequest::superseded_by(&deployment.created_by, id, at);
        let (mut ended, mut stopping) = (Vec::new(), Vec::new());
        for (other, verdict) in verdicts {
            match verdict {
                Superseding::Ends => {
                    self.request_cancel(other, request.clone())?;
                    ended.push(self.row(other)?.deployment.clone());
                }
                Superseding::Stops => {
                    self.request_cancel(other, request.clone())?;
                    stopping.push(other);
                }
                Superseding::Stays | Superseding::Refuses => {}
            }
        }
        Ok(CreatedDeployment { deployment, existing: false, ended, stopping })
    }

    pub(super) fn by_key(&self, app: &AppName, key: &IdempotencyKey) -> Option<&Deployment> {
        let history = self.histories.get(app)?.iter().rev();
        let mut rows = history.filter_map(|id| self.deployments.get(id)).map(|row| &row.deployment);
        rows.find(|deployment| deployment.key.as_ref() == Some(key))
    }

    /// What becomes of the unfinished deployments of the app.
    fn verdicts(&self, wanted: &Deployment, policy: SupersedePolicy) -> Result<Vec<(DeploymentId, Superseding)>> {
        let of_app = self.unfinished.iter().filter(|(_, app)| **app == wanted.app);
        let rows = of_app.filter_map(|((_, id), _)| self.deployments.get(id)).map(|row| &row.deployment);
        let verdicts: Vec<_> = rows.map(|earlier| (earlier.id, policy.verdict(wanted, earlier))).collect();
        match verdicts.iter().find(|(_, verdict)| *verdict == Superseding::Refuses) {
            Some((other, _)) => Err(refusal::deployment_under_way(*other)),
            None => Ok(verdicts),
        }
    }

    pub(super) fn instances_of(&self, app: &AppName) -> Vec<Instance> {
        let mut instances: Vec<Instance> =
            self.instances.get(app).map(|instances| instances.values().cloned().collect()).unwrap_or_default();
        instances.sort_by_key(|instance| (instance.deployment, instance.replica));
        instances
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
        let instances = self.instances_of(app);
        Some(Snapshot {
            deployment: row.deployment.clone(),
            app: self.apps.get(app).cloned(),
            steps: row.steps.clone(),
            instances,
        })
    }

    pub(super) fn unfinished(&self, app: Option<&AppName>) -> Vec<Deployment> {
        let rows = self.unfinished.keys().filter_map(|(_, id)| self.deployments.get(id));
        let deployments = rows.map(|row| &row.deployment);
        deployments.filter(|deployment| app.is_none_or(|app| deployment.app == *app)).cloned().collect()
    }

    pub(super) fn request_cancel(&mut self, id: DeploymentId, request: CancelRequest) -> Result<CancelOutcome> {
        let deployment = &mut self.row_mut(id)?.deployment;
        if !deployment.state.can_cancel() {
            if planted!(EndOverwritten) && deployment.state.is_terminal() {
                deployment.cancel = Some(request);
                deployment.end_before_it_began(deployment.created_at);
            }
            return Ok(CancelOutcome::TooLate);
        }
        if deployment.cancel.is_some() {
            return Ok(CancelOutcome::Requested);
        }
        let (by, at) = (request.by.clone(), request.at);
        deployment.cancel = Some(request);
        let waited = deployment.state == State::Queued;
        let created_at = deployment.created_at;
        if waited {
            deployment.end_before_it_began(at);
        }
        let (to, conclusion) = (deployment.state, deployment.conclusion);
        self.tell(id, EventKind::CancelRequested { by }, at);
        if !waited {
            return Ok(CancelOutcome::Requested);
        }
        self.unfinished.remove(&(created_at, id));
        self.tell(id, EventKind::StateChanged { from: State::Queued, to }, at);
        if let Some(conclusion) = conclusion {
            self.tell(id, EventKind::Completed { conclusion, failure: None }, at);
        }
        Ok(CancelOutcome::Ended)
    }
}
