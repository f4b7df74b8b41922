//! Deployment automation as a library: from a git commit or an image to a
//! running, health-checked, routed application, without losing one request.
//!
//! This crate is the domain, the traits between the engine and the world, and
//! the blue-green [`DeploymentEngine`] over them. Backends for a bare machine,
//! Docker, nginx and SQLite are sibling crates; the ones in [`memory`] need no
//! world at all:
//!
//! ```
//! use quark_core::memory::{Behaviour, MemoryProber, MemoryQueue, MemoryRouter, MemoryRuntime, MemoryStore};
//! use quark_core::{App, Clock, Conclusion, DeployRequest, DeploymentEngine, ImageRef, Source, SystemClock};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> quark_core::Result<()> {
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
//! let queue = MemoryQueue::new(clock.clone());
//! let store = MemoryStore::with_queue(clock, queue.clone());
//! let runtime = MemoryRuntime::new();
//! runtime.publish(&ImageRef::parse("acme/shop:1")?, Behaviour::healthy());
//!
//! let engine = DeploymentEngine::builder(store, queue, runtime.clone(), MemoryRouter::new())
//!     .with_prober(MemoryProber::new(&runtime))
//!     .start()
//!     .await?;
//!
//! let app = App::new("shop", Source::image("acme/shop:1")?)?.with_domain("shop.example.com".parse()?);
//! engine.create_app(app).await?;
//! let deployment = engine.deploy(&"shop".parse()?, DeployRequest::default()).await?;
//! let deployment = engine.wait(deployment.id).await?;
//! assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded));
//! engine.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`engine`]: the pipeline, in reading order.
//! - [`backend`]: the traits. Each sentence of a contract is a test case in
//!   `conformance`.
//! - [`project`]: apps with environments: which branch is deployed where, and how.
//! - [`app`]: what people say about an app; every value is checked when it is made.
//! - [`deployment`]: what is kept about one attempt to change what runs.
//! - [`error`]: one error for all, with a kind for programs and a hint for people.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `git` | `git::GitFetcher`: sources from git, through the `git` program |
//! | `process` | `process`: programs without a shell, and what the machine has left; needs Unix |
//! | `prometheus` | `metrics::PrometheusMetrics` |
//! | `test-util` | `conformance` suites, `simulation` of whole engines, `testing` |

pub mod app;
pub mod backend;
pub mod clock;
pub mod deployment;
pub mod engine;
pub mod error;
pub mod memory;
#[cfg(feature = "prometheus")]
pub mod metrics;
#[cfg_attr(not(feature = "planted-bugs"), allow(unreachable_pub, reason = "nothing of it is public then"))]
pub mod planted;
mod platform;
pub mod probe;
pub mod project;
mod workspace;

pub use app::{
    App, AppName, ApprovalPolicy, Argv, Artifact, BakePolicy, BranchName, CanaryPolicy, CanaryStep, CommitSha, Domain,
    EnvKey, EnvVars, HealthCheck, HealthPath, Hook, HookPoint, Hooks, ImageRef, LivenessAction, LivenessPolicy,
    RelativePath, RepositoryUrl, Resources, Secret, Source, Timing,
};
pub use backend::{
    AnalysisSource, ContainerRuntime, HostGauge, ImageBuilder, MetricsSink, Prober, Queue, Router, SourceFetcher, Store,
};
pub use clock::{Clock, SystemClock, Timestamp};
pub use deployment::{
    AppRecord, Conclusion, ContainerName, Deployment, DeploymentId, DeploymentKind, Endpoint, Event, EventKind,
    Failure, LogLine, LogStream, OwnerId, Revision, Share, Slot, State, StepName,
};
pub use engine::{
    ApprovalRequest, DeployRequest, DeploymentEngine, DeploymentEngineBuilder, EngineConfig, HostPolicy, PushRequest,
    Pushed, RollbackRequest,
};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use project::{Environment, Project, ProjectName};

#[cfg(feature = "git")]
pub mod git;

#[cfg(feature = "process")]
pub mod process;

#[cfg(feature = "test-util")]
pub mod conformance;

#[cfg(feature = "test-util")]
pub mod simulation;

#[cfg(feature = "test-util")]
pub mod testing;
