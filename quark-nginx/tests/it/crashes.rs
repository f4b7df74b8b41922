//! What a crash leaves, of the engine or of nginx, and how it is mended.

use std::path::Path;

use quark_core::backend::Router as _;
use quark_core::deployment::Fence;
use quark_core::process::Signal;
use quark_core::{ErrorKind, Slot};
use quark_nginx::NginxRouter;
use rustix::process::{Pid, Signal as SystemSignal, kill_process};

use crate::support::{Pair, World, app, apply, call, next, observe};

fn write(folder: &Path, name: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), "half of a").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_half_written_is_removed_at_the_next_start() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let home = world.home();
    let leftovers = [
        ("conf.d", ".quark-blog.conf.tmp"),
        ("conf.d", ".00-quark.conf.tmp"),
        ("", ".nginx.conf.tmp"),
        ("state", ".blog.json.tmp"),
        ("staging/blog", "site.conf"),
    ];
    for (folder, name) in leftovers {
        write(&home.join(folder), name);
    }
    write(&home.join("conf.d"), ".theirs.swp");
    let again = NginxRouter::open(world.config.clone()).await.unwrap();
    for (folder, name) in leftovers {
        assert!(!home.join(folder).join(name).exists(), "{folder}/{name} is left");
    }
    assert!(home.join("conf.d/.theirs.swp").exists(), "that was not ours");
    assert_eq!(observe(&again, &app("shop")).await, Some((Slot::Blue, false, 1)));
}

/// Each state that a crash between two writes of an `apply` can leave: the
/// route is then what it was or what it shall be, and the same `apply` mends it.
#[tokio::test(flavor = "multi_thread")]
async fn any_prefix_of_a_switch_is_whole() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    let green = next(&pair.route, Slot::Green, true);
    let state = world.home().join("state/shop.json");
    apply(&world.router, &pair.route).await;
    let before = std::fs::read_to_string(&state).unwrap();
    apply(&world.router, &green).await;
    let after = std::fs::read_to_string(&state).unwrap();
    let markers = [world.home().join("markers/shop.backup"), world.home().join("markers/shop.green")];
    for prefix in 0..4 {
        for marker in &markers {
            let _ = std::fs::remove_file(marker);
        }
        std::fs::write(&state, if prefix >= 1 { &after } else { &before }).unwrap();
        for marker in markers.iter().take(prefix.max(1) - 1) {
            std::fs::write(marker, "").unwrap();
        }
        let crashed = NginxRouter::open(world.config.clone()).await.unwrap();
        let (active, backup, generation) = observe(&crashed, &app("shop")).await.unwrap();
        let is_done = prefix == 3;
        assert_eq!((active == Slot::Green, backup), (is_done, prefix >= 2), "after {prefix} writes");
        assert_eq!(generation, if is_done { 2 } else { 1 }, "after {prefix} writes");
        assert_eq!(world.who("shop.test").await, active.as_str());
        assert_eq!(apply(&crashed, &green).await, (Slot::Green, true, 2), "after {prefix} writes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_written_and_not_read_is_read_or_replaced() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let site = world.home().join("conf.d/quark-shop.conf");
    let before = std::fs::read_to_string(&site).unwrap();
    std::fs::write(&site, before.replace("shop.test", "new.test")).unwrap();
    // nginx does not know it yet; the old route is wanted again.
    assert_eq!(apply(&world.router, &pair.route).await, (Slot::Blue, false, 1));
    assert_eq!(std::fs::read_to_string(&site).unwrap(), before);
    // Removed and not read: it is served until it is removed again.
    std::fs::remove_file(&site).unwrap();
    assert_eq!(observe(&world.router, &app("shop")).await, Some((Slot::Blue, false, 1)));
    world.router.remove(&call(1), &app("shop")).await.unwrap();
    assert_eq!(world.who("shop.test").await, "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_engine_is_fenced_off_for_good() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    let newer = quark_core::backend::Route { fence: Fence(5), ..pair.route.clone() };
    apply(&world.router, &newer).await;
    let again = NginxRouter::open(world.config.clone()).await.unwrap();
    let late = quark_core::backend::Route { fence: Fence(4), ..next(&newer, Slot::Green, false) };
    assert_eq!(again.apply(&call(4), &late).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(again.remove(&call(4), &app("shop")).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(observe(&again, &app("shop")).await, Some((Slot::Blue, false, 1)));
    again.remove(&call(5), &app("shop")).await.unwrap();
    assert_eq!(again.apply(&call(4), &late).await.unwrap_err().kind(), ErrorKind::Fenced, "it must not come back");
    assert_eq!(world.who("shop.test").await, "404");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_a_master_serve_and_are_replaced() {
    let Some(world) = World::start().await else { return };
    let (pair, other) = (Pair::start("shop").await, Pair::start("blog").await);
    apply(&world.router, &pair.route).await;
    let master = world.master();
    assert!(master.signal(Signal::Kill));
    while master.is_alive() {
        tokio::task::yield_now().await;
    }
    // A switch is the business of workers only.
    assert_eq!(apply(&world.router, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
    assert_eq!(world.who("shop.test").await, "green");
    let error = world.router.apply(&call(1), &other.route).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unavailable, "nginx_master_gone"));
    let again = NginxRouter::open(world.config.clone()).await.unwrap();
    assert_eq!(observe(&again, &app("shop")).await, Some((Slot::Green, false, 2)));
    apply(&again, &other.route).await;
    assert_eq!(world.who("blog.test").await, "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nginx_that_was_killed_whole_is_started_by_the_next_change() {
    let Some(world) = World::start().await else { return };
    let (pair, other) = (Pair::start("shop").await, Pair::start("blog").await);
    apply(&world.router, &next(&pair.route, Slot::Green, false)).await;
    world.router.stop_nginx().await.unwrap();
    // A socket that nobody removed would keep nginx from starting.
    drop(std::os::unix::net::UnixListener::bind(world.home().join("status.sock")).unwrap());
    assert_eq!(apply(&world.router, &other.route).await, (Slot::Blue, false, 1));
    assert_eq!(world.who("shop.test").await, "green");
    assert_eq!(world.who("blog.test").await, "blue");
}

/// A master that hangs: nothing is known of the reload, and nothing is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_nobody_confirms_leaves_the_routes_before() {
    let Some(world) = World::start().await else { return };
    let (pair, other) = (Pair::start("shop").await, Pair::start("blog").await);
    apply(&world.router, &pair.route).await;
    let config = world.config.clone().with_reload_timeout(std::time::Duration::from_millis(300));
    let impatient = NginxRouter::open(config).await.unwrap();
    let master = Pid::from_raw(i32::try_from(world.master().pid).unwrap()).unwrap();
    kill_process(master, SystemSignal::STOP).unwrap();
    let error = impatient.apply(&call(1), &other.route).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, "reload_unconfirmed"));
    assert!(!world.home().join("conf.d/quark-blog.conf").exists());
    // What does not need the master goes on.
    assert_eq!(apply(&impatient, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
    kill_process(master, SystemSignal::CONT).unwrap();
    assert_eq!(apply(&world.router, &other.route).await, (Slot::Blue, false, 1));
    assert_eq!(world.who("blog.test").await, "blue");
    assert_eq!(world.who("shop.test").await, "green");
}
