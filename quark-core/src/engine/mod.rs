//! The engine: from a wish to a running, routed application.
//!
//! The pipeline, in reading order:
//!
//! 1. `decide`: what to do next, a pure function of what is written down;
//! 2. `driver`: does it, writing the intent before and the outcome after;
//! 3. `step`: what each step does to the world, one file each;
//! 4. `settle`: what follows from a step's outcome, pure again;
//! 5. `worker`: takes jobs from the queue and drives them;
//! 6. `recovery`: what is done once when an engine starts.

mod api;
mod builder;
mod config;
pub mod decide;
mod driver;
mod lease;
mod log;
mod recovery;
mod requests;
mod route;
mod settle;
mod shared;
mod step;
mod watch;
mod worker;

pub use api::DeploymentEngine;
pub use builder::DeploymentEngineBuilder;
pub use config::EngineConfig;
pub use requests::{DeployRequest, RollbackRequest};
