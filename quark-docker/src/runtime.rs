//! `DockerRuntime`: containers as instances of an app.

mod create;
mod images;
mod listening;
mod logs;
mod ports;
mod start;
mod stop;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use quark_core::backend::{
    Call, ContainerId, ContainerSpec, CreatedContainer, Labels, Listening, LogChunk, LogSelection, ObservedContainer,
    RuntimeCapabilities, StopOutcome,
};
use quark_core::{AppName, Artifact, ContainerName, ContainerRuntime, Endpoint, ImageRef, Result, Slot};

pub(crate) use self::images::is_missing as is_missing_image;
use crate::daemon::{Daemon, plain};
use crate::{DockerBuilder, DockerConfig};

/// How many containers are looked at side by side.
const ABREAST: usize = 8;

/// Runs instances as Docker containers whose port is published on the loopback
/// address. Cheap to clone; clones share nothing that must be closed.
#[derive(Clone, Debug)]
pub struct DockerRuntime {
    daemon: Daemon,
}

impl DockerRuntime {
    /// Finds out that the daemon is there and new enough.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](quark_core::ErrorKind::Unavailable) or
    /// [`ErrorKind::Timeout`](quark_core::ErrorKind::Timeout) if it does not answer,
    /// [`ErrorKind::PermissionDenied`](quark_core::ErrorKind::PermissionDenied) if this user may not use it,
    /// [`ErrorKind::Unsupported`](quark_core::ErrorKind::Unsupported) if its API is older than 1.41,
    /// [`ErrorKind::InvalidInput`](quark_core::ErrorKind::InvalidInput) if the configuration makes no sense.
    pub async fn connect(config: DockerConfig) -> Result<Self> {
        Ok(Self { daemon: Daemon::connect(config).await? })
    }

    /// A builder that uses the same daemon.
    #[must_use]
    pub fn builder(&self) -> DockerBuilder {
        DockerBuilder::new(self)
    }

    pub(crate) fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    fn capabilities(&self) -> RuntimeCapabilities {
        RuntimeCapabilities { name: "docker", enforces_limits: true, pulls_images: true }
    }

    async fn allocate_endpoint(&self, _: &AppName, _: Slot, taken: &[Endpoint]) -> Result<Endpoint> {
        ports::allocate(&self.daemon, taken).await
    }

    async fn ensure_image(&self, call: &Call, image: &ImageRef) -> Result<Artifact> {
        images::ensure(&self.daemon, call, image).await
    }

    async fn create(&self, call: &Call, spec: &ContainerSpec) -> Result<CreatedContainer> {
        self.daemon.act(call, "runtime.create", create::create(&self.daemon, spec)).await
    }

    async fn start(&self, call: &Call, id: &ContainerId) -> Result<()> {
        self.daemon.act(call, "runtime.start", start::start(&self.daemon, plain(id)?)).await
    }

    async fn inspect(&self, name: &ContainerName) -> Result<Option<ObservedContainer>> {
        let found = self.daemon.container("runtime.inspect", name.as_str()).await?;
        Ok(found.and_then(|container| container.observed()))
    }

    async fn listening(&self, id: &ContainerId, endpoint: &Endpoint) -> Result<Listening> {
        listening::look(&self.daemon, plain(id)?, endpoint).await
    }

    async fn list(&self, labels: &Labels) -> Result<Vec<ObservedContainer>> {
        const OPERATION: &str = "runtime.list";
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let options =
            ListContainersOptionsBuilder::new().all(true).filters(&HashMap::from([("label", wanted)])).build();
        let found = self.daemon.ask(OPERATION, self.daemon.docker().list_containers(Some(options))).await?;
        let ids = found.into_iter().filter_map(|summary| summary.id);
        // The list says neither exit codes nor times. What is removed between
        // the two looks is not there.
        let looks = ids.map(|id| async move { self.daemon.container(OPERATION, &id).await });
        let containers: Vec<_> = futures_util::stream::iter(looks).buffered(ABREAST).try_collect().await?;
        // The filter takes a label's absence of a value for any value.
        let wanted = containers.into_iter().flatten().filter(|container| container.has(labels));
        Ok(wanted.filter_map(|container| container.observed()).collect())
    }

    async fn stop(&self, call: &Call, id: &ContainerId, grace: Duration) -> Result<StopOutcome> {
        stop::stop(&self.daemon, call, plain(id)?, grace).await
    }

    async fn remove(&self, call: &Call, id: &ContainerId, expected: &Labels) -> Result<()> {
        self.daemon.act(call, "runtime.remove", stop::remove(&self.daemon, plain(id)?, expected)).await
    }

    async fn logs(&self, id: &ContainerId, selection: LogSelection) -> Result<BoxStream<'static, Result<LogChunk>>> {
        logs::read(&self.daemon, plain(id)?, selection).await
    }
}
