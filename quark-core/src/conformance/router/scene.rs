//! An app with two slots in front of which a router stands.

use std::sync::Arc;

use super::fixture::{RouterClient, RouterFixture, SlotServer};
use crate::app::{AppName, Domain};
use crate::backend::{Call, EffectiveRoute, Route, Router};
use crate::conformance::outcome::{PATIENCE, ensure, within, worked};
use crate::conformance::{CaseResult, outcome};
use crate::deployment::{Fence, Generation, Slot};

/// An app with two slots, `<app>-blue` and `<app>-green`, and two names.
pub(super) struct Scene<'a> {
    pub(super) fixture: &'a dyn RouterFixture,
    pub(super) router: Arc<dyn Router>,
    pub(super) app: AppName,
    pub(super) domains: Vec<Domain>,
    pub(super) host: Domain,
    pub(super) blue: Box<dyn SlotServer>,
    pub(super) green: Box<dyn SlotServer>,
}

/// The fence of calls where it does not matter.
pub(super) const FENCE: Fence = Fence(10);

impl<'a> Scene<'a> {
    pub(super) async fn new(fixture: &'a dyn RouterFixture, app: &str) -> CaseResult<Self> {
        let name = |host: String| worked("making a name", Domain::parse(host));
        let host = name(format!("{app}.test"))?;
        Ok(Self {
            fixture,
            router: fixture.router(),
            app: worked("making a name", AppName::parse(app))?,
            domains: vec![host.clone(), name(format!("www.{app}.test"))?],
            host,
            blue: fixture.slot(&format!("{app}-blue")).await?,
            green: fixture.slot(&format!("{app}-green")).await?,
        })
    }

    /// A scene whose route is in force with generation 1, blue active.
    pub(super) async fn routed(fixture: &'a dyn RouterFixture, app: &str) -> CaseResult<Self> {
        let scene = Self::new(fixture, app).await?;
        scene.apply(&scene.route(1, Slot::Blue)).await?;
        Ok(scene)
    }

    pub(super) fn route(&self, generation: u64, active: Slot) -> Route {
        Route {
            app: self.app.clone(),
            generation: Generation(generation),
            fence: FENCE,
            domains: self.domains.clone(),
            blue: self.blue.endpoint(),
            green: self.green.endpoint(),
            active,
            backup: false,
            canary: None,
        }
    }

    pub(super) fn identity(&self, slot: Slot) -> String {
        format!("{}-{slot}", self.app)
    }

    pub(super) fn slot(&self, slot: Slot) -> &dyn SlotServer {
        match slot {
            Slot::Blue => &*self.blue,
            Slot::Green => &*self.green,
        }
    }

    pub(super) async fn apply(&self, route: &Route) -> CaseResult {
        let done = within("apply", self.router.apply(&call(route.fence), route)).await?;
        worked(&format!("apply of {} to {}", route.generation.0, route.active), done)
    }

    /// Which application answers on a new connection.
    pub(super) async fn answer(&self, host: &Domain) -> CaseResult<String> {
        self.fixture.client().send(host, "/").await
    }

    /// Checks that a slot answers on a new connection.
    pub(super) async fn serves(&self, slot: Slot) -> CaseResult {
        let answer = self.answer(&self.host).await?;
        ensure!(answer == self.identity(slot), "`{answer}` answers instead of `{}`", self.identity(slot));
        Ok(())
    }

    /// Checks what the router sees.
    pub(super) async fn in_force(&self, route: &Route) -> CaseResult {
        sees(&*self.router, &self.app, Some(route)).await
    }

    /// Sends a request to `/hold` that the slot has got when this returns.
    pub(super) async fn hold(&self, slot: Slot, count: u64) -> CaseResult<Held> {
        let (mut client, host) = (self.fixture.client(), self.host.clone());
        let request = tokio::spawn(async move { client.send(&host, "/hold").await });
        let request = Held(tokio_util::task::AbortOnDropHandle::new(request));
        within("a request arriving at its slot", self.slot(slot).holds(count)).await?;
        Ok(request)
    }

    /// Sends requests to `/hold` until the slot has got one; those that another
    /// slot has got are answered.
    pub(super) async fn hold_at(&self, slot: Slot) -> CaseResult<Held> {
        for _ in 0..1000 {
            let (mut client, host) = (self.fixture.client(), self.host.clone());
            let request = tokio::spawn(async move { client.send(&host, "/hold").await });
            let request = Held(tokio_util::task::AbortOnDropHandle::new(request));
            let arrives = async {
                tokio::select! {
                    () = self.slot(slot).holds(1) => true,
                    () = self.slot(slot.other()).holds(1) => false,
                }
            };
            if within("a request arriving at a slot", arrives).await? {
                return Ok(request);
            }
            self.slot(slot.other()).release();
            request.answer().await?;
            within("a request leaving its slot", self.slot(slot.other()).holds(0)).await?;
        }
        Err(format!("of 1000 requests none has reached the {slot} slot"))
    }

    /// A client that has a connection which it keeps.
    pub(super) async fn kept_client(&self) -> CaseResult<Box<dyn RouterClient>> {
        let mut client = self.fixture.client();
        client.send(&self.host, "/").await?;
        Ok(client)
    }
}

/// A request that waits for its slot's release.
pub(super) struct Held(tokio_util::task::AbortOnDropHandle<CaseResult<String>>);

impl Held {
    /// Which application has answered.
    pub(super) async fn answer(self) -> CaseResult<String> {
        within("the answer to a released request", self.0).await?.map_err(|error| error.to_string())?
    }
}

pub(super) fn call(fence: Fence) -> Call {
    outcome::call(fence, PATIENCE)
}

/// Checks what a router sees of an app.
pub(super) async fn sees(router: &dyn Router, app: &AppName, route: Option<&Route>) -> CaseResult {
    let seen = worked("observe", within("observe", router.observe(app)).await?)?;
    let wanted = route.map(|route| EffectiveRoute {
        active: route.active,
        backup: route.backup,
        generation: route.generation,
        canary: route.canary,
    });
    ensure!(seen == wanted, "observe tells {seen:?} instead of {wanted:?}");
    Ok(())
}
