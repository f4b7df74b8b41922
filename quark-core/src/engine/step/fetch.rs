//! Resolve the commit and fetch the source, unless its image is there already.

use super::StepContext;
use crate::app::Source;
use crate::backend::{BuildKey, Call, Snapshot};
use crate::deployment::StepOutput;
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let Source::Git { repository, branch } = &deployment.release.source else {
        return Err(Error::new(ErrorKind::Internal, "there is no repository to fetch from"));
    };
    let shared = &context.shared;
    let source = shared.source()?;
    let commit = match &deployment.revision.commit {
        Some(commit) => commit.clone(),
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
