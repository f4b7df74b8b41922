//! Build the image from the source, or pull it.

use super::StepContext;
use crate::app::{Artifact, ImageRef, Source};
use crate::backend::{BuildKey, BuildRequest, Call, Snapshot};
use crate::deployment::{Deployment, DeploymentKind, StepOutput};
use crate::{Error, ErrorKind, Result};

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let shared = &context.shared;
    let artifact = match &deployment.release.source {
        Source::Image { image } => {
            context.log.say(&format!("looking for image {image}"));
            let found = shared.runtime.ensure_image(call, image).await?;
            same_as_then(deployment, image, &found)?;
            found
        }
        Source::Git { repository, .. } => {
            let Some(commit) = &deployment.revision.commit else {
                return Err(Error::new(ErrorKind::Internal, "the commit was not resolved"));
            };
            let builder = shared.builder()?;
            let key = BuildKey::of(&deployment.app, commit, &deployment.release.dockerfile);
            // An engine that died after the build left the image, not the outcome.
            let artifact = match builder.find(&key).await? {
                Some(artifact) => artifact,
                None => {
                    let checkout = shared.checkout(deployment.id);
                    if !shared.workspace.has_checkout(&shared.installation, deployment.id).await {
                        // Another machine has fetched it, or somebody has tidied up.
                        context.log.say("fetching the source again");
                        shared.source()?.fetch(call, repository, commit, &checkout, context.log.as_ref()).await?;
                    }
                    let request = BuildRequest {
                        app: &deployment.app,
                        key: &key,
                        commit,
                        source: &checkout,
                        dockerfile: &deployment.release.dockerfile,
                    };
                    builder.build(call, request, context.log.as_ref()).await?
                }
            };
            shared.discard_checkout(deployment.id).await;
            artifact
        }
    };
    context.log.say(&format!("the image is {}", artifact.label));
    Ok(StepOutput { note: Some(artifact.label.clone()), artifact: Some(artifact), ..StepOutput::default() })
}

/// A rollback brings exactly the image back that served then: a tag may have
/// been moved to another one since.
fn same_as_then(deployment: &Deployment, image: &ImageRef, found: &Artifact) -> Result<()> {
    match (&deployment.kind, &deployment.artifact) {
        (DeploymentKind::Rollback { .. }, Some(then)) if then.id != found.id => {
            Err(Error::new(ErrorKind::Conflict, format!("`{image}` is another image now than the one that served"))
                .with_code("image_changed")
                .with_hint("pull the image of that time by its digest, or deploy a version that is there"))
        }
        _ => Ok(()),
    }
}
