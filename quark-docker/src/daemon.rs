//! `Daemon`: the connection that runtime and builder share.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, Docker};
use quark_core::backend::{Call, ContainerId};
use quark_core::{Error, ErrorKind, Result};

use crate::DockerConfig;
use crate::container::Container;
use crate::{error, wire};

/// The oldest version of the API that has all that is needed.
const OLDEST_API: (u32, u32) = (1, 41);

#[derive(Clone)]
pub(crate) struct Daemon {
    docker: Docker,
    config: Arc<DockerConfig>,
    /// How many processors the daemon's machine has, if it says so.
    cpus: Option<u32>,
}

impl Daemon {
    pub(crate) async fn connect(config: DockerConfig) -> Result<Self> {
        const OPERATION: &str = "docker.connect";
        config.check()?;
        let socket = config.socket_text()?;
        let docker = Docker::connect_with_unix(socket, seconds(config.request_timeout()), API_DEFAULT_VERSION)
            .map_err(|error| error::of_request(config.socket(), error).with_operation(OPERATION))?;
        let mut daemon = Self { docker, config: Arc::new(config), cpus: None };
        let version = daemon.ask(OPERATION, daemon.docker.version()).await?;
        let api = version.api_version.unwrap_or_default();
        if parse_version(&api).is_none_or(|api| api < OLDEST_API) {
            let (major, minor) = OLDEST_API;
            let message = format!("the Docker daemon speaks API `{api}`, but {major}.{minor} is needed");
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_code("docker_too_old")
                .with_operation(OPERATION)
                .with_hint("install Docker Engine 20.10 or later"));
        }
        let about = daemon.ask(OPERATION, daemon.docker.info()).await?;
        daemon.cpus = about.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).filter(|cpus| *cpus > 0);
        Ok(daemon)
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// A client that waits for the first word of an answer as long as this,
    /// for requests that take long by their nature.
    pub(crate) fn patient(&self, patience: Duration) -> Docker {
        let patience = patience.saturating_add(self.config.request_timeout());
        self.docker.clone().with_timeout(Duration::from_secs(seconds(patience)))
    }

    pub(crate) fn config(&self) -> &DockerConfig {
        &self.config
    }

    pub(crate) fn socket(&self) -> &Path {
        self.config.socket()
    }

    pub(crate) fn cpus(&self) -> Option<u32> {
        self.cpus
    }

    /// Sends one request that changes nothing.
    pub(crate) async fn ask<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T> {
        let work = async { request.await.map_err(|error| error::of_request(self.socket(), error)) };
        within(self.config.request_timeout(), operation, work).await
    }

    /// Does an effect that is over in a moment. It is not cut short by a
    /// cancellation, so that it is known whether it was done.
    pub(crate) async fn act<T>(
        &self,
        call: &Call,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        within(call.timeout.min(self.config.request_timeout()), operation, work).await
    }

    /// Looks at a container by its id or whole name.
    pub(crate) async fn container(&self, operation: &'static str, reference: &str) -> Result<Option<Container>> {
        let work = async {
            let answer = wire::get(self.socket(), &format!("/containers/{reference}/json")).await?;
            match answer.status {
                404 => Ok(None),
                _ if answer.is_success() => answer.json().map(Some),
                _ => Err(answer.refusal()),
            }
        };
        within(self.config.request_timeout(), operation, work).await
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Daemon").field("config", &self.config).field("cpus", &self.cpus).finish_non_exhaustive()
    }
}

/// Waits for `work`, but not longer than `limit`, and names the operation in
/// its error.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| error.with_operation(operation)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("the Docker daemon did not answer within {limit:?}"))
            .with_operation(operation)),
    }
}

/// The id as a part of a path. Ids are what the daemon gave us: anything else
/// could name another resource.
pub(crate) fn plain(id: &ContainerId) -> Result<&str> {
    let ok = !id.0.is_empty() && id.0.len() <= 64 && id.0.bytes().all(|b| b.is_ascii_alphanumeric());
    if ok {
        return Ok(&id.0);
    }
    Err(Error::invalid("container", "invalid_container_id", "this is no id of a Docker container"))
}

/// Whole seconds, rounded up, as the client library counts.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(parse_version("1.41") >= Some(OLDEST_API) && parse_version("1.100") > parse_version("1.52"));
        assert!(parse_version("1.9") < Some(OLDEST_API));
        assert_eq!(parse_version("one"), None);
    }

    #[test]
    fn ids_cannot_name_another_resource() {
        assert!(plain(&ContainerId("0a1b".to_owned())).is_ok());
        for bad in ["", "../images/x", "a?b", "a/b", "a%2fb"] {
            assert!(plain(&ContainerId(bad.to_owned())).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parts_of_seconds_are_rounded_up() {
        assert_eq!((seconds(Duration::from_millis(1)), seconds(Duration::from_secs(2))), (1, 2));
    }
}
