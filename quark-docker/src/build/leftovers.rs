//! What an interrupted build has left in the daemon: the containers of its steps.
//!
//! The daemon ends a build when it notices that its client is gone, which takes
//! a while, and it tries only once to remove a step's container. So whoever
//! follows finds these containers and removes them.

use std::time::Duration;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use quark_core::backend::BuildKey;
use quark_core::backend::container_runtime::label;
use quark_core::{Error, ErrorKind, Result};

use crate::daemon::Daemon;

/// How long the removal of an interrupted build's containers may take. The
/// daemon needs seconds for one when its disk is busy.
const ENDING: Duration = Duration::from_secs(30);
/// How often it is looked whether they are gone: nothing tells.
const LOOK: Duration = Duration::from_millis(50);

/// An additional host name that the steps of a build can look up, as the
/// daemon wants it. Its purpose is that it stays in the settings of their
/// containers and says whose they are. Labels cannot say that: the last step
/// of a build sets them, and they are inherited by all that is made from it.
pub(super) fn mark(key: &BuildKey) -> String {
    // A part of a host name has 63 characters at most.
    let part = key.as_str().get(..40).unwrap_or(key.as_str());
    format!("{part}.quark-build.invalid:127.0.0.1")
}

/// Removes the containers of a build's steps, running or not, until there are
/// none. A step that is removed fails, which ends its build. Between two steps
/// there is none to be seen: the daemon begins no other once its client is gone.
pub(super) async fn clear(daemon: &Daemon, operation: &'static str, key: &BuildKey) -> Result<()> {
    let cleared = async {
        loop {
            let left = steps(daemon, operation, key).await?;
            if left.is_empty() {
                return Ok(());
            }
            for id in left {
                remove(daemon, operation, &id).await?;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(ENDING, cleared).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Timeout, format!("a build that was interrupted did not end within {ENDING:?}"))
            .with_operation(operation))
    })
}

/// The ids of the containers in which steps of a build run, ran or will run.
async fn steps(daemon: &Daemon, operation: &'static str, key: &BuildKey) -> Result<Vec<String>> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let mark = mark(key);
    let mut found = Vec::new();
    for container in daemon.ask(operation, daemon.docker().list_containers(Some(options))).await? {
        // The list does not have the settings, so each is asked for; instances
        // are most of them, and no steps.
        let is_instance = container.labels.unwrap_or_default().contains_key(label::DEPLOYMENT);
        let Some(id) = container.id.filter(|_| !is_instance) else { continue };
        // It may have gone meanwhile.
        if daemon.container(operation, &id).await?.is_some_and(|container| container.knows_host(&mark)) {
            found.push(id);
        }
    }
    Ok(found)
}

async fn remove(daemon: &Daemon, operation: &'static str, id: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match daemon.ask(operation, daemon.docker().remove_container(id, Some(options))).await {
        // The daemon itself is removing it, or has.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) => Ok(()),
        done => done,
    }
}
