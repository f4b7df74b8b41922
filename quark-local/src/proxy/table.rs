//! Which app answers to which name, and which of its slots serves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quark_core::backend::{EffectiveRoute, LastChange, Route};
use quark_core::deployment::Fence;
use quark_core::{AppName, Endpoint, Error, ErrorKind, Result, Slot};

use super::upstream::{InFlight, Upstream};

/// The routes. Requests read it, changes write it; neither waits under the lock.
#[derive(Debug)]
pub(super) struct Table {
    /// Where the proxy itself listens.
    entry: SocketAddr,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By name of the host.
    hosts: HashMap<Box<str>, Arc<Served>>,
    apps: HashMap<AppName, Arc<Served>>,
    /// Outlives the routes: an engine that was cut off must not bring one back.
    last: HashMap<AppName, LastChange>,
    /// Addresses that are in no route any more but have requests left.
    leaving: Vec<Arc<Upstream>>,
}

/// A route with the addresses that it names.
#[derive(Debug)]
struct Served {
    route: Route,
    blue: Arc<Upstream>,
    green: Arc<Upstream>,
    /// Counts the requests, to know which are one of the share of the other slot.
    counted: AtomicU64,
}

impl Served {
    fn slot(&self, slot: Slot) -> &Arc<Upstream> {
        match slot {
            Slot::Blue => &self.blue,
            Slot::Green => &self.green,
        }
    }

    fn active(&self) -> &Arc<Upstream> {
        self.slot(self.route.active)
    }

    /// Where the next request goes.
    fn next(&self) -> &Arc<Upstream> {
        let Some(share) = self.route.canary else { return self.active() };
        let goes_there = share.takes(self.counted.fetch_add(1, Ordering::Relaxed));
        if goes_there { self.slot(self.route.active.other()) } else { self.active() }
    }

    fn upstreams(&self) -> [&Arc<Upstream>; 2] {
        [&self.blue, &self.green]
    }
}

impl Table {
    pub(super) fn new(entry: SocketAddr) -> Self {
        Self { entry, state: RwLock::default() }
    }

    /// Sends a request to the slot that serves the host. It counts there from
    /// the moment of the choice, so a switch either comes before both or finds
    /// the request counted.
    pub(super) fn choose(&self, host: &str) -> Option<Arc<InFlight>> {
        let state = self.read();
        state.hosts.get(host).map(|served| InFlight::begin(served.next()))
    }

    /// Sends a request that could not connect to `failed` to where it may go
    /// instead: the slot that serves by now, or the one that stands in. A request
    /// of the other slot's share goes where the others go.
    pub(super) fn stand_in(&self, failed: &Arc<Upstream>) -> Option<Arc<InFlight>> {
        let state = self.read();
        let served = state.apps.get(&failed.app)?;
        if !Arc::ptr_eq(served.active(), failed) {
            return Some(InFlight::begin(served.active()));
        }
        served.route.backup.then(|| InFlight::begin(served.slot(served.route.active.other())))
    }

    pub(super) fn observe(&self, app: &AppName) -> Option<EffectiveRoute> {
        let state = self.read();
        let route = &state.apps.get(app)?.route;
        let Route { active, backup, generation, canary, .. } = *route;
        Some(EffectiveRoute { active, backup, generation, canary })
    }

    /// The places where requests to this address may be left.
    pub(super) fn upstreams(&self, app: &AppName, slot: Slot, endpoint: &Endpoint) -> Vec<Arc<Upstream>> {
        let state = self.read();
        let served = state.apps.get(app).into_iter().flat_map(|served| served.upstreams());
        let known = served.chain(&state.leaving);
        known.filter(|known| known.is(app, slot, endpoint)).cloned().collect()
    }

    pub(super) fn apply(&self, route: &Route) -> Result<()> {
        let mut state = self.write();
        let last = state.last(&route.app).then_apply(route)?;
        if state.apps.get(&route.app).is_some_and(|served| served.route == *route) {
            return Ok(());
        }
        if route.domains.is_empty() {
            return Err(Error::new(ErrorKind::InvalidConfig, format!("the route of `{}` has no host name", route.app)));
        }
        let is_others = |served: &&Arc<Served>| served.route.app != route.app;
        let taken = |domain: &&quark_core::Domain| state.hosts.get(domain.as_str()).is_some_and(|s| is_others(&s));
        if let Some(domain) = route.domains.iter().find(taken) {
            return Err(
                Error::new(ErrorKind::Conflict, format!("another app answers to `{domain}`")).with_code("domain_taken")
            );
        }
        let served = Served {
            route: route.clone(),
            blue: state.upstream(route, Slot::Blue)?,
            green: state.upstream(route, Slot::Green)?,
            counted: AtomicU64::new(0),
        };
        if let Some(itself) = served.upstreams().into_iter().find(|upstream| self.leads_back(upstream.address)) {
            let message = format!("the {} slot of `{}` has the address of this router", itself.slot, route.app);
            return Err(Error::new(ErrorKind::InvalidConfig, message));
        }
        state.replace(&route.app, Some(Arc::new(served)));
        state.last.insert(route.app.clone(), last);
        Ok(())
    }

    pub(super) fn remove(&self, app: &AppName, fence: Fence) -> Result<()> {
        let mut state = self.write();
        let last = state.last(app).then_remove(app, fence)?;
        // Also without a route: one that was ordered before may still be on its way.
        state.last.insert(app.clone(), last);
        if state.apps.contains_key(app) {
            state.replace(app, None);
        }
        Ok(())
    }

    /// How many apps have a route.
    pub(super) fn len(&self) -> usize {
        self.read().apps.len()
    }

    /// Closes the connections to slots that no request uses.
    pub(super) fn close_idle(&self) {
        for upstream in self.read().apps.values().flat_map(|served| served.upstreams()) {
            upstream.pool.set_wanted(false);
        }
    }

    /// Whether a request to this address would come back, again and again.
    fn leads_back(&self, address: SocketAddr) -> bool {
        let (ip, entry) = (address.ip().to_canonical(), self.entry.ip().to_canonical());
        let is_here = ip == entry || ip.is_unspecified() || (entry.is_unspecified() && ip.is_loopback());
        address.port() == self.entry.port() && is_here
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Changes are made of steps that cannot panic.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last(&self, app: &AppName) -> LastChange {
        self.last.get(app).copied().unwrap_or_default()
    }

    /// The address of a slot: the one that is known, so that its requests and
    /// connections stay together, or a new one.
    fn upstream(&self, route: &Route, slot: Slot) -> Result<Arc<Upstream>> {
        let (app, endpoint) = (&route.app, route.endpoint(slot));
        let served = self.apps.get(app).into_iter().flat_map(|served| served.upstreams());
        if let Some(known) = served.chain(&self.leaving).find(|known| known.is(app, slot, endpoint)) {
            return Ok(Arc::clone(known));
        }
        let address = endpoint.socket_addr().map_err(|error| {
            let message = format!("the {slot} slot of `{app}` has no address that this router can connect to");
            Error::new(ErrorKind::InvalidConfig, message).with_source(error)
        })?;
        Ok(Arc::new(Upstream::new(app.clone(), slot, endpoint.clone(), address)))
    }

    fn replace(&mut self, app: &AppName, served: Option<Arc<Served>>) {
        let before = match &served {
            Some(served) => self.apps.insert(app.clone(), Arc::clone(served)),
            None => self.apps.remove(app),
        };
        self.hosts.retain(|_, known| known.route.app != *app);
        if let Some(served) = &served {
            for domain in &served.route.domains {
                self.hosts.insert(domain.as_str().into(), Arc::clone(served));
            }
            for upstream in served.upstreams() {
                let others_too = served.route.backup || served.route.canary.is_some();
                upstream.pool.set_wanted(others_too || upstream.slot == served.route.active);
            }
        }
        let stays = |known: &Arc<Upstream>| {
            served.as_ref().is_some_and(|served| served.upstreams().iter().any(|stays| Arc::ptr_eq(stays, known)))
        };
        self.leaving.retain(|known| known.open() > 0 && !stays(known));
        for gone in before.iter().flat_map(|before| before.upstreams()).filter(|known| !stays(known)) {
            gone.pool.set_wanted(false);
            if gone.open() > 0 {
                self.leaving.push(Arc::clone(gone));
            }
        }
    }
}

impl Upstream {
    fn is(&self, app: &AppName, slot: Slot, endpoint: &Endpoint) -> bool {
        self.endpoint == *endpoint && self.slot == slot && self.app == *app
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_known() {
        for (entry, address, back) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.9:80", true),
            ("[::]:80", "[::1]:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "192.0.2.1:80", false),
        ] {
            assert_eq!(
                Table::new(entry.parse().unwrap()).leads_back(address.parse().unwrap()),
                back,
                "{entry} {address}"
            );
        }
    }
}
