//! QUARK on a bare machine: operating-system processes as runtime, an
//! in-process reverse proxy as router.
//!
//! This is what an engine is embedded with when nothing else is installed: no
//! container engine, no web server. It needs Linux with `/proc`.
//!
//! - [`LocalBuilder`] turns a source tree into an image: a folder with the
//!   built tree.
//! - [`LocalRuntime`] runs instances of it as processes. They go on when the
//!   engine ends, and the next engine finds them again.
//! - [`ProxyRouter`] sends requests to them, in the process of the engine.
//!
//! The first two keep all they have under one folder and are given the same
//! [`LocalConfig`]:
//!
//! ```no_run
//! # fn main() -> quark_core::Result<()> {
//! use quark_local::{LocalBuilder, LocalConfig, LocalRuntime};
//!
//! let config = LocalConfig::new("/var/lib/quark".into());
//! let builder = LocalBuilder::open(config.clone())?;
//! let runtime = LocalRuntime::open(config)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a source tree says
//!
//! `quark.toml` at the top of the repository says how it is built and started:
//!
//! ```toml
//! [build]
//! command = ["cargo", "build", "--release"]
//! # or: commands = [["npm", "ci"], ["npm", "run", "build"]]
//!
//! [start]
//! command = ["target/release/server", "--port", "$PORT"]
//! ```
//!
//! Commands are lists of words, and no shell sees them. In the start command
//! `$PORT` and `${PORT}` stand for the port to listen on, which the variable
//! `PORT` says too; the address is in `HOST`. A program with a `/` in its name
//! belongs to the tree, another one is looked for in `PATH`. Keys that are not
//! known are refused. `[build]` may be left out.
//!
//! Without a `quark.toml` the line `web: …` of a `Procfile` is taken, if it
//! means the same without a shell: words, quotes and `$PORT`.
//!
//! # What is not promised
//!
//! Builds and instances run as the user of the engine. Nothing isolates them
//! from this user's files, from each other or from the network, nothing keeps
//! an instance from writing into the tree of its image, and the limits of
//! [`Resources`](quark_core::Resources) are not enforced. For code that is not
//! trusted use a runtime with containers.

mod builder;
mod config;
mod image;
mod proxy;
mod runtime;
mod system;

pub use builder::LocalBuilder;
pub use config::LocalConfig;
pub use proxy::{ProxyConfig, ProxyRouter};
pub use runtime::LocalRuntime;
