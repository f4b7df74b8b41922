//! `ensure_image`: an image by its name, pulled if it is not there.

use bollard::errors::Error as BollardError;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt;
use quark_core::backend::Call;
use quark_core::backend::container_runtime::image_not_found;
use quark_core::{Artifact, Error, ErrorKind, ImageRef, Result};

use crate::daemon::Daemon;
use crate::error;

const OPERATION: &str = "runtime.ensure_image";

pub(super) async fn ensure(daemon: &Daemon, call: &Call, image: &ImageRef) -> Result<Artifact> {
    let name = whole_name(image);
    let work = async {
        if let Some(id) = find(daemon, &name).await? {
            return Ok(id);
        }
        pull(daemon, call, &name).await?;
        find(daemon, &name).await?.ok_or_else(|| image_not_found(image.as_str()))
    };
    let id = call.bound(OPERATION, work).await?;
    Ok(Artifact { id, label: image.to_string() })
}

async fn find(daemon: &Daemon, name: &str) -> Result<Option<String>> {
    match daemon.ask(OPERATION, daemon.docker().inspect_image(name)).await {
        Ok(found) => match found.id {
            Some(id) => Ok(Some(id)),
            None => Err(error::nonsense("an image without an id").with_operation(OPERATION)),
        },
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(None),
        Err(failed) => Err(failed),
    }
}

async fn pull(daemon: &Daemon, call: &Call, name: &str) -> Result<()> {
    let options = CreateImageOptionsBuilder::new().from_image(name).build();
    let docker = daemon.patient(call.timeout);
    let messages = docker.create_image(Some(options), None, None);
    let pulled = messages.try_for_each(|_| async { Ok(()) }).await;
    pulled.map_err(|failed| pull_error(daemon, name, failed).with_operation(OPERATION))
}

fn pull_error(daemon: &Daemon, name: &str, failed: BollardError) -> Error {
    let said = match &failed {
        BollardError::DockerResponseServerError { message, .. } => message.as_str(),
        BollardError::DockerStreamError { error } => error.as_str(),
        _ => return error::of_request(daemon.socket(), failed),
    };
    if is_missing(said) {
        return image_not_found(name);
    }
    if said.contains("no space left on device") {
        return error::no_space(said);
    }
    Error::new(ErrorKind::Unavailable, format!("image `{name}` cannot be pulled: {}", error::one_line(said)))
        .with_code("registry_unavailable")
        .with_hint("check that the machine reaches the registry")
}

/// Whether a registry says that there is no such image, or that it would not
/// say: to a stranger both look the same.
pub(crate) fn is_missing(said: &str) -> bool {
    const WORDS: [&str; 5] =
        ["pull access denied", "manifest unknown", "repository does not exist", "name unknown", "unauthorized"];
    WORDS.iter().any(|words| said.contains(words))
}

/// The name with a tag: without one, all tags would be pulled.
fn whole_name(image: &ImageRef) -> String {
    let name = image.as_str();
    let last = name.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_one_image() {
        let digest = format!("a/b@sha256:{}", "0".repeat(64));
        for (name, whole) in [
            ("alpine", "alpine:latest"),
            ("alpine:3", "alpine:3"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
            ("localhost:5000/a:1", "localhost:5000/a:1"),
            (digest.as_str(), digest.as_str()),
        ] {
            assert_eq!(whole_name(&ImageRef::parse(name).unwrap()), whole);
        }
    }

    #[test]
    fn what_a_registry_says_about_a_missing_image() {
        assert!(is_missing("pull access denied for nope, repository does not exist or may require 'docker login'"));
        assert!(is_missing("manifest for 127.0.0.1:5000/a:9 not found: manifest unknown: manifest unknown"));
        assert!(!is_missing("Get \"https://registry/v2/\": dial tcp: lookup registry: no such host"));
    }
}
