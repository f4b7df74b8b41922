//! The suite that all container runtimes pass.

use std::sync::Arc;

use async_trait::async_trait;
use quark_core::conformance::CaseResult;
use quark_core::conformance::container_runtime::{ProgramKind, RuntimeFixture};
use quark_core::{Argv, Artifact, ContainerRuntime};
use quark_docker::DockerRuntime;

use crate::world::World;

struct Fixture(World);

#[async_trait]
impl RuntimeFixture for Fixture {
    fn runtime(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(self.0.runtime.clone())
    }

    async fn another(&self) -> Arc<dyn ContainerRuntime> {
        Arc::new(DockerRuntime::connect(self.0.config.clone()).await.unwrap())
    }

    fn installation(&self) -> String {
        self.0.installation.clone()
    }

    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)> {
        let words = match kind {
            // The image says what to start.
            ProgramKind::Serves => return Ok((self.0.sample().await, None)),
            ProgramKind::IgnoresStop => ["/sample-app", "--ignore-term"].to_vec(),
            ProgramKind::PrintsAndExits => ["/sample-app", "--print", "200", "--exit", "0"].to_vec(),
            ProgramKind::PrintsEnvironment => ["/sample-app", "--print-env"].to_vec(),
            ProgramKind::Missing => ["/no-such-program"].to_vec(),
            other => return Err(format!("{other:?} is not known here")),
        };
        Ok((self.0.sample().await, Some(Argv::new(words).unwrap())))
    }
}

quark_core::container_runtime_conformance!(optional async { World::find().await.map(Fixture) });
