//! `stop` and `remove`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bollard::errors::Error as BollardError;
use bollard::query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptionsBuilder};
use quark_core::backend::{Call, Labels, StopOutcome};
use quark_core::{Error, ErrorKind, Result};

use crate::container::Container;
use crate::daemon::{Daemon, within};
use crate::error;

/// How often the daemon is asked about a change that it does not report.
const LOOK: Duration = Duration::from_millis(20);
/// How long the proxy in front of a container may hold its port after the
/// container has ended. Who else holds it then is not waited for.
const PORT_RELEASE: Duration = Duration::from_secs(2);
/// What a process killed by SIGKILL exits with.
const KILLED: i32 = 137;

pub(super) async fn stop(daemon: &Daemon, call: &Call, id: &str, grace: Duration) -> Result<StopOutcome> {
    const OPERATION: &str = "runtime.stop";
    let work = async {
        let Some(before) = daemon.container(OPERATION, id).await?.filter(Container::is_running) else {
            return Ok(StopOutcome::AlreadyStopped);
        };
        // The daemon counts in whole seconds; a program gets rather more time than less.
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX - 1);
        let seconds = seconds.saturating_add(i32::from(grace.subsec_nanos() > 0));
        let options = StopContainerOptionsBuilder::new().t(seconds).build();
        let began = Instant::now();
        match daemon.patient(grace).stop_container(id, Some(options)).await {
            Ok(()) => {}
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => {
                return Ok(StopOutcome::AlreadyStopped);
            }
            Err(failed) => return Err(error::of_request(daemon.socket(), failed)),
        }
        let waited = began.elapsed();
        let code = ended(daemon, OPERATION, id).await?;
        ports_are_free(&before).await;
        // A program may choose to exit with 137 by itself, but then it does so
        // before its time is up.
        let killed = code == Some(KILLED) && waited.as_secs() >= u64::from(seconds.unsigned_abs());
        Ok(if killed { StopOutcome::Killed } else { StopOutcome::Exited })
    };
    within(call.timeout, OPERATION, work).await
}

/// Waits until the container is seen not to run, and returns its exit code.
async fn ended(daemon: &Daemon, operation: &'static str, id: &str) -> Result<Option<i32>> {
    loop {
        match daemon.container(operation, id).await? {
            None => return Ok(None),
            Some(container) if !container.is_running() => return Ok(container.exit_code()),
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Waits until the ports of a container that has ended can be used again.
async fn ports_are_free(container: &Container) {
    let began = Instant::now();
    for port in container.published() {
        while TcpListener::bind(port.outside).is_err() && began.elapsed() < PORT_RELEASE {
            tokio::time::sleep(LOOK).await;
        }
    }
}

pub(super) async fn remove(daemon: &Daemon, id: &str, expected: &Labels) -> Result<()> {
    const OPERATION: &str = "runtime.remove";
    let Some(container) = daemon.container(OPERATION, id).await? else { return Ok(()) };
    if !container.has(expected) {
        return Err(Error::new(ErrorKind::Conflict, format!("container `{id}` is not the one to be removed"))
            .with_code("labels_differ")
            .with_hint("its labels are not those that QUARK gave it; remove it by hand if nobody needs it"));
    }
    if container.is_running() {
        return Err(
            Error::new(ErrorKind::Conflict, format!("container `{id}` still runs")).with_code("container_running")
        );
    }
    // Not by force: what was started since the look above stays. Volumes are
    // data, and data is not removed with a container.
    let options = RemoveContainerOptionsBuilder::new().force(false).v(false).build();
    match daemon.docker().remove_container(id, Some(options)).await {
        Ok(()) | Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(BollardError::DockerResponseServerError { status_code: 409, message })
            if message.contains("already in progress") =>
        {
            gone(daemon, OPERATION, id).await
        }
        Err(failed) => Err(error::of_request(daemon.socket(), failed)),
    }
}

/// Waits until somebody else's removal of the container is done.
async fn gone(daemon: &Daemon, operation: &'static str, id: &str) -> Result<()> {
    while daemon.container(operation, id).await?.is_some() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
