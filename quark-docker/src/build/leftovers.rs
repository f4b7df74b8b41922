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
use tokio::time::Instant;

use crate::daemon::Daemon;

/// How long the removal of an interrupted build's containers may take. The
/// daemon needs seconds for one when its disk is busy.
const ENDING: Duration = Duration::from_secs(30);
/// How often it is looked whether they are gone: nothing tells.
const LOOK: Duration = Duration::from_millis(50);
/// For so long no container of an interrupted build may have been there. The
/// daemon may be making one more before it notices that nobody waits for it,
/// and has no way of saying which builds it has.
const QUIET: Duration = Duration::from_secs(1);

/// When a build counts as ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// As soon as it has no container.
    Gone,
    /// When it has had none for a while.
    Quiet,
}

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
/// none. A step that is removed fails, which ends its build.
pub(super) async fn clear(daemon: &Daemon, operation: &'static str, key: &BuildKey, until: Until) -> Result<()> {
    let cleared = async {
        let mut quiet_since = Instant::now();
        loop {
            let left = steps(daemon, operation, key).await?;
            if left.is_empty() && (until == Until::Gone || quiet_since.elapsed() >= QUIET) {
                return Ok(());
            }
            for id in &left {
                remove(daemon, operation, id).await?;
            }
            if !left.is_empty() {
                quiet_since = Instant::now();
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
