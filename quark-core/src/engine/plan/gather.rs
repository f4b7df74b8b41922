//! Looks at everything that a plan is made from. What cannot be found out now is
//! an obstacle, not an error: it says that the deployment would fail, too.

use std::sync::Arc;
use std::time::Duration;

use super::{Asked, before_any_step};
use crate::Result;
use crate::app::{AppName, Artifact, CommitSha, Source};
use crate::backend::{BuildKey, Call, Snapshot};
use crate::deployment::{Deployment, DeploymentKind, Failure, Fence, IdempotencyKey};
use crate::engine::admission::RoomLeft;
use crate::engine::api::DeploymentEngine;
use crate::engine::decide::warm_standby;
use crate::engine::explain::{self, Facts};
use crate::engine::shared::Shared;
use crate::engine::wish::Wish;

/// How long the host of a repository may take to say where a branch is.
const LOOKED_UP: Duration = Duration::from_secs(20);

pub(super) async fn gather(engine: &DeploymentEngine, name: &AppName, wish: Wish) -> Result<(Facts, Asked)> {
    let shared = &engine.shared;
    let facts = explain::gather(shared, name).await?;
    let deployment = engine.drafted(&facts.app, wish.clone()).await?;
    let mut failures = Vec::new();
    let commit = keep(&mut failures, commit(shared, &deployment).await);
    let artifact = match &commit {
        Some(commit) if deployment.artifact.is_none() => keep(&mut failures, built(shared, &deployment, commit).await),
        _ => None,
    };
    let domain = shared.domain_of_others(name, &deployment.release).await?;
    if let Some(domain) = domain.filter(|_| deployment.kind != DeploymentKind::Remove) {
        failures.push(before_any_step(&crate::backend::store::refusal::domain_taken(domain.as_str())));
    }
    let room = room(shared, &facts, &deployment, &mut failures).await;
    let wish = pinned(shared, wish, &deployment, commit.as_ref())?;
    let base = shared.config.base_domain.clone();
    Ok((facts, Asked { wish, deployment, commit, artifact, failures, base, room }))
}

/// What the machine has for it, if it runs something new.
async fn room(
    shared: &Shared,
    facts: &Facts,
    deployment: &Deployment,
    failures: &mut Vec<Failure>,
) -> Option<RoomLeft> {
    let (app, instances) = (Some(facts.app.clone()), facts.instances.clone());
    let snapshot = Snapshot { deployment: deployment.clone(), app, steps: Vec::new(), instances };
    if deployment.kind == DeploymentKind::Remove || warm_standby(&snapshot) {
        return None;
    }
    let looked = shared.room_for(&snapshot, deployment.artifact.is_none()).await;
    let (left, judged) = keep(failures, looked)?;
    if let Err(error) = judged {
        failures.push(before_any_step(&error));
    }
    Some(left)
}

fn keep<T>(failures: &mut Vec<Failure>, found: Result<Option<T>>) -> Option<T> {
    found.unwrap_or_else(|error| {
        failures.push(before_any_step(&error));
        None
    })
}

/// The commit that would be deployed.
async fn commit(shared: &Shared, deployment: &Deployment) -> Result<Option<CommitSha>> {
    let Source::Git { repository, branch } = &deployment.release.source else { return Ok(None) };
    if deployment.revision.commit.is_some() || deployment.kind != DeploymentKind::Deploy {
        return Ok(deployment.revision.commit.clone());
    }
    let branch = deployment.revision.branch.as_ref().unwrap_or(branch);
    let call = Call::new("plan", Fence::default(), LOOKED_UP).with_clock(Arc::clone(&shared.clock));
    let head = call.bound("source.resolve", shared.source()?.resolve(&call, repository, branch)).await?;
    Ok(Some(head))
}

/// The image of a commit, if it was built before.
async fn built(shared: &Shared, deployment: &Deployment, commit: &CommitSha) -> Result<Option<Artifact>> {
    let key = BuildKey::of(&deployment.app, commit, &deployment.release.dockerfile);
    shared.ask("the builder", shared.builder()?.find(&key)).await
}

/// The wish for exactly what was planned, under a key: applied twice, it is one
/// deployment.
fn pinned(shared: &Shared, mut wish: Wish, deployment: &Deployment, commit: Option<&CommitSha>) -> Result<Wish> {
    let own = IdempotencyKey::parse(format!("plan/{}", shared.platform.unique()))?;
    match &mut wish {
        Wish::Deploy(request) => {
            // If it could not be found out, the deployment looks it up.
            request.commit = commit.cloned();
            request.key.get_or_insert(own);
        }
        Wish::Rollback(request) => {
            if let DeploymentKind::Rollback { to } = deployment.kind {
                request.to = Some(to);
            }
            request.key.get_or_insert(own);
        }
        Wish::Remove { .. } => {}
    }
    Ok(wish)
}
