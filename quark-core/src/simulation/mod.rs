//! A whole engine in a world that a seed decides.
//!
//! A [`Simulation`] runs the real [`DeploymentEngine`](crate::DeploymentEngine),
//! or several of them, in one thread and in virtual time: every call to a
//! backend may fail, be late, be done twice or be done without an answer;
//! engines are killed between any two polls; containers die, clocks jump, jobs
//! are lost. After each change it is checked that nothing is seen that must
//! never be seen, and at the end, when nothing goes wrong any more, that
//! everything comes to rest as it should; see [`invariants`].
//!
//! The same seed makes the same run, to the last poll. What a seed once showed
//! can be looked at again and again:
//!
//! ```
//! use quark_core::simulation::Simulation;
//!
//! let report = Simulation::new(42).run();
//! assert!(report.violation().is_none(), "{report}");
//! assert_eq!(report.hash(), Simulation::new(42).run().hash());
//! ```
//!
//! Stories of one's own, told in a world without faults:
//!
//! ```
//! use quark_core::Conclusion;
//! use quark_core::simulation::{Profile, Program, Simulation};
//!
//! let report = Simulation::new(1)
//!     .with_profile(Profile::calm())
//!     .with_story(|world| async move {
//!         let app = world.create_app("shop").await?;
//!         let ended = world.release(&app, Program::Good).await?;
//!         assert_eq!(ended, Some(Conclusion::Succeeded));
//!         Ok(())
//!     })
//!     .run();
//! assert!(report.violation().is_none(), "{report}");
//! ```
//!
//! Authors of backends put their own in the place of one in memory, with
//! [`Simulation::with_backends`]: it then meets the same faults, and the engine
//! on it is checked in the same way.

mod chance;
mod change;
mod clock;
mod events;
mod executor;
mod exhaustive;
mod faults;
#[cfg(feature = "planted-bugs")]
mod hunt;
pub mod invariants;
mod ledger;
mod people;
mod projects;
mod random;
mod report;
mod run;
mod runner;
mod scenario;
mod sim;
mod timers;
mod trace;
mod world;

pub use chance::Chance;
pub use change::{Change, Circumstances};
pub use clock::SimClock;
pub use events::Happening;
pub use executor::ProcessId;
pub use exhaustive::{Counts, Exhaustive};
pub use faults::{Fault, Op, Profile, Script};
#[cfg(feature = "planted-bugs")]
pub use hunt::Hunt;
pub use invariants::{Invariant, Violation};
pub use ledger::{AppEntry, ContainerEntry, DeploymentEntry, LeaseEntry, Ledger, RouteEntry, StepEntry};
pub use report::{Report, Tally};
pub use run::Simulation;
pub use runner::{Outcome, Runner};
pub use scenario::Scenario;
pub use world::{Backends, Program, World};
