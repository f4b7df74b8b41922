//! `Change`: one thing that has become true in a simulated world.

use std::time::Duration;

use super::executor::ProcessId;
use super::faults::Op;
use super::ledger::Ledger;
use crate::app::{App, AppName, CommitSha};
use crate::backend::{
    Call, CancelOutcome, Commit, ContainerSpec, CreatedDeployment, Lease, ObservedContainer, ProjectWritten, Route,
};
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, CancelRequest, ContainerName, DeploymentId, Endpoint};

/// One thing that has become true in a simulated world, told at the moment at
/// which it became true, whatever its caller was told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// An app is in the store.
    AppCreated(&'a AppRecord),
    /// A deployment is in the store, and others have given way to it.
    DeploymentCreated(&'a CreatedDeployment),
    /// The store has taken a commit.
    Committed(&'a Commit),
    /// The store has accepted a wish to cancel.
    CancelAccepted(DeploymentId, CancelOutcome, &'a CancelRequest),
    /// A lease was given.
    LeaseTaken(&'a Lease, Duration),
    /// A lease was extended.
    LeaseRenewed(&'a Lease, Duration),
    /// A lease was given back.
    LeaseReleased(&'a Lease),
    /// An engine asks for an effect on the world. What became of it follows, if
    /// something became of it.
    Asked {
        /// Which effect.
        op: Op,
        /// The call: its key, and the fence of the lease under which it is made.
        call: &'a Call,
        /// On which container, if it is one.
        container: Option<&'a ContainerName>,
        /// Which route is asked for, if it is one.
        route: Option<&'a Route>,
    },
    /// A container is there.
    ContainerCreated(&'a ContainerSpec),
    /// A container was started, stopped or killed, or was only looked at.
    ContainerSeen(&'a ObservedContainer),
    /// A container is gone.
    ContainerRemoved(&'a ContainerName),
    /// A container was harmed by the world: what becomes of it is no fault of an engine.
    ContainerHarmed(&'a ContainerName),
    /// Somebody was told how a container was, and not how it is.
    Misled(&'a ContainerName),
    /// Somebody asked for the route of an app, and got no answer or an old one.
    RouteUnseen(&'a AppName),
    /// What listens at an endpoint was found well.
    FoundWell(&'a Endpoint),
    /// A route is in force.
    Routed(&'a Route),
    /// The route of an app is gone.
    Unrouted(&'a AppName),
    /// The branch of an app points at a new commit.
    Pushed(&'a AppName, &'a CommitSha),
    /// An engine touches nothing any more until a person resumes it, or does again.
    SafeMode(bool),
    /// An engine that was stopped for a while goes on.
    GoesOn,
    /// The store is what it was when this was true; what was written since is lost.
    StoreRestored(&'a Ledger),
    /// The store has taken all leases away and counts on from much higher numbers.
    StoreLeapt,
    /// The time of day of the store's machine is this far from what is right, in microseconds.
    StoreClockSet(i64),
    /// From now on nothing goes wrong any more.
    Healed,
    /// The store has taken a change of a project and of its apps: what became of it,
    /// and the apps as they shall be.
    ProjectWritten(&'a ProjectWritten, &'a [App]),
}

/// When and by whom a change was made.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The virtual time since the beginning.
    pub at: Duration,
    /// The time of day, by a clock that is right.
    pub now: Timestamp,
    /// The process that asked for it.
    pub process: ProcessId,
    /// Until when something went wrong for the last time: a fault, a backend or
    /// an engine that was away. What dies, and work that is slow, is life.
    pub troubled: Duration,
    /// Whether nobody waits for it any more: it comes late, or for a second time.
    pub straggles: bool,
}
