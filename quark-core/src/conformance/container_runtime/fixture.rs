//! What a container runtime must come with to be tested.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::{Argv, Artifact};
use crate::backend::ContainerRuntime;
use crate::conformance::CaseResult;
use crate::deployment::Endpoint;

/// A container runtime under test, and the world around it.
///
/// The cases stop and remove what they have made, also when they fail. A
/// fixture may sweep what is labelled with its installation once more when it
/// is dropped.
#[async_trait]
pub trait RuntimeFixture: Send + Sync {
    /// The runtime. The same object each time.
    fn runtime(&self) -> Arc<dyn ContainerRuntime>;

    /// Another object for the same containers, as another engine would have it.
    async fn another(&self) -> Arc<dyn ContainerRuntime>;

    /// A name that no other fixture has, for the label `quark.installation`.
    fn installation(&self) -> String;

    /// Something to run, and the command where the artifact alone does not say
    /// it. The [sample app](crate::testing::sample_app) is made for this.
    ///
    /// # Errors
    ///
    /// Why there is no such program.
    async fn program(&self, kind: ProgramKind) -> CaseResult<(Artifact, Option<Argv>)>;

    /// An artifact that this runtime does not have.
    fn unknown_artifact(&self) -> Artifact {
        Artifact { id: format!("sha256:{}", "0".repeat(64)), label: "quark/none:none".to_owned() }
    }

    /// Occupies an endpoint with something that is no container of ours.
    /// `None` if only a container of the runtime can hold one.
    ///
    /// # Errors
    ///
    /// Why it could not be occupied.
    async fn taken(&self, endpoint: &Endpoint) -> CaseResult<Option<Taken>> {
        let address = endpoint.socket_addr().map_err(|error| error.to_string())?;
        let listener = tokio::net::TcpListener::bind(address).await;
        listener.map(|listener| Some(Taken::new(listener))).map_err(|error| format!("`{endpoint}`: {error}"))
    }
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramKind {
    /// Listens on its port, then prints the line `listening on <port>`, and
    /// ends when it is asked to (in the sample app: no option).
    Serves,
    /// The same, but it ignores the signal to end (`--ignore-term`).
    IgnoresStop,
    /// Prints the lines `line 1` to `line 200` to its standard output and ends
    /// with code 0 (`--print 200 --exit 0`).
    PrintsAndExits,
    /// Prints the line `line 1` to its standard output and ends with code 3
    /// (`--print 1 --exit 3`).
    Fails,
    /// Prints each of its variables as a line `KEY=value`, a line break in a
    /// value written as `\n`, and ends with code 0 (`--print-env`).
    PrintsEnvironment,
    /// There is no such program in the artifact.
    Missing,
}

/// Something that holds an endpoint until it is dropped.
pub struct Taken(#[allow(dead_code, reason = "it is kept for its drop")] Box<dyn Send + Sync>);

impl Taken {
    /// Holds it by `holder`.
    #[must_use]
    pub fn new(holder: impl Send + Sync + 'static) -> Self {
        Self(Box::new(holder))
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}
