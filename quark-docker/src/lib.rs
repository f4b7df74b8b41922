//! Docker for QUARK: containers as instances, and images built from Dockerfiles.
//!
//! [`DockerRuntime`] implements [`ContainerRuntime`](quark_core::ContainerRuntime)
//! and [`DockerBuilder`] implements [`ImageBuilder`](quark_core::ImageBuilder), both
//! through the API of a daemon with version 1.41 or later. The `docker` program is
//! not needed.
//!
//! ```no_run
//! use quark_docker::{DockerConfig, DockerRuntime};
//!
//! # async fn run() -> quark_core::Result<()> {
//! let runtime = DockerRuntime::connect(DockerConfig::new()).await?;
//! let builder = runtime.builder();
//! # Ok(())
//! # }
//! ```
//!
//! # What a container gets
//!
//! Nothing that it was not given: no capability, no way to gain privileges, no
//! folder of the machine, no device, the default bridge network, limits of memory,
//! CPU time and processes, a log that is rotated at three times 10 MB, and an init
//! process, so that it ends when it is told to. Its port is published on the
//! loopback address only. No option of [`ContainerSpec`](quark_core::backend::ContainerSpec)
//! can change that.
//!
//! Docker is no boundary against somebody who is determined to break out: keep the
//! kernel, runc and the daemon up to date, and do not run hostile code beside yours.
//!
//! # What slows the daemon down
//!
//! When a container ends, the daemon looks through the machine's table of tracked
//! connections while it holds the container's lock. With hundreds of thousands of
//! them, under load, requests about it can take longer than the request timeout.
//! They fail with [`Timeout`](quark_core::ErrorKind::Timeout), and the engine looks
//! again before it decides.
//!
//! # What a build may do
//!
//! The classic builder is used: no secrets, no cache mounts. `RUN` steps have the
//! network and run as root inside their container. They get none of the app's
//! variables. Layers of earlier builds stay as a cache, also those of a build that
//! failed; `docker image prune` removes them.

mod build;
mod config;
mod container;
mod daemon;
mod error;
mod runtime;
mod wire;

pub use build::DockerBuilder;
pub use config::DockerConfig;
pub use runtime::DockerRuntime;
