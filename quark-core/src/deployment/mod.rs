//! One attempt to change what runs: its records, states and events.
//!
//! ```text
//! queued → admitted → fetching → building → preparing → starting → probing → promoting → completed
//!                          if people must agree: probing → awaiting_approval → probing
//!         if it is watched once it serves, or has a hook for then: promoting → baking → completed
//!        if it gets its users by steps: probing → canary → promoting
//!             canary, when it is not well or not wanted → reverting → unwinding → completed
//!         if it is watched once it serves: promoting → baking → completed
//!             baking, when it is not well → rolling_back → completed
//!                                           rolling_back, if it cannot be done → reverting → completed
//!             any of them before promoting, on failure or cancel → unwinding → completed
//!             promoting, when the router refuses → reverting → unwinding → completed
//! ```

mod approval;
mod bake;
mod canary;
mod event;
mod expectation;
mod id;
mod liveness;
mod record;
mod reservation;
mod share;
mod slot;
mod state;
mod step;
mod supersede;
mod traffic;

pub use approval::{Answer, Approval, ApprovalOutcome, ApprovalVerdict};
pub use bake::{Bake, BakeOutcome};
pub use canary::{Canary, CanaryOutcome};
pub use event::{Event, EventKind, LogLine, LogStream};
pub use expectation::Expectation;
pub use id::{ContainerName, DeploymentId, Endpoint, Fence, Generation, OwnerId, Version};
pub use liveness::{Liveness, RestartReason};
pub use record::{
    AppRecord, CancelRequest, Deployment, DeploymentKind, Failure, IdempotencyKey, Instance, InstanceState, Occupant,
    Revision, Serving, Standby, TeamId, Trigger,
};
pub use reservation::{Reservation, Room, Shortage};
pub use share::Share;
pub use slot::Slot;
pub use state::{Conclusion, State};
pub use step::{StepName, StepOutput, StepPhase, StepRecord};
pub use supersede::{SupersedePolicy, Superseding};
pub use traffic::Traffic;

pub(crate) use reservation::Amount;
