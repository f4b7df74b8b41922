//! One case for each bullet of the contract that is not about switching.

use std::time::Duration;

use super::fixture::RouterFixture;
use super::scene::{FENCE, Scene, call, sees};
use crate::ErrorKind;
use crate::backend::{Drained, Route};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{PATIENCE, ensure, refused, within, worked};
use crate::deployment::{Fence, Generation, Slot};
use crate::testing::http::TestClient;

/// "After `apply`, new requests for each of the app's names reach the active slot."
pub async fn requests_reach_the_active_slot(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let other = Scene::routed(fixture, "blog").await?;
    for (generation, slot) in [(2, Slot::Green), (3, Slot::Blue)] {
        scene.apply(&scene.route(generation, slot)).await?;
        for host in &scene.domains {
            let answer = scene.answer(host).await?;
            ensure!(answer == scene.identity(slot), "`{answer}` answers to `{host}` instead of the {slot} slot");
        }
        other.serves(Slot::Blue).await?;
    }
    Ok(())
}

/// "`apply` of the route that is in force succeeds and changes nothing."
pub async fn applying_twice_changes_nothing(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let route = Route { backup: true, ..scene.route(1, Slot::Green) };
    scene.apply(&route).await?;
    let mut kept = scene.kept_client().await?;
    let held = scene.hold(Slot::Green, 1).await?;
    for _ in 0..3 {
        scene.apply(&route).await?;
        scene.in_force(&route).await?;
        scene.serves(Slot::Green).await?;
        let answer = kept.send(&scene.host, "/").await?;
        ensure!(answer == scene.identity(Slot::Green), "`{answer}` answers on a kept connection");
    }
    scene.green.release();
    ensure!(held.answer().await? == scene.identity(Slot::Green), "another slot has answered a held request");
    Ok(())
}

/// "`apply` with a lower fence than one seen before is `Fenced` and changes nothing."
/// Fences are those of leases, so each app has its own.
pub async fn an_old_fence_is_refused(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let newer = Route { fence: Fence(FENCE.0 + 5), ..scene.route(2, Slot::Green) };
    scene.apply(&newer).await?;
    let another = fixture.another().await;
    for router in [&scene.router, &another] {
        for fence in [FENCE, Fence(FENCE.0 + 4)] {
            let late = Route { fence, ..scene.route(3, Slot::Blue) };
            let done = within("apply", router.apply(&call(fence), &late)).await?;
            refused("apply with an old fence", done, ErrorKind::Fenced, None)?;
            scene.in_force(&newer).await?;
            scene.serves(Slot::Green).await?;
        }
    }
    scene.apply(&Route { fence: newer.fence, ..scene.route(3, Slot::Blue) }).await?;
    scene.serves(Slot::Blue).await?;

    let other = Scene::new(fixture, "blog").await?;
    other.apply(&Route { fence: Fence(1), ..other.route(1, Slot::Blue) }).await?;
    other.serves(Slot::Blue).await
}

/// "`apply` of a route that is refused is `InvalidConfig` and leaves the route before in force."
pub async fn a_refused_route_leaves_the_old_one(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let before = scene.route(1, Slot::Blue);
    let Some(bad) = fixture.refused_route(scene.route(2, Slot::Green)) else { return Ok(()) };
    let mut kept = scene.kept_client().await?;
    for _ in 0..2 {
        let done = within("apply", scene.router.apply(&call(FENCE), &bad)).await?;
        refused("apply of a bad route", done, ErrorKind::InvalidConfig, None)?;
        scene.in_force(&before).await?;
        scene.serves(Slot::Blue).await?;
        let answer = kept.send(&scene.host, "/").await?;
        ensure!(answer == scene.identity(Slot::Blue), "`{answer}` answers on a kept connection");
    }
    scene.apply(&scene.route(3, Slot::Green)).await?;
    scene.serves(Slot::Green).await
}

/// "A refused route of one app does not hinder the routes of others."
pub async fn a_refused_route_does_not_hinder_others(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let other = Scene::routed(fixture, "blog").await?;
    let Some(bad) = fixture.refused_route(scene.route(1, Slot::Blue)) else { return Ok(()) };
    let done = within("apply", scene.router.apply(&call(FENCE), &bad)).await?;
    refused("apply of a bad route", done, ErrorKind::InvalidConfig, None)?;

    other.serves(Slot::Blue).await?;
    other.apply(&other.route(2, Slot::Green)).await?;
    other.serves(Slot::Green).await?;
    let third = Scene::routed(fixture, "wiki").await?;
    third.serves(Slot::Blue).await
}

/// "A host name that another app has is a `Conflict` with code `domain_taken`."
pub async fn a_name_of_another_app_is_refused(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let other = Scene::new(fixture, "blog").await?;
    let mut greedy = other.route(1, Slot::Blue);
    greedy.domains.push(scene.host.clone());
    let done = within("apply", other.router.apply(&call(FENCE), &greedy)).await?;
    refused("apply with the name of another app", done, ErrorKind::Conflict, Some("domain_taken"))?;
    sees(&*other.router, &other.app, None).await?;
    scene.serves(Slot::Blue).await?;
    ensure!(other.answer(&other.host).await.is_err(), "an app is served although its route was refused");
    other.apply(&other.route(2, Slot::Blue)).await?;
    other.serves(Slot::Blue).await
}

/// "`observe` tells what is really in force, also from another router object;
/// `None` for an unknown app."
pub async fn observe_tells_what_is_in_force(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let before = fixture.another().await;
    for router in [&scene.router, &before] {
        sees(&**router, &scene.app, None).await?;
    }
    for (generation, active, backup) in
        [(1, Slot::Green, false), (4, Slot::Green, true), (5, Slot::Blue, true), (9, Slot::Blue, false)]
    {
        let route = Route { backup, ..scene.route(generation, active) };
        scene.apply(&route).await?;
        let after = fixture.another().await;
        for router in [&scene.router, &before, &after] {
            sees(&**router, &scene.app, Some(&route)).await?;
        }
    }
    Ok(())
}

/// "With `backup`, a request that cannot connect to the active slot is answered
/// by the other one." Without it, the other one never gets a request: it may be
/// a version that has not shown that it is well.
pub async fn backup_stands_in(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let route = Route { backup: true, ..scene.route(1, Slot::Blue) };
    scene.apply(&route).await?;
    let mut kept = scene.kept_client().await?;
    scene.serves(Slot::Blue).await?;
    let Scene { fixture, router, host, blue, green, .. } = scene;
    within("stopping a slot", blue.stop()).await?;
    for _ in 0..5 {
        for answer in [kept.send(&host, "/").await?, fixture.client().send(&host, "/").await?] {
            ensure!(answer == "shop-green", "`{answer}` answers although its slot is down");
        }
    }
    let alone = Route { backup: false, generation: Generation(2), ..route };
    worked("apply", within("apply", router.apply(&call(FENCE), &alone)).await?)?;
    let before = green.requests();
    for _ in 0..5 {
        if let Ok(answer) = fixture.client().send(&host, "/").await {
            return Err(format!("`{answer}` answers although it is no backup"));
        }
    }
    ensure!(green.requests() == before, "a slot that is no backup got requests");
    Ok(())
}

/// "`drained` is `Fully` when no request that the slot was given is left, and
/// waits for those that are."
pub async fn drained_waits_for_requests(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let mut kept = scene.kept_client().await?;
    let held = scene.hold(Slot::Blue, 1).await?;
    scene.apply(&scene.route(2, Slot::Green)).await?;
    let endpoint = scene.blue.endpoint();
    let drained = scene.router.drained(&scene.app, Slot::Blue, &endpoint, PATIENCE);
    tokio::pin!(drained);
    let meanwhile = async {
        for _ in 0..10 {
            scene.serves(Slot::Green).await?;
            kept.send(&scene.host, "/").await?;
            tokio::task::yield_now().await;
        }
        CaseResult::Ok(())
    };
    tokio::select! {
        biased;
        early = &mut drained => return Err(format!("drained yields {early:?} while a request is held")),
        done = meanwhile => done?,
    }
    scene.blue.release();
    let (answer, drained) = tokio::join!(held.answer(), within("drained", drained));
    ensure!(answer? == scene.identity(Slot::Blue), "another slot has answered a held request");
    let drained = worked("drained", drained?)?;
    ensure!(drained == Drained::Fully, "drained is {drained:?} when no request is left");

    // A slot that never got a request has nothing to finish.
    let idle = Scene::routed(fixture, "blog").await?;
    let endpoint = idle.green.endpoint();
    let drained = idle.router.drained(&idle.app, Slot::Green, &endpoint, PATIENCE);
    let drained = worked("drained", within("drained", drained).await?)?;
    ensure!(drained == Drained::Fully, "drained is {drained:?} at a slot that never got a request");
    Ok(())
}

/// "`drained` is `TimedOut` with their number when some are left at the deadline."
pub async fn drained_times_out_with_the_number(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let first = scene.hold(Slot::Blue, 1).await?;
    let second = scene.hold(Slot::Blue, 2).await?;
    scene.apply(&scene.route(2, Slot::Green)).await?;
    let endpoint = scene.blue.endpoint();
    let longest = Duration::from_millis(300);
    let drained = scene.router.drained(&scene.app, Slot::Blue, &endpoint, longest);
    let drained = worked("drained", within("drained", drained).await?)?;
    ensure!(drained == Drained::TimedOut { open: 2 }, "drained is {drained:?} while 2 requests are held");
    scene.blue.release();
    for held in [first, second] {
        ensure!(held.answer().await? == scene.identity(Slot::Blue), "another slot has answered a held request");
    }
    Ok(())
}

/// "After `remove`, the app's names are not served; removing what is gone succeeds."
pub async fn removed_names_are_not_served(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    let other = Scene::routed(fixture, "blog").await?;
    scene.serves(Slot::Blue).await?;
    let another = fixture.another().await;
    for router in [&scene.router, &another, &scene.router] {
        worked("remove", within("remove", router.remove(&call(FENCE), &scene.app)).await?)?;
        sees(&**router, &scene.app, None).await?;
        for host in &scene.domains {
            if let Ok(answer) = scene.answer(host).await {
                return Err(format!("`{answer}` answers to `{host}` after its route was removed"));
            }
        }
        other.serves(Slot::Blue).await?;
    }
    Ok(())
}

/// "`apply` with the fence of the last change and a lower generation is `Fenced` and changes nothing."
pub async fn a_late_change_is_refused(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    let newest = scene.route(7, Slot::Blue);
    scene.apply(&newest).await?;
    let another = fixture.another().await;
    for router in [&scene.router, &another] {
        for generation in [1, 6] {
            let late = scene.route(generation, Slot::Green);
            let done = within("apply", router.apply(&call(FENCE), &late)).await?;
            refused("apply of an earlier generation", done, ErrorKind::Fenced, None)?;
            scene.in_force(&newest).await?;
            scene.serves(Slot::Blue).await?;
        }
    }
    // A later lease counts more than a generation.
    scene.apply(&Route { fence: Fence(FENCE.0 + 1), ..scene.route(2, Slot::Green) }).await?;
    scene.serves(Slot::Green).await
}

/// "`remove` counts as seen: an `apply` with the same or a lower fence, or a
/// `remove` with a lower one, that arrives later is `Fenced` and changes
/// nothing, also when there was no route to remove."
pub async fn a_removal_counts_as_seen(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::new(fixture, "shop").await?;
    // Nothing to remove, a route, and nothing again.
    for (fence, routed) in [(20, false), (30, true), (40, false)] {
        if routed {
            scene.apply(&Route { fence: Fence(fence - 5), ..scene.route(fence, Slot::Blue) }).await?;
            scene.serves(Slot::Blue).await?;
        }
        let removed = within("remove", scene.router.remove(&call(Fence(fence)), &scene.app)).await?;
        worked("remove", removed)?;
        let another = fixture.another().await;
        for router in [&scene.router, &another] {
            let late = Fence(fence - 1);
            for fence in [late, Fence(fence)] {
                let route = Route { fence, ..scene.route(fence.0 + 1, Slot::Green) };
                let done = within("apply", router.apply(&call(fence), &route)).await?;
                refused("apply with a fence from before a removal", done, ErrorKind::Fenced, None)?;
            }
            sees(&**router, &scene.app, None).await?;
            ensure!(
                scene.answer(&scene.host).await.is_err(),
                "an apply from before a removal has brought a route back"
            );
            let done = within("remove", router.remove(&call(late), &scene.app)).await?;
            refused("remove with a fence from before a removal", done, ErrorKind::Fenced, None)?;
        }
    }
    // Removing once more is no late removal, and each app has its own fence.
    worked("remove", within("remove", scene.router.remove(&call(Fence(40)), &scene.app)).await?)?;
    let route = Route { fence: Fence(41), ..scene.route(50, Slot::Green) };
    scene.apply(&route).await?;
    let done = within("remove", scene.router.remove(&call(Fence(40)), &scene.app)).await?;
    refused("remove with a lower fence than that of the route", done, ErrorKind::Fenced, None)?;
    scene.in_force(&route).await?;
    scene.serves(Slot::Green).await?;
    let other = Scene::routed(fixture, "blog").await?;
    other.serves(Slot::Blue).await
}

/// "A request for one of an app's names that is sent to the `entrance` gets to
/// the active slot."
pub async fn the_entrance_leads_to_the_active_slot(fixture: &dyn RouterFixture) -> CaseResult {
    let scene = Scene::routed(fixture, "shop").await?;
    // A router that does not know where it is asked tells nothing wrong.
    let Some(entrance) = scene.router.entrance() else { return Ok(()) };
    let address = worked("reading the entrance", entrance.socket_addr())?;
    let mut client = TestClient::new(address);
    for (generation, active) in [(2, Slot::Green), (3, Slot::Blue)] {
        scene.apply(&scene.route(generation, active)).await?;
        let answer = within("a request to the entrance", client.get(scene.host.as_str(), "/")).await?;
        let who = answer.map_err(|error| format!("a request to the entrance was lost: {error}"))?.ok()?;
        ensure!(who == scene.identity(active), "{active} is active, and `{who}` answers at the entrance");
    }
    Ok(())
}
