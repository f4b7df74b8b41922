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
//! - `api` is what programs call; `wish` writes wishes down, `worker` takes their
//!   jobs, `hold` takes the app;
//! - `api` writes wishes down, `projects` those about apps with environments, `worker` takes their jobs, `hold` takes the app;
//! - `recovery` is done once when an engine starts, `sweep` finds lost jobs,
//!   `reconcile` finds what is not as the store says (`drift`, pure);
//! - `explain` says what is, what should be, why and what comes next (pure);
//! - `plan` says what a wish would lead to: it makes the decisions ahead of time;
//! - `admission` asks whether the machine has room (`host_policy`, pure, says how much that is);
//! - `bake` watches what was promoted, and has it rolled back if it is not well
//!   (`analysis`, pure, says what is wrong with how users are served);
//! - `liveness` asks what is live for its health for as long as it serves;
//! - `hooks` says which programs of a version are due beside it (pure);
//! - `canary` watches what gets a share of the requests before it is promoted;
//! - `person`: what only people decide, about `stuck` deployments, `safe_mode`
//!   and whether a version may serve (`approval`).

mod admission;
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
mod hooks;
mod host_policy;
mod injected;
mod lease;
mod liveness;
mod log;
mod meanwhile;
mod needless;
mod person;
mod places;
mod plan;
mod projects;
mod reconcile;
mod recovery;
mod requests;
mod retirement;
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
mod wish;
mod worker;
mod write;

pub use admission::RoomLeft;
pub use api::DeploymentEngine;
pub use approval::{ApprovalRequest, PendingApproval};
pub use builder::DeploymentEngineBuilder;
pub use config::EngineConfig;
pub use drift::{Garbage, Orphan};
pub use explain::{Explanation, Finding, Kept, Next, Served, Step, VersionName, Wait, Work};
pub use host_policy::HostPolicy;
pub use plan::{Downtime, Earlier, Effect, Fate, Obstacle, Plan, PlannedStep, PlannedWish};
pub use projects::{PushRequest, Pushed};
pub use requests::{DeployRequest, RollbackRequest};
pub use stuck::Leftovers;
pub use wish::Wish;
