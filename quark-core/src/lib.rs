//! Deployment automation as a library: the domain, the backend traits and the
//! blue-green engine.
//!
//! Work in progress: front page follows with the engine.

pub mod app;
pub mod backend;
pub mod clock;
pub mod deployment;
pub mod engine;
pub mod error;
pub mod memory;
#[cfg(feature = "prometheus")]
pub mod metrics;
pub mod probe;

pub use app::{
    App, AppName, Argv, Artifact, BranchName, CommitSha, Domain, EnvKey, EnvVars, HealthCheck, HealthPath, ImageRef,
    RelativePath, RepositoryUrl, Resources, Secret, Source, Timing,
};
pub use backend::{ContainerRuntime, ImageBuilder, MetricsSink, Prober, Queue, Router, SourceFetcher, Store};
pub use clock::{Clock, SystemClock, Timestamp};
pub use deployment::{
    AppRecord, Conclusion, ContainerName, Deployment, DeploymentId, DeploymentKind, Endpoint, Event, EventKind,
    Failure, LogLine, LogStream, OwnerId, Revision, Slot, State, StepName,
};
pub use engine::{DeployRequest, DeploymentEngine, DeploymentEngineBuilder, EngineConfig, RollbackRequest};
pub use error::{Error, ErrorClass, ErrorKind, Result};

#[cfg(feature = "git")]
pub mod git;

#[cfg(feature = "process")]
pub mod process;

#[cfg(feature = "test-util")]
pub mod conformance;

#[cfg(feature = "test-util")]
pub mod testing;
