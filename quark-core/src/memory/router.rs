//! `MemoryRouter`: routes that are records.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::app::{AppName, Domain};
use crate::backend::{Call, Drained, EffectiveRoute, LastChange, Route, Router};
use crate::clock::{Clock, SystemClock};
use crate::deployment::{Endpoint, Generation, Share, Slot};
use crate::{Error, ErrorKind, Result};

/// Routes that are records: nothing is served, but requests can be
/// [opened](Self::open) by hand, and those that are open are waited for.
/// Clones share one world, as two engines share one nginx.
#[derive(Clone)]
pub struct MemoryRouter {
    world: Arc<World>,
}

struct World {
    state: Mutex<State>,
    /// Counts the changes, for those who wait for one.
    changes: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    routes: BTreeMap<AppName, Route>,
    /// Outlives the routes: an engine that was cut off must not bring one back.
    last: HashMap<AppName, LastChange>,
    open: HashMap<Endpoint, u64>,
    /// Counts the requests to an app, to know which are one of a share.
    counted: HashMap<AppName, u64>,
    unreachable: HashSet<Endpoint>,
    faults: VecDeque<Fault>,
    switches: Vec<Switch>,
    entrance: Option<Endpoint>,
}

struct Fault {
    done: bool,
    error: Error,
}

/// A change of what serves an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Which app.
    pub app: AppName,
    /// The slot that serves since; `None` if the route was removed.
    pub active: Option<Slot>,
    /// Whether the other slot stands in since.
    pub backup: bool,
    /// The share that the other slot gets since.
    pub canary: Option<Share>,
    /// The generation of the route; that of the last one if it was removed.
    pub generation: Generation,
    /// The key of the call that did it.
    pub key: String,
}

/// A request that is on its way until this is dropped.
#[must_use]
pub struct OpenRequest {
    router: MemoryRouter,
    slot: Slot,
    endpoint: Endpoint,
}

impl OpenRequest {
    /// The slot that got it.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The address that it went to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.router.change(|state| {
            if let Some(open) = state.open.get_mut(&self.endpoint) {
                *open = open.saturating_sub(1);
            }
        });
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest")
            .field("slot", &self.slot)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl MemoryRouter {
    /// Says where users' requests come in. Nothing of the router is there: what
    /// answers is up to whoever says so.
    pub fn set_entrance(&self, entrance: Option<Endpoint>) {
        self.change(|state| state.entrance = entrance);
    }

    /// A router without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// A router without routes that takes its time from `clock`.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let world = World { state: Mutex::default(), changes: watch::Sender::new(0), clock };
        Self { world: Arc::new(world) }
    }

    /// Sends a request to an app that stays open until the result is dropped.
    /// `None` if the app is not served.
    pub fn open(&self, app: &AppName) -> Option<OpenRequest> {
        self.open_where(|route| route.app == *app)
    }

    /// Sends a request to whatever answers to a host name, as [`open`](Self::open) does.
    pub fn open_host(&self, host: &Domain) -> Option<OpenRequest> {
        self.open_where(|route| route.domains.contains(host))
    }

    fn open_where(&self, wanted: impl Fn(&Route) -> bool) -> Option<OpenRequest> {
        self.change(|state| {
            let route = state.routes.values().find(|route| wanted(route))?;
            let number = state.counted.entry(route.app.clone()).or_default();
            let mut slot = route.active;
            let goes_there = route.canary.is_some_and(|share| share.takes(*number));
            *number += 1;
            if goes_there && !state.unreachable.contains(route.endpoint(slot.other()))
                || !goes_there && route.backup && state.unreachable.contains(route.endpoint(slot))
            {
                slot = slot.other();
            }
            let endpoint = route.endpoint(slot).clone();
            if state.unreachable.contains(&endpoint) {
                return None;
            }
            *state.open.entry(endpoint.clone()).or_default() += 1;
            Some(OpenRequest { router: self.clone(), slot, endpoint })
        })
    }

    /// Makes an address accept connections or not. All do until it is said.
    pub fn set_reachable(&self, endpoint: &Endpoint, reachable: bool) {
        self.change(|state| {
            if reachable { state.unreachable.remove(endpoint) } else { state.unreachable.insert(endpoint.clone()) }
        });
    }

    /// Refuses the next `apply` with `error`, and does nothing then.
    pub fn refuse_next(&self, error: Error) {
        self.change(|state| state.faults.push_back(Fault { done: false, error }));
    }

    /// Does the next `apply` and fails it with `error` all the same, as a
    /// connection does that is cut before the answer.
    pub fn lose_answer(&self, error: Error) {
        self.change(|state| state.faults.push_back(Fault { done: true, error }));
    }

    /// The route of an app as it was last applied.
    #[must_use]
    pub fn route(&self, app: &AppName) -> Option<Route> {
        self.state().routes.get(app).cloned()
    }

    /// The changes that took effect, in their order.
    #[must_use]
    pub fn switches(&self) -> Vec<Switch> {
        self.state().switches.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it held the lock has left whole records.
        self.world.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let done = change(&mut self.state());
        self.world.changes.send_modify(|changes| *changes += 1);
        done
    }

    fn try_apply(&self, call: &Call, route: &Route) -> Result<()> {
        self.change(|state| {
            let last = state.last(&route.app).then_apply(route)?;
            if route.domains.is_empty() {
                return Err(Error::new(ErrorKind::InvalidConfig, format!("the route of `{}` has no name", route.app)));
            }
            let mut others = state.routes.values().filter(|other| other.app != route.app);
            let wanted = |domain: &&Domain| route.domains.contains(*domain);
            if let Some(taken) = others.find_map(|other| other.domains.iter().find(wanted)) {
                return Err(Error::new(ErrorKind::Conflict, format!("another app answers to `{taken}`"))
                    .with_code("domain_taken"));
            }
            state.last.insert(route.app.clone(), last);
            let before = state.routes.insert(route.app.clone(), route.clone());
            let serves = |route: &Route| (route.active, route.backup, route.canary, route.generation);
            if before.as_ref().map(serves) != Some(serves(route)) {
                state.switches.push(Switch {
                    app: route.app.clone(),
                    active: Some(route.active),
                    backup: route.backup,
                    canary: route.canary,
                    generation: route.generation,
                    key: call.key.clone(),
                });
            }
            Ok(())
        })
    }
}

impl State {
    fn last(&self, app: &AppName) -> LastChange {
        self.last.get(app).copied().unwrap_or_default()
    }
}

impl Default for MemoryRouter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRouter").field("routes", &self.state().routes.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Router for MemoryRouter {
    fn entrance(&self) -> Option<Endpoint> {
        self.state().entrance.clone()
    }

    fn splits(&self) -> bool {
        true
    }

    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        let fault = self.change(|state| state.faults.pop_front());
        match fault {
            Some(fault) if !fault.done => Err(fault.error),
            Some(fault) => {
                call.bound("router.apply", async { self.try_apply(call, route) }).await?;
                Err(fault.error)
            }
            None => call.bound("router.apply", async { self.try_apply(call, route) }).await,
        }
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        Ok(self.state().routes.get(app).map(|route| EffectiveRoute {
            active: route.active,
            backup: route.backup,
            generation: route.generation,
            canary: route.canary,
        }))
    }

    async fn drained(&self, _: &AppName, _: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        let mut changes = self.world.changes.subscribe();
        let open = || self.state().open.get(endpoint).copied().unwrap_or(0);
        let ended = async {
            while open() > 0 {
                // The sender lives in `self`.
                let _ = changes.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = self.world.clock.sleep(longest) => {}
        }
        match open() {
            0 => Ok(Drained::Fully),
            open => Ok(Drained::TimedOut { open }),
        }
    }

    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        let work = async {
            self.change(|state| {
                let last = state.last(app).then_remove(app, call.fence)?;
                state.last.insert(app.clone(), last);
                if let Some(route) = state.routes.remove(app) {
                    state.switches.push(Switch {
                        app: app.clone(),
                        active: None,
                        backup: false,
                        canary: None,
                        generation: route.generation,
                        key: call.key.clone(),
                    });
                }
                Ok(())
            })
        };
        call.bound("router.remove", work).await
    }
}
