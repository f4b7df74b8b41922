//! The engine: from a wish to a running, routed application.
//!
//! The pipeline, in reading order:
//!
//! 1. `decide`: what to do next, a pure function of what is written down;
//! 2. `driver`: does it, writing the intent before and the outcome after;
//! 3. `step`: what each step does to the world, one file each;
//! 4. `settle`: what follows from a step's outcome, pure again.
//!
//! Around it:
//!
//! - `api` writes wishes down, `worker` takes their jobs, `hold` takes the app;
//! - `recovery` is done once when an engine starts, `sweep` finds lost jobs,
//!   `reconcile` finds what is not as the store says (`drift`, pure);
//! - `explain` says what is, what should be, why and what comes next (pure);
//! - `bake` watches what was promoted, and has it rolled back if it is not well
//!   (`analysis`, pure, says what is wrong with how users are served);
//! - `canary` watches what gets a share of the requests before it is promoted;
//! - `person`: what only people decide, about `stuck` deployments, `safe_mode`
//!   and whether a version may serve (`approval`).

mod analysis;
mod api;
mod approval;
mod bake;
mod builder;
mod canary;
mod config;
mod decide;
mod draft;
mod drift;
mod driver;
mod explain;
mod hold;
mod lease;
mod log;
mod meanwhile;
mod person;
mod places;
mod reconcile;
mod recovery;
mod requests;
mod retry;
mod route;
mod safe_mode;
mod settle;
mod shared;
mod step;
mod stuck;
mod sweep;
mod turn;
mod watch;
mod worker;
mod write;

pub use api::DeploymentEngine;
pub use approval::{ApprovalRequest, PendingApproval};
pub use builder::DeploymentEngineBuilder;
pub use config::EngineConfig;
pub use drift::{Garbage, Orphan};
pub use explain::{Explanation, Finding, Kept, Next, Served, Step, VersionName, Wait, Work};
pub use requests::{DeployRequest, RollbackRequest};
pub use stuck::Leftovers;
