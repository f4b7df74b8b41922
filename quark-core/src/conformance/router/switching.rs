//! The cases about the moment at which another slot takes over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fixture::{RouterClient, RouterFixture};
use super::scene::{Scene, call};
use crate::app::Domain;
use crate::backend::Route;
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, within, worked};
use crate::deployment::Slot;

/// Clients that send without a pause, each on a connection of its own.
const CLIENTS: u64 = 4;
/// How often the slot changes.
const SWITCHES: u64 = 24;
/// Answers between two changes, so that each one happens in the midst of work.
pub(super) const BETWEEN: u64 = 4 * CLIENTS;

/// "`apply` returns when what it describes is confirmed to be in force."
pub async fn apply_returns_when_in_force(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let mut kept = scene.kept_client().await?;
    for generation in 2..22 {
        let slot = slot_of(generation);
        let route = scene.route(generation, slot);
        scene.apply(&route).await?;
        scene.serves(slot).await?;
        let answer = kept.send(&scene.host, "/").await?;
        ensure!(answer == scene.identity(slot), "`{answer}` answers after a switch to the {slot} slot was confirmed");
        scene.in_force(&route).await?;
    }
    Ok(())
}

/// "A change of the active slot loses no request: not on idle or busy
/// keep-alive connections, not one in flight."
pub async fn switching_loses_no_request(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let mut idle = scene.kept_client().await?;
    let held = scene.hold(Slot::Blue, 1).await?;
    let (load, clients) = start_load(fixture, &scene.host);
    for generation in 2..2 + SWITCHES {
        load.wait_for(BETWEEN).await?;
        scene.apply(&scene.route(generation, slot_of(generation))).await?;
    }
    load.wait_for(BETWEEN).await?;
    load.end(clients).await?;
    load.check(&[scene.identity(Slot::Blue), scene.identity(Slot::Green)])?;

    let answer = idle.send(&scene.host, "/").await.map_err(|why| format!("on an idle connection: {why}"))?;
    let last = scene.identity(slot_of(1 + SWITCHES));
    ensure!(answer == last, "`{answer}` answers on an idle connection instead of `{last}`");
    scene.blue.release();
    let answer = held.answer().await.map_err(|why| format!("a request in flight: {why}"))?;
    ensure!(answer == scene.identity(Slot::Blue), "`{answer}` has answered a request that the blue slot had got");
    Ok(())
}

/// "A change that makes the other slot stand in, or makes the one that stands in
/// the active one, loses no request, even if the slot that it stands in for is down."
pub async fn switching_to_and_from_what_is_down_loses_no_request(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let routes: Vec<Route> = (1..=2 * SWITCHES)
        .map(|generation| match slot_of(generation) {
            // Down, with green behind it.
            Slot::Blue => Route { backup: true, ..scene.route(generation, Slot::Blue) },
            Slot::Green => scene.route(generation, Slot::Green),
        })
        .collect();
    let green = scene.identity(Slot::Green);
    // What is green answers for as long as its server is there.
    let Scene { fixture, router, host, blue, green: _server, .. } = scene;
    let apply = async |route: &Route| worked("apply", within("apply", router.apply(&call(route.fence), route)).await?);
    let [first, others @ ..] = &routes[..] else { return Err("there are no routes".to_owned()) };
    apply(first).await?;
    within("stopping a slot", blue.stop()).await?;
    let (load, clients) = start_load(fixture, &host);
    for route in others {
        load.wait_for(BETWEEN).await?;
        apply(route).await?;
    }
    load.wait_for(BETWEEN).await?;
    load.end(clients).await?;
    load.check(&[green])
}

/// Clients that send until they are told to stop.
pub(super) fn start_load(fixture: &dyn RouterFixture, host: &Domain) -> (Arc<Load>, JoinSet<()>) {
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(hammer(fixture.client(), host.clone(), Arc::clone(&load)));
    }
    (load, clients)
}

fn slot_of(generation: u64) -> Slot {
    if generation.is_multiple_of(2) { Slot::Green } else { Slot::Blue }
}

/// What the clients have seen so far.
#[derive(Default)]
pub(super) struct Load {
    answers: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
    /// Answers and failures together.
    sent: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Load {
    /// Has the clients end, and waits for that.
    pub(super) async fn end(&self, mut clients: JoinSet<()>) -> CaseResult {
        self.stop.cancel();
        within("the clients' end", async { while clients.join_next().await.is_some() {} }).await
    }

    /// Waits for that many further requests; fails with the first one that was lost.
    pub(super) async fn wait_for(&self, further: u64) -> CaseResult {
        let mut sent = self.sent.subscribe();
        let wanted = *sent.borrow_and_update() + further;
        let failed = || self.failures.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        let enough = sent.wait_for(|sent| *sent >= wanted || failed().is_some());
        within("the clients' progress", enough).await?.map_err(|error| error.to_string())?;
        failed().map_or(Ok(()), |why| Err(format!("{why} (after {} requests)", *self.sent.borrow())))
    }

    pub(super) fn check(&self, identities: &[String]) -> CaseResult {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(failures.is_empty(), "{} requests were lost: {:?}", failures.len(), failures.first());
        for identity in identities {
            ensure!(answers.get(identity).is_some_and(|count| *count > 0), "`{identity}` has answered no request");
        }
        let strangers: Vec<_> = answers.keys().filter(|known| !identities.contains(known)).collect();
        ensure!(strangers.is_empty(), "others have answered: {strangers:?}");
        Ok(())
    }
}

/// Sends until it is told to stop or a request is lost.
async fn hammer(mut client: Box<dyn RouterClient>, host: Domain, load: Arc<Load>) {
    while !load.stop.is_cancelled() {
        let lost = match client.send(&host, "/").await {
            Ok(identity) => {
                let mut answers = load.answers.lock().unwrap_or_else(PoisonError::into_inner);
                *answers.entry(identity).or_default() += 1;
                false
            }
            Err(why) => {
                load.failures.lock().unwrap_or_else(PoisonError::into_inner).push(why);
                true
            }
        };
        load.sent.send_modify(|sent| *sent += 1);
        if lost {
            return;
        }
        // A router without sockets answers at once; others want to run too.
        tokio::task::yield_now().await;
    }
}
