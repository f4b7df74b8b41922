//! Resolve the commit and fetch the source, unless its image is there already.

use super::StepContext;
use crate::app::{CommitSha, Source};
use crate::backend::{BuildKey, Call, Snapshot};
use crate::deployment::{CancelRequest, Conclusion, Deployment, StepOutput, Trigger};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let Source::Git { repository, branch } = &deployment.release.source else {
        return Err(Error::new(ErrorKind::Internal, "there is no repository to fetch from"));
    };
    let shared = &context.shared;
    let source = shared.source()?;
    let commit = match &deployment.revision.commit {
        Some(commit) => {
            if deployment.trigger == Trigger::Push {
                let branch = deployment.revision.branch.as_ref().unwrap_or(branch);
                give_way(context, deployment, &source.resolve(call, repository, branch).await, commit).await?;
            }
            commit.clone()
        }
        None => {
            let branch = deployment.revision.branch.as_ref().unwrap_or(branch);
            context.log.say(&format!("looking up branch {branch} of {repository}"));
            source.resolve(call, repository, branch).await?
        }
    };
    let key = BuildKey::of(&deployment.app, &commit, &deployment.release.dockerfile);
    if let Some(artifact) = shared.builder()?.find(&key).await? {
        context.log.say(&format!("commit {} has been built before as {}", commit.short(), artifact.label));
        return Ok(StepOutput { commit: Some(commit), artifact: Some(artifact), reused: true, note: None });
    }
    context.log.say(&format!("fetching commit {}", commit.short()));
    let into = shared.checkout(deployment.id);
    source.fetch(call, repository, &commit, &into, context.log.as_ref()).await?;
    Ok(StepOutput { note: Some(format!("commit {}", commit.short())), commit: Some(commit), ..StepOutput::default() })
}

/// Pushes are told late, twice and out of order. One whose commit is not the
/// head of its branch any more gives way to a deployment of the head, so that
/// an older commit never goes live after a newer one.
async fn give_way(
    context: &StepContext,
    deployment: &Deployment,
    head: &Result<CommitSha>,
    commit: &CommitSha,
) -> Result<()> {
    let Ok(head) = head else { return Ok(()) };
    if head == commit || planted!(OlderCommitWins) {
        return Ok(());
    }
    let store = &context.shared.store;
    let of_head = |other: &&Deployment| {
        let stopped = matches!(other.conclusion, Some(Conclusion::Failed | Conclusion::Cancelled));
        other.id != deployment.id && other.revision.commit.as_ref() == Some(head) && !stopped
    };
    let known = store.deployments(&deployment.app, None, RECENT).await?;
    let Some(newer) = known.iter().find(of_head) else { return Ok(()) };
    context.log.say(&format!("commit {} is older than {}, which is deployed already", commit.short(), head.short()));
    let request = CancelRequest::superseded_by("engine", newer.id, context.shared.clock.now());
    store.request_cancel(deployment.id, request).await?;
    context.shared.hurry(deployment.id);
    Err(Error::new(ErrorKind::Cancelled, format!("deployment `{}` is of a newer commit", newer.id))
        .with_code("superseded"))
}

/// How many deployments are looked at for a newer commit.
const RECENT: usize = 50;
