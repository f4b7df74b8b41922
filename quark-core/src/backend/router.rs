//! `Router`: sends users' requests to the slot that serves.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::call::Call;
use crate::app::{AppName, Domain};
use crate::deployment::{Endpoint, Fence, Generation, Share, Slot};
use crate::{Error, ErrorKind, Result};

/// How an app shall be reached. A description, not a command: applying it
/// twice is the same as applying it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Which app.
    pub app: AppName,
    /// Grows with each intended change.
    pub generation: Generation,
    /// The lease under which the change is wanted.
    pub fence: Fence,
    /// The host names to answer to; at least one.
    pub domains: Vec<Domain>,
    /// The address of the blue slot.
    pub blue: Endpoint,
    /// The address of the green slot.
    pub green: Endpoint,
    /// The slot that serves.
    pub active: Slot,
    /// Whether the other slot is warm and may stand in when the active one
    /// does not accept connections.
    pub backup: bool,
    /// The share of new requests that goes to the slot that is not active; none
    /// does if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Share>,
}

impl Route {
    /// The address of a slot.
    #[must_use]
    pub fn endpoint(&self, slot: Slot) -> &Endpoint {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    /// Refuses a route that gives a share of the requests to the slot that is
    /// not active. For routers that [cannot do that](Router::splits).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] (`canary_unsupported`).
    pub fn refuse_share(&self) -> Result<()> {
        if self.canary.is_none() { Ok(()) } else { Err(canary_unsupported()) }
    }
}

/// The error for a share of requests where the router cannot split them.
pub(crate) fn canary_unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "the router cannot split the requests of an app between two versions")
        .with_code("canary_unsupported")
        .with_hint("leave `canary` out and let `bake` watch the version once it serves, or use a router that can")
}

/// What really serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveRoute {
    /// The slot that gets new requests.
    pub active: Slot,
    /// Whether the other slot stands in.
    pub backup: bool,
    /// The generation of the last change that the router knows.
    pub generation: Generation,
    /// The share of new requests that the other slot gets, if it gets one.
    pub canary: Option<Share>,
}

/// The last change of an app's route that a router has seen. A change that was
/// ordered before it and arrives after it, because its caller has given up
/// waiting for it, must not take effect. Every router compares in this way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastChange {
    /// The lease under which it was wanted.
    pub fence: Fence,
    /// Its generation; above all for a removal.
    pub generation: Generation,
}

impl LastChange {
    /// The last change once `route` is applied.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Fenced`] if the route was ordered before the last change.
    pub fn then_apply(self, route: &Route) -> Result<Self> {
        if (route.fence, route.generation) < (self.fence, self.generation) {
            return Err(outdated(&route.app));
        }
        Ok(Self { fence: route.fence, generation: route.generation })
    }

    /// The last change once the route is removed under `fence`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Fenced`] if the removal was ordered before the last change.
    pub fn then_remove(self, app: &AppName, fence: Fence) -> Result<Self> {
        if fence < self.fence {
            return Err(outdated(app));
        }
        Ok(Self { fence, generation: Generation(u64::MAX) })
    }
}

fn outdated(app: &AppName) -> Error {
    Error::new(ErrorKind::Fenced, format!("another engine, or a later change, has taken over the route of `{app}`"))
}

/// Whether the requests to a slot have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "they have ended or they have not")]
pub enum Drained {
    /// None is left.
    Fully,
    /// Some were left when the time was up.
    TimedOut {
        /// How many.
        open: u64,
    },
}

/// Sends users' requests to the slot that serves.
///
/// # Contract
///
/// - After `apply`, new requests for each of the app's names reach the active slot.
/// - `apply` of the route that is in force succeeds and changes nothing.
/// - `apply` returns when what it describes is confirmed to be in force.
/// - A change of the active slot loses no request: not on idle or busy keep-alive connections, not one in flight.
/// - `apply` with a lower fence than one seen before is `Fenced` and changes nothing.
/// - `apply` with the fence of the last change and a lower generation is `Fenced` and changes nothing.
/// - `apply` of a route that is refused is `InvalidConfig` and leaves the route before in force.
/// - A refused route of one app does not hinder the routes of others.
/// - A host name that another app has is a `Conflict` with code `domain_taken`.
/// - `observe` tells what is really in force, also from another router object; `None` for an unknown app.
/// - With `backup`, a request that cannot connect to the active slot is answered by the other one.
/// - A change that makes the other slot stand in, or makes the one that stands in the active one, loses no request,
///   even if the slot that it stands in for is down.
/// - With `canary`, that share of the requests for each of the app's names reaches the slot that is not active, and the
///   rest the active one; also on connections that are kept. Without it none does.
/// - A change of the share loses no request: not on idle or busy keep-alive connections, not one in flight.
/// - With `canary`, a request of the share that cannot connect to its slot is answered by the active one.
/// - A router that does not split requests refuses a route with `canary` as `Unsupported`, with code
///   `canary_unsupported`, and leaves the route before in force.
/// - `drained` is `Fully` when no request that the slot was given is left, and waits for those that are.
/// - `drained` is `TimedOut` with their number when some are left at the deadline.
/// - After `remove`, the app's names are not served; removing what is gone succeeds.
/// - `remove` counts as seen: an `apply` with the same or a lower fence, or a `remove` with a lower one, that arrives
///   later is `Fenced` and changes nothing, also when there was no route to remove.
/// - A request for one of an app's names that is sent to the `entrance` gets to the active slot.
#[async_trait]
pub trait Router: std::fmt::Debug + Send + Sync + 'static {
    /// Whether it can give a share of an app's requests to the slot that is not
    /// active: whether it takes routes with [`canary`](Route::canary). Not
    /// unless a router says so.
    fn splits(&self) -> bool {
        false
    }

    /// Brings a route into force and confirms it. Idempotent.
    ///
    /// # Errors
    ///
    /// As the contract says; [`ErrorKind::Unavailable`] if the router cannot be reached,
    /// [`ErrorKind::Timeout`] if it could not be confirmed.
    async fn apply(&self, call: &Call, route: &Route) -> Result<()>;

    /// Tells what is in force. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>>;

    /// Where users' requests come in, by plain HTTP, as it is reached from this
    /// machine; `None` if that is not known, or is elsewhere. What is asked there
    /// is answered as users are.
    fn entrance(&self) -> Option<Endpoint> {
        None
    }

    /// Waits until no request is left at a slot that gets no new ones, at most
    /// `longest`. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`].
    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained>;

    /// Takes the route of an app away. Idempotent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Fenced`] if the call's fence is lower than one seen before;
    /// [`ErrorKind::Unavailable`].
    async fn remove(&self, call: &Call, app: &AppName) -> Result<()>;
}
