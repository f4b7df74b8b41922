//! Projects: one app of which several run, each for branches of its own.
//!
//! ```text
//! project `shop`: what all of it have in common, and
//!   production   main        -> app `shop`
//!   staging      develop     -> app `shop-env-staging`
//!   previews     feature/*   -> app `shop-branch-<branch>`, one per branch
//! ```
//!
//! An environment is an app of its own, with slots, deployments and a route of
//! its own: whatever holds for an app holds for an environment. The project
//! says which apps there are and what each is: the template, overlaid by what
//! the environment says otherwise. All here is pure; [`plan()`] is what a change
//! of a project means for its apps.

mod environment;
mod naming;
mod overlay;
mod pattern;
mod plan;
mod record;
mod spec;

pub use environment::{Environment, EnvironmentRef, Overrides};
pub use naming::{EnvironmentId, EnvironmentName, ProjectName, is_reserved};
pub use pattern::BranchPattern;
pub use plan::{Plan, plan};
pub use record::{ProjectRecord, ProjectSnapshot};
pub use spec::Project;

pub(crate) use naming::reserved;
pub(crate) use overlay::{aliases, overlay};
pub(crate) use plan::preview;
