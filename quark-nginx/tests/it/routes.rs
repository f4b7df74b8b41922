//! What is in force, who tells it, and what survives.

use std::time::Duration;

use futures_util::future::join_all;
use quark_core::backend::{Drained, Route, Router as _};
use quark_core::{Domain, ErrorKind, Share, Slot};
use quark_nginx::{NginxConfig, NginxRouter};

use crate::support::{Pair, World, app, apply, call, free_address, next, nginx, observe, who};

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_route() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    assert_eq!(world.who("shop.test").await, "404", "nobody has the name yet");
    assert_eq!(observe(&world.router, &app("shop")).await, None);

    assert_eq!(apply(&world.router, &pair.route).await, (Slot::Blue, false, 1));
    assert_eq!(world.who("shop.test").await, "blue");
    assert_eq!(world.who("other.test").await, "404");

    let green = next(&pair.route, Slot::Green, false);
    assert_eq!(apply(&world.router, &green).await, (Slot::Green, false, 2));
    assert_eq!(world.who("shop.test").await, "green");
    let backed = next(&green, Slot::Green, true);
    assert_eq!(apply(&world.router, &backed).await, (Slot::Green, true, 3));
    let back = next(&backed, Slot::Blue, true);
    assert_eq!(apply(&world.router, &back).await, (Slot::Blue, true, 4));
    assert_eq!(world.who("shop.test").await, "blue");

    world.router.remove(&call(1), &app("shop")).await.unwrap();
    assert_eq!(world.who("shop.test").await, "404");
    assert_eq!(observe(&world.router, &app("shop")).await, None);
    world.router.remove(&call(1), &app("shop")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_reloads_nothing() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let files = || {
        ["conf.d/00-quark.conf", "conf.d/quark-shop.conf"].map(|file| std::fs::read(world.home().join(file)).unwrap())
    };
    let before = files();
    let mut client = world.client();
    let mut route = pair.route.clone();
    for _ in 0..4 {
        route = next(&route, route.active.other(), route.active == Slot::Green);
        apply(&world.router, &route).await;
        assert_eq!(client.get("shop.test", "/").await.unwrap().text(), route.active.as_str());
    }
    assert_eq!(files(), before);
    assert_eq!(client.opened(), 1, "the connection of a client must live through a switch");
}

/// How many of 400 requests on one connection the green slot answers.
async fn green_of_400(world: &World) -> u32 {
    let mut client = world.client();
    let mut green = 0;
    for _ in 0..400 {
        green += u32::from(client.get("shop.test", "/").await.unwrap().text() == "green");
    }
    green
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_reloads_nothing_and_half_of_one_is_seen() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let files = || {
        ["conf.d/00-quark.conf", "conf.d/quark-shop.conf"].map(|file| std::fs::read(world.home().join(file)).unwrap())
    };
    let before = files();
    let shared =
        |route: &Route, percent| Route { canary: Share::of_hundred(percent).ok(), ..next(route, Slot::Blue, false) };
    let half = shared(&pair.route, 50);
    apply(&world.router, &half).await;
    let green = green_of_400(&world).await;
    assert!((140..=260).contains(&green), "{green}");

    // An engine that died while it took the share back has left some of it.
    for bucket in 10..50 {
        std::fs::remove_file(world.home().join(format!("markers/shop.canary.{bucket}"))).unwrap();
    }
    let seen = world.router.observe(&app("shop")).await.unwrap().unwrap();
    assert_eq!((seen.canary, seen.generation), (Share::of_hundred(10).ok(), pair.route.generation));
    let none = shared(&half, 0);
    assert_eq!(apply(&world.router, &none).await, (Slot::Blue, false, 3));
    assert_eq!(green_of_400(&world).await, 0);
    assert_eq!(files(), before);

    // What names change takes no share along.
    apply(&world.router, &shared(&none, 99)).await;
    let mut renamed = next(&none, Slot::Green, true);
    (renamed.generation, renamed.domains) = (quark_core::deployment::Generation(5), vec!["new.test".parse().unwrap()]);
    assert_eq!(apply(&world.router, &renamed).await, (Slot::Green, true, 5));
    assert_eq!(world.who("new.test").await, "green");
    world.router.remove(&call(1), &app("shop")).await.unwrap();
    assert_eq!(std::fs::read_dir(world.home().join("markers")).unwrap().count(), 0, "markers are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_addresses_may_change() {
    let Some(world) = World::start().await else { return };
    let (pair, other) = (Pair::start("shop").await, Pair::start("shop").await);
    apply(&world.router, &pair.route).await;
    let mut renamed = next(&pair.route, Slot::Green, true);
    renamed.domains =
        vec![Domain::parse("new.test").unwrap(), Domain::parse(format!("{}.test", "a.".repeat(120) + "b")).unwrap()];
    assert_eq!(apply(&world.router, &renamed).await, (Slot::Green, true, 2));
    assert_eq!(world.who("new.test").await, "green");
    assert_eq!(world.who("shop.test").await, "404");

    // Both slots move and the other one serves: nothing is left of the first pair.
    let mut moved = next(&renamed, Slot::Blue, false);
    (moved.blue, moved.green) = (other.blue.endpoint(), other.green.endpoint());
    drop(pair);
    assert_eq!(apply(&world.router, &moved).await, (Slot::Blue, false, 3));
    assert_eq!(world.who("new.test").await, "blue");
    let green = next(&moved, Slot::Green, false);
    apply(&world.router, &green).await;
    assert_eq!(world.who("new.test").await, "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_sees_and_continues() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let second = NginxRouter::open(world.config.clone()).await.unwrap();
    assert_eq!(observe(&second, &app("shop")).await, Some((Slot::Blue, false, 1)));
    let green = next(&pair.route, Slot::Green, false);
    apply(&second, &green).await;
    assert_eq!(observe(&world.router, &app("shop")).await, Some((Slot::Green, false, 2)));

    // Both at once, on several apps: they wait for each other.
    let pairs = [Pair::start("a").await, Pair::start("b").await, Pair::start("c").await, Pair::start("d").await];
    let routers = [&world.router, &second];
    let applied = pairs.iter().enumerate().map(|(at, pair)| apply(routers[at % 2], &pair.route));
    for serves in join_all(applied).await {
        assert_eq!(serves, (Slot::Blue, false, 1));
    }
    for name in ["a.test", "b.test", "c.test", "d.test"] {
        assert_eq!(world.who(name).await, "blue");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_wait_share_a_reload() {
    let Some(world) = World::start().await else { return };
    let reloads = || {
        let base = std::fs::read_to_string(world.home().join("conf.d/00-quark.conf")).unwrap();
        let (_, number) = base.split_once("\"reload\":").unwrap();
        number.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let before = reloads();
    let mut pairs = Vec::new();
    for number in 0..12 {
        pairs.push(Pair::start(&format!("app{number}")).await);
    }
    join_all(pairs.iter().map(|pair| apply(&world.router, &pair.route))).await;
    let took = reloads() - before;
    assert!(took < 12, "12 new apps took {took} reloads");
    for number in 0..12 {
        assert_eq!(world.who(&format!("app{number}.test")).await, "blue");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_outlives_the_router() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &next(&pair.route, Slot::Green, true)).await;
    let (config, listen, master) = (world.config.clone(), world.listen, world.master());
    let World { folder, router, .. } = &world;
    drop(router.clone());
    assert!(folder.path().exists() && master.is_alive());
    assert_eq!(who(listen, "shop.test").await, "green");
    let adopted = NginxRouter::open(config).await.unwrap();
    assert_eq!(world.master(), master, "it must be adopted, not started again");
    assert_eq!(observe(&adopted, &app("shop")).await, Some((Slot::Green, true, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_that_was_stopped_serves_the_same_again() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &next(&pair.route, Slot::Green, false)).await;
    world.router.stop_nginx().await.unwrap();
    let away = world.router.observe(&app("shop")).await.unwrap_err();
    assert_eq!((away.kind(), away.code()), (ErrorKind::Unavailable, "nginx_unreachable"));
    world.router.stop_nginx().await.unwrap();
    let again = NginxRouter::open(world.config.clone()).await.unwrap();
    assert_eq!(observe(&again, &app("shop")).await, Some((Slot::Green, false, 2)));
    assert_eq!(world.who("shop.test").await, "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_reach_the_routes_that_are_there() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &next(&pair.route, Slot::Green, false)).await;
    let elsewhere = free_address();
    let config = NginxConfig::own(world.home(), elsewhere).with_binary(nginx().unwrap()).with_workers(1);
    let moved = NginxRouter::open(config).await.unwrap();
    assert_eq!(who(elsewhere, "shop.test").await, "green");
    assert!(world.client().get("shop.test", "/").await.is_err(), "nobody is to listen there any more");
    assert_eq!(observe(&moved, &app("shop")).await, Some((Slot::Green, false, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_is_waited_for() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let mut client = world.client();
    let held = tokio::spawn(async move { client.get("shop.test", "/hold").await.unwrap().text() });
    pair.blue.holds(1).await;
    apply(&world.router, &next(&pair.route, Slot::Green, false)).await;
    let drained = |longest| world.router.drained(&pair.route.app, Slot::Blue, &pair.route.blue, longest);
    assert_eq!(drained(Duration::ZERO).await.unwrap(), Drained::TimedOut { open: 1 });
    pair.blue.release();
    assert_eq!(held.await.unwrap(), "blue");
    assert_eq!(drained(Duration::from_secs(60)).await.unwrap(), Drained::Fully);
    assert_eq!(pair.blue.connections(), 0, "a kept connection of nginx is none that drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_through_a_switch_and_is_waited_for() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let mut client = world.client();
    let mut upload = client.upload("POST", "shop.test", "/echo", 6).await.unwrap();
    upload.send(b"abc").await.unwrap();
    // The trap: a body that nginx keeps to itself until it is complete would
    // reach a slot that was long thought drained.
    while pair.blue.connections() == 0 {
        tokio::task::yield_now().await;
    }
    apply(&world.router, &next(&pair.route, Slot::Green, false)).await;
    let drained = |longest| world.router.drained(&pair.route.app, Slot::Blue, &pair.route.blue, longest);
    assert_eq!(drained(Duration::ZERO).await.unwrap(), Drained::TimedOut { open: 1 });
    upload.send(b"def").await.unwrap();
    assert_eq!(upload.finish().await.unwrap().text(), "abcdef");
    assert_eq!((pair.blue.requests(), pair.green.requests()), (1, 0));
    assert_eq!(drained(Duration::from_secs(60)).await.unwrap(), Drained::Fully);
}
