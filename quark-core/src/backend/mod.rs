//! What is plugged in: the traits between the engine and the world.
//!
//! | trait | what it is | in this crate | elsewhere |
//! |---|---|---|---|
//! | [`ContainerRuntime`] | runs instances | `memory` | `quark-local`, `quark-docker` |
//! | [`Router`] | sends requests to the live slot | `memory` | `quark-local`, `quark-nginx` |
//! | [`Store`] | keeps intents and outcomes | `memory` | `quark-store` |
//! | [`Queue`] | hands out work | `memory` | `quark-store` |
//! | [`MetricsSink`] | takes numbers | `metrics` | |
//! | [`ImageBuilder`] | source to image | `memory` | `quark-local`, `quark-docker` |
//! | [`SourceFetcher`] | commit to source | `git` | |
//! | [`Prober`] | asks for health | `probe` | |
//! | [`AnalysisSource`] | tells what users get | `memory` | `quark-local` |
//! | [`HostGauge`] | tells what the machine has left | `memory`, `process` | |
//!
//! Each trait's `# Contract` is proved by a suite in `conformance` (feature
//! `test-util`), which authors of further backends run against their own.

pub mod analysis_source;
pub mod call;
pub mod container_runtime;
pub mod host_gauge;
pub mod image_builder;
pub mod log_sink;
pub mod metrics_sink;
pub mod prober;
pub mod project_write;
pub mod queue;
pub mod router;
pub mod source_fetcher;
pub mod store;

pub use analysis_source::{AnalysisSource, Traffic};
pub use call::Call;
pub use container_runtime::{
    ContainerId, ContainerRuntime, ContainerSpec, ContainerState, CreatedContainer, InstanceSpec, Labels, Listening,
    LogChunk, LogSelection, ObservedContainer, Purpose, RuntimeCapabilities, StopOutcome,
};
pub use host_gauge::{HostCapacity, HostGauge};
pub use image_builder::{BuildKey, BuildRequest, ImageBuilder};
pub use log_sink::{LogSink, NoLog};
pub use metrics_sink::{Metric, MetricsSink, NoMetrics};
pub use prober::{ProbeFailure, ProbeTarget, Prober};
pub use project_write::{ProjectChange, ProjectWrite, ProjectWritten};
pub use queue::{
    Claim, ClaimToken, ClaimedJob, DeadJob, Enqueued, JobId, JobKind, NewJob, Priority, Queue, QueueDepth,
};
pub use router::{Drained, EffectiveRoute, LastChange, Route, Router};
pub use source_fetcher::SourceFetcher;
pub use store::{CancelOutcome, Commit, CreatedDeployment, Guard, HandBack, Lease, Snapshot, Store};
