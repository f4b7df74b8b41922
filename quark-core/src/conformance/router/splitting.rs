//! The cases about a share of the requests for the slot that is not active. A
//! router that does not split requests has one thing to show: that it says so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fixture::RouterFixture;
use super::scene::{FENCE, Scene, call, sees};
use super::switching::{BETWEEN, start_load};
use crate::ErrorKind;
use crate::backend::{Drained, Route};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{PATIENCE, ensure, refused, within, worked};
use crate::deployment::{Share, Slot};

/// Requests that are counted to know a share.
const COUNTED: u32 = 1000;

/// Whether the router under test splits requests.
fn splits(fixture: &dyn RouterFixture) -> bool {
    fixture.router().splits()
}

impl Scene<'_> {
    /// Blue active, and green with a share of so many of a hundred; none if 0.
    fn shared(&self, generation: u64, percent: u8) -> Route {
        Route { canary: Share::of_hundred(percent).ok(), ..self.route(generation, Slot::Blue) }
    }

    /// Which application answers how many requests: on a connection that is
    /// kept, and every tenth on a new one.
    async fn answers(&self, count: u32) -> CaseResult<BTreeMap<String, u32>> {
        let mut answers = BTreeMap::new();
        let mut kept = self.fixture.client();
        for number in 0..count {
            let host = if number % 20 < 10 { self.domains.first() } else { self.domains.last() };
            let host = host.ok_or("a scene has names")?;
            let answer = match number % 10 {
                0 => self.fixture.client().send(host, "/").await?,
                _ => kept.send(host, "/").await?,
            };
            *answers.entry(answer).or_default() += 1;
        }
        Ok(answers)
    }

    /// Checks that green answers so many of a hundred requests, and blue the rest.
    async fn shares(&self, percent: u8) -> CaseResult {
        let answers = self.answers(COUNTED).await?;
        let of = |slot| answers.get(&self.identity(slot)).copied().unwrap_or(0);
        let (blue, green) = (of(Slot::Blue), of(Slot::Green));
        ensure!(blue + green == COUNTED, "others have answered: {answers:?}");
        // Six standard deviations of a fair coin: wrong once in 500 million runs.
        let share = f64::from(percent) / 100.0;
        let (count, told) = (f64::from(COUNTED), f64::from(green));
        let allowed = 6.0 * (count * share * (1.0 - share)).sqrt();
        let is_right = (told - count * share).abs() <= allowed;
        ensure!(is_right, "{green} of {COUNTED} requests are no {percent} %");
        Ok(())
    }
}

/// "With `canary`, that share of the requests for each of the app's names
/// reaches the slot that is not active, and the rest the active one; also on
/// connections that are kept. Without it none does."
pub async fn a_share_reaches_the_other_slot(fixture: &dyn RouterFixture) -> CaseResult {
    if !splits(fixture) {
        return Ok(());
    }
    let scene = Scene::routed(fixture, "shop").await?;
    let other = Scene::routed(fixture, "blog").await?;
    for (generation, percent) in [(2, 20), (3, 0), (4, 1), (5, 60), (6, 99), (7, 0)] {
        let route = scene.shared(generation, percent);
        scene.apply(&route).await?;
        scene.in_force(&route).await?;
        sees(&*fixture.another().await, &scene.app, Some(&route)).await?;
        scene.shares(percent).await?;
    }
    other.shares(0).await
}

/// "A change of the share loses no request: not on idle or busy keep-alive
/// connections, not one in flight." Nor does the promotion that follows, and
/// what a share has brought is waited for when it was taken back.
pub async fn changing_the_share_loses_no_request(fixture: &dyn RouterFixture) -> CaseResult {
    if !splits(fixture) {
        return Ok(());
    }
    let scene = Scene::routed(fixture, "shop").await?;
    let mut idle = scene.kept_client().await?;
    scene.apply(&scene.shared(2, 99)).await?;
    let held = scene.hold_at(Slot::Green).await?;
    let (load, clients) = start_load(fixture, &scene.host);
    let mut generation = 2;
    for percent in [1, 50, 99, 0, 25, 75, 0, 5, 50] {
        generation += 1;
        load.wait_for(BETWEEN).await?;
        scene.apply(&scene.shared(generation, percent)).await?;
    }
    load.wait_for(BETWEEN).await?;
    scene.apply(&scene.route(generation + 1, Slot::Green)).await?;
    load.wait_for(BETWEEN).await?;
    scene.apply(&scene.route(generation + 2, Slot::Blue)).await?;
    load.wait_for(BETWEEN).await?;
    load.end(clients).await?;
    load.check(&[scene.identity(Slot::Blue), scene.identity(Slot::Green)])?;
    let answer = idle.send(&scene.host, "/").await.map_err(|why| format!("on an idle connection: {why}"))?;
    ensure!(answer == scene.identity(Slot::Blue), "`{answer}` answers on an idle connection");

    let endpoint = scene.green.endpoint();
    let longest = Duration::from_millis(300);
    let drained = worked("drained", scene.router.drained(&scene.app, Slot::Green, &endpoint, longest).await)?;
    let is_seen = matches!(drained, Drained::TimedOut { open } if open > 0);
    ensure!(is_seen, "drained is {drained:?} while a request of the share is held");
    scene.green.release();
    let answer = held.answer().await.map_err(|why| format!("a request in flight: {why}"))?;
    ensure!(answer == scene.identity(Slot::Green), "`{answer}` has answered a request that the green slot had got");
    let drained = scene.router.drained(&scene.app, Slot::Green, &endpoint, PATIENCE);
    let drained = worked("drained", within("drained", drained).await?)?;
    ensure!(drained == Drained::Fully, "drained is {drained:?} when no request is left");
    Ok(())
}

/// "With `canary`, a request of the share that cannot connect to its slot is
/// answered by the active one."
pub async fn a_share_that_is_down_costs_no_request(fixture: &dyn RouterFixture) -> CaseResult {
    if !splits(fixture) {
        return Ok(());
    }
    let scene = Scene::routed(fixture, "shop").await?;
    scene.apply(&scene.shared(2, 50)).await?;
    scene.shares(50).await?;
    let Scene { fixture, host, green, .. } = scene;
    within("stopping a slot", green.stop()).await?;
    let mut kept = fixture.client();
    for _ in 0..50 {
        for answer in [kept.send(&host, "/").await?, fixture.client().send(&host, "/").await?] {
            ensure!(answer == "shop-blue", "`{answer}` answers although its slot is down");
        }
    }
    Ok(())
}

/// What is said of fences and generations holds for a share, too: one that was
/// taken back does not come again.
pub async fn a_late_share_is_refused(fixture: &dyn RouterFixture) -> CaseResult {
    if !splits(fixture) {
        return Ok(());
    }
    let scene = Scene::routed(fixture, "shop").await?;
    scene.apply(&scene.shared(5, 50)).await?;
    let back = scene.shared(6, 0);
    scene.apply(&back).await?;
    for late in [scene.shared(5, 50), Route { fence: crate::deployment::Fence(FENCE.0 - 1), ..scene.shared(7, 50) }] {
        let done = within("apply", scene.router.apply(&call(late.fence), &late)).await?;
        refused("apply of a share that was taken back", done, ErrorKind::Fenced, None)?;
        scene.in_force(&back).await?;
    }
    scene.shares(0).await
}

/// "A router that does not split requests refuses a route with `canary` as
/// `Unsupported`, with code `canary_unsupported`, and leaves the route before in force."
pub async fn a_share_that_cannot_be_given_is_refused(fixture: &dyn RouterFixture) -> CaseResult {
    if splits(fixture) {
        return Ok(());
    }
    let scene = Scene::routed(fixture, "shop").await?;
    let done = within("apply", scene.router.apply(&call(FENCE), &scene.shared(2, 50))).await?;
    refused("apply of a share", done, ErrorKind::Unsupported, Some("canary_unsupported"))?;
    scene.in_force(&scene.route(1, Slot::Blue)).await?;
    let answers = scene.answers(40).await?;
    ensure!(answers.len() == 1 && answers.contains_key(&scene.identity(Slot::Blue)), "they answer: {answers:?}");
    Ok(())
}
