//! `start`, and what it means when it fails.

use quark_core::backend::container_runtime::port_taken;
use quark_core::{Endpoint, Error, ErrorKind, Result};

use bollard::errors::Error as BollardError;
use bollard::query_parameters::StartContainerOptions;

use crate::daemon::Daemon;
use crate::error;

/// Why the daemon could not start a container, by what it says.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    PortOfContainer,
    PortOfProgram,
    NoProgram,
    NotExecutable,
    NoInit,
    Other,
}

pub(super) async fn start(daemon: &Daemon, id: &str) -> Result<()> {
    if let Some(container) = daemon.container("runtime.start", id).await?
        && container.is_over()
    {
        return Ok(());
    }
    // A container that runs already answers 304, which counts as done.
    let done = daemon.docker().start_container(id, None::<StartContainerOptions>).await;
    let (status, said) = match done {
        Ok(()) => return Ok(()),
        Err(BollardError::DockerResponseServerError { status_code, message }) => (status_code, message),
        Err(failed) => return Err(error::of_request(daemon.socket(), failed)),
    };
    let who = match reason(&said) {
        Reason::PortOfContainer => "another container",
        Reason::PortOfProgram => "another program",
        Reason::NoProgram => {
            return Err(Error::new(ErrorKind::NotFound, "the image holds no such program")
                .with_code("command_not_found")
                .with_hint("check the app's command, and `CMD` and `ENTRYPOINT` in the Dockerfile")
                .with_source(error::refusal(status, &said)));
        }
        Reason::NotExecutable => {
            return Err(Error::new(ErrorKind::PermissionDenied, "the program in the image may not be executed")
                .with_code("command_not_executable")
                .with_hint("make it executable with `chmod +x` before it is copied into the image")
                .with_source(error::refusal(status, &said)));
        }
        Reason::NoInit => {
            return Err(Error::new(ErrorKind::Unsupported, "the Docker daemon's machine has no `docker-init`")
                .with_code("docker_init_missing")
                .with_hint("install it (the package is called `tini` or `docker-init`)")
                .with_source(error::refusal(status, &said)));
        }
        Reason::Other if status == 404 => return Err(error::container_not_found(id)),
        Reason::Other => return Err(error::refusal(status, &said)),
    };
    // The daemon names the port in its own words; the order is plainer.
    let container = daemon.container("runtime.start", id).await?;
    let outside = container.and_then(|container| container.published().first().map(|port| port.outside));
    match outside {
        Some(outside) => Err(port_taken(&Endpoint::new(outside.to_string()), who)),
        None => Err(error::refusal(status, &said)),
    }
}

fn reason(said: &str) -> Reason {
    let says = |words: &str| said.contains(words);
    if says("port is already allocated") {
        Reason::PortOfContainer
    } else if says("address already in use") {
        Reason::PortOfProgram
    } else if says("\"docker-init\"") {
        Reason::NoInit
    } else if says("executable file not found") || (says("exec:") && says("no such file or directory")) {
        Reason::NoProgram
    } else if says("exec:") && says("permission denied") {
        Reason::NotExecutable
    } else {
        Reason::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_from_the_words_of_the_daemon() {
        for (said, expected) in [
            (
                "driver failed programming external connectivity on endpoint qk-a (5f): Bind for 127.0.0.1:18099 \
                 failed: port is already allocated",
                Reason::PortOfContainer,
            ),
            (
                "driver failed programming external connectivity on endpoint qk-a (5f): Error starting userland \
                 proxy: listen tcp4 127.0.0.1:31000: bind: address already in use",
                Reason::PortOfProgram,
            ),
            (
                "failed to create shim: OCI runtime create failed: runc create failed: unable to start container \
                 process: exec: \"nope\": executable file not found in $PATH: unknown",
                Reason::NoProgram,
            ),
            ("OCI runtime create failed: exec: \"/nope\": stat /nope: no such file or directory", Reason::NoProgram),
            ("exec: \"docker-init\": executable file not found in $PATH", Reason::NoInit),
            ("OCI runtime create failed: exec: \"/etc\": permission denied: unknown", Reason::NotExecutable),
            ("error while mounting volume: no such file or directory", Reason::Other),
            ("cgroups: cannot find cgroup mount destination", Reason::Other),
        ] {
            assert_eq!(reason(said), expected, "{said}");
        }
    }
}
