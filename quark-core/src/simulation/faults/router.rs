//! A router behind a socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answers::Answers;
use super::gate::Gate;
use super::op::{Fault, Op};
use super::store::boxed;
use crate::app::AppName;
use crate::backend::{Call, Drained, EffectiveRoute, Route, Router};
use crate::deployment::{Endpoint, Slot};
use crate::simulation::change::Change;
use crate::{Error, ErrorKind, Result};

/// A router behind a socket.
#[derive(Debug)]
pub(crate) struct FaultyRouter {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn Router>,
    pub(crate) observed: Answers<AppName, Option<EffectiveRoute>>,
}

#[async_trait]
impl Router for FaultyRouter {
    fn splits(&self) -> bool {
        self.inner.splits()
    }

    async fn apply(&self, call: &Call, route: &Route) -> Result<()> {
        let op = Op::RouterApply;
        self.gate.sim.change(self.gate.process, &Change::Asked { op, call, container: None, route: Some(route) });
        let make = |call: Call| {
            let (inner, gate, route) = (Arc::clone(&self.inner), self.gate.clone(), route.clone());
            boxed(async move {
                if gate.sim.with(|state| state.faults.refuses_route()) {
                    gate.sim.tell(gate.process, format_args!("the router refuses the route of {}", route.app));
                    return Err(Error::new(ErrorKind::InvalidConfig, "the router refuses this route"));
                }
                inner.apply(&call, &route).await?;
                gate.sim.change(gate.process, &Change::Routed(&route));
                Ok(())
            })
        };
        match self.gate.call(op, call, make).await {
            Err(error) if error.code() == Fault::Ignored.as_str() => Ok(()),
            outcome => outcome,
        }
    }

    async fn observe(&self, app: &AppName) -> Result<Option<EffectiveRoute>> {
        let seen = self.observed.ask(&self.gate, Op::RouterObserve, app, self.inner.observe(app)).await;
        if !matches!(seen, Ok((_, false))) {
            self.gate.sim.change(self.gate.process, &Change::RouteUnseen(app));
        }
        seen.map(|(route, _)| route)
    }

    async fn drained(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, longest: Duration) -> Result<Drained> {
        self.gate.read(Op::RouterDrained, self.inner.drained(app, slot, endpoint, longest)).await
    }

    async fn remove(&self, call: &Call, app: &AppName) -> Result<()> {
        let op = Op::RouterRemove;
        self.gate.sim.change(self.gate.process, &Change::Asked { op, call, container: None, route: None });
        let make = |call: Call| {
            let (inner, gate, app) = (Arc::clone(&self.inner), self.gate.clone(), app.clone());
            boxed(async move {
                inner.remove(&call, &app).await?;
                gate.sim.change(gate.process, &Change::Unrouted(&app));
                Ok(())
            })
        };
        self.gate.call(op, call, make).await
    }
}
