//! From a wish to the row of a deployment: what is wished is checked against the
//! app, and written down together with the job that sees to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::api::DeploymentEngine;
use super::requests::{DeployRequest, RollbackRequest};
use super::sweep;
use crate::app::{AppName, Source, check_person};
use crate::backend::store::refusal;
use crate::deployment::{
    AppRecord, Conclusion, Deployment, DeploymentId, DeploymentKind, Expectation, Fence, IdempotencyKey, Occupant,
    Revision, State, Trigger, Version,
};
use crate::planted::planted;
use crate::project::overlay;
use crate::{Error, ErrorKind, Result};

/// What somebody wants to become of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wish {
    /// That a version of it is brought into service.
    Deploy(DeployRequest),
    /// That an earlier version is brought back.
    Rollback(RollbackRequest),
    /// That it is taken out of service for good.
    Remove {
        /// Who wants it, for the record.
        by: String,
    },
}

impl Wish {
    /// What names the wish, if something does.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        match self {
            Self::Deploy(request) => request.key.as_ref(),
            Self::Rollback(request) => request.key.as_ref(),
            Self::Remove { .. } => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Rollback(_) => "rollback",
            Self::Remove { .. } => "remove",
        }
    }
}

impl DeploymentEngine {
    /// Writes a wish down, unless something is not as it `expects`.
    pub(super) async fn wish(&self, name: &AppName, wish: Wish, expects: Option<Expectation>) -> Result<Deployment> {
        self.shared.refuse_in_safe_mode()?;
        let app = self.app(name).await?;
        if let Some(known) = self.known(&app, &wish).await? {
            return Ok(known);
        }
        if let Some(expected) = &expects {
            refuse_if_outdated(expected, &app)?;
        }
        let deployment = self.drafted(&app, wish).await?;
        self.submit(Deployment { expects, ..deployment }).await
    }

    /// Writes a rollback down that `trigger` made somebody want.
    pub(super) async fn go_back(
        &self,
        name: &AppName,
        request: RollbackRequest,
        trigger: Trigger,
    ) -> Result<Deployment> {
        self.shared.refuse_in_safe_mode()?;
        let app = self.app(name).await?;
        let wish = Wish::Rollback(request);
        if let Some(known) = self.known(&app, &wish).await? {
            return Ok(known);
        }
        let deployment = self.drafted(&app, wish).await?;
        self.submit(Deployment { trigger, ..deployment }).await
    }

    /// The deployment that a wish leads to, not written down.
    pub(super) async fn drafted(&self, app: &AppRecord, wish: Wish) -> Result<Deployment> {
        match wish {
            Wish::Deploy(request) => self.deploys(app, request).await,
            Wish::Rollback(request) => self.rolls_back(app, request).await,
            Wish::Remove { by } => {
                let environment = app.spec.environment.as_ref().filter(|environment| environment.branch.is_none());
                if let Some(environment) = environment {
                    return Err(refusal::app_of_project(&app.spec.name, &environment.project));
                }
                Ok(self.draft(app, DeploymentKind::Remove, Some(&by)))
            }
        }
    }

    async fn deploys(&self, app: &AppRecord, request: DeployRequest) -> Result<Deployment> {
        request.check()?;
        self.check(&app.spec)?;
        self.check_branch(&app.spec, request.branch.as_ref()).await?;
        self.shared.refuse_what_never_fits(app.spec.resources).await?;
        let mut deployment = self.draft(app, DeploymentKind::Deploy, request.by.as_deref());
        deployment.trigger = request.trigger;
        deployment.key = request.key;
        let release = Arc::make_mut(&mut deployment.release);
        if !request.env.is_empty() {
            release.env = overlay(&release.env, &request.env).map_err(|error| error.with_field("env"))?;
        }
        match &mut release.source {
            Source::Git { .. } if request.image.is_some() => {
                return Err(Error::invalid(
                    "image",
                    "source_mismatch",
                    "this app is built from git, not from an image",
                ));
            }
            Source::Git { .. } => {
                self.shared.source()?;
                self.shared.builder()?;
                deployment.revision = Revision { branch: request.branch, commit: request.commit };
            }
            Source::Image { .. } if request.branch.is_some() || request.commit.is_some() => {
                return Err(Error::invalid("commit", "source_mismatch", "this app is an image; it has no commits"));
            }
            Source::Image { image } => {
                if let Some(wanted) = request.image {
                    *image = wanted;
                }
            }
        }
        Ok(deployment)
    }

    async fn rolls_back(&self, app: &AppRecord, request: RollbackRequest) -> Result<Deployment> {
        let name = &app.spec.name;
        let conflict = |code, message: String| Err(Error::new(ErrorKind::Conflict, message).with_code(code));
        if request.to.is_none() {
            self.shared.refuse_during_canary(name).await?;
        }
        let (promoting, rolling_back) = self.switching(name).await?;
        if rolling_back && request.to.is_none_or(|to| app.serving.previous == Some(to)) {
            return conflict("rollback_under_way", format!("`{name}` is going back to the version before already"));
        }
        let live = app.serving.live.as_ref().map(Occupant::release);
        let before = match promoting {
            // Who sees a bad version coming means the one that it is about to replace.
            Some(DeploymentKind::Deploy) => live,
            Some(DeploymentKind::Rollback { to }) if request.to.is_none() => {
                return conflict("rollback_under_way", format!("`{name}` is going back to deployment `{to}` already"));
            }
            _ => app.serving.previous,
        };
        let Some(to) = request.to.or(before) else {
            return conflict("nothing_to_roll_back_to", format!("`{name}` has no earlier version"));
        };
        let mut target = self.deployment(to).await?;
        if let DeploymentKind::Rollback { to: first } = target.kind {
            // One release has one name: that of the deployment that made it.
            target = self.deployment(first).await?;
        }
        let to = target.id;
        if target.app != *name || target.created_at < app.created_at {
            return conflict("deployment_not_of_app", format!("deployment `{to}` belongs to another app"));
        }
        if live == Some(to) && promoting.is_none() {
            return conflict("already_live", format!("deployment `{to}` is live"));
        }
        if target.conclusion != Some(Conclusion::Succeeded) || target.kind == DeploymentKind::Remove {
            return conflict(
                "not_a_release",
                format!("deployment `{to}` never served, or was rolled back by the engine"),
            );
        }
        if let Some(domain) = self.shared.domain_of_others(name, &target.release).await? {
            return Err(refusal::domain_taken(domain.as_str()));
        }
        let mut deployment = self.draft(app, DeploymentKind::Rollback { to }, request.by.as_deref());
        if !planted!(TodaysSettings) {
            deployment.release = target.release;
        }
        deployment.revision = target.revision;
        deployment.artifact = target.artifact;
        deployment.key = request.key;
        Ok(deployment)
    }

    /// What is about to change what is live, if anything is, and whether what is
    /// live is being rolled back by itself.
    async fn switching(&self, name: &AppName) -> Result<(Option<DeploymentKind>, bool)> {
        let unfinished = self.shared.store.unfinished(Some(name)).await?;
        let rolling_back = unfinished.iter().any(|other| other.state == State::RollingBack);
        let promoting = unfinished.into_iter().find(|other| other.state == State::Promoting);
        Ok((promoting.map(|promoting| promoting.kind), rolling_back))
    }

    /// The deployment that was asked for under the wish's key before.
    async fn known(&self, app: &AppRecord, wish: &Wish) -> Result<Option<Deployment>> {
        let Some(key) = wish.key() else { return Ok(None) };
        let Some(known) = self.shared.store.deployment_by_key(&app.spec.name, key).await? else { return Ok(None) };
        if known.kind.as_str() != wish.kind() || known.created_at < app.created_at {
            return Err(key_reused());
        }
        Ok(Some(known))
    }

    pub(super) fn draft(&self, app: &AppRecord, kind: DeploymentKind, by: Option<&str>) -> Deployment {
        Deployment {
            id: DeploymentId::from(self.shared.platform.unique()),
            app: app.spec.name.clone(),
            team: app.team.clone(),
            sequence: 0,
            kind,
            release: Arc::new(app.spec.clone()),
            revision: Revision::default(),
            artifact: None,
            slot: None,
            state: State::Queued,
            conclusion: None,
            failure: None,
            cancel: None,
            fence: Fence::default(),
            version: Version::default(),
            created_by: by.unwrap_or("engine").to_owned(),
            trigger: Trigger::default(),
            key: None,
            approval: None,
            bake: None,
            canary: None,
            liveness: None,
            expects: None,
            created_at: self.shared.now(),
            started_at: None,
            finished_at: None,
        }
    }

    pub(super) async fn submit(&self, deployment: Deployment) -> Result<Deployment> {
        check_person(&deployment.created_by)?;
        self.shared.refuse_in_safe_mode()?;
        let job = sweep::job(&deployment, deployment.created_at);
        let kind = deployment.kind.as_str();
        let policy = deployment.release.supersede;
        let created = self.shared.store.create_deployment(deployment, job.clone(), policy).await?;
        if created.existing {
            if created.deployment.kind.as_str() != kind {
                // Two wishes of different kinds came under one key at one moment.
                return Err(key_reused());
            }
            return Ok(created.deployment);
        }
        self.follow(&created, job).await;
        Ok(created.deployment)
    }
}

/// Refuses a plan that was made from something else.
fn refuse_if_outdated(expected: &Expectation, app: &AppRecord) -> Result<()> {
    let name = &app.spec.name;
    let changed = match expected.version == app.version {
        false => Some(format!("what is said about `{name}` was changed")),
        true => expected.broken_by(&app.serving),
    };
    changed.map_or(Ok(()), |why| Err(plan_outdated(&why)))
}

/// The error of a plan that does not fit what is there any more.
pub(super) fn plan_outdated(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("the plan is outdated: {why}"))
        .with_code("plan_outdated")
        .with_hint("make a new plan and look at it")
}

fn key_reused() -> Error {
    Error::new(ErrorKind::Conflict, "the key was used for another wish before")
        .with_code("key_reused")
        .with_field("key")
        .with_hint("a key names one wish; use a new one for a new wish")
}
