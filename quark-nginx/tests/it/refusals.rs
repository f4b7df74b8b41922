//! What nginx refuses, and that nothing is worse after it.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use quark_core::backend::Router as _;
use quark_core::deployment::Endpoint;
use quark_core::{Domain, Error, ErrorKind, Slot};
use quark_nginx::{NginxConfig, NginxRouter, ReloadBy};

use crate::foreign::Foreign;
use crate::support::{Pair, World, app, apply, call, free_address, next, nginx, observe, open_folder, who};

/// The error of an `apply`.
async fn refused(router: &NginxRouter, route: &quark_core::backend::Route) -> Error {
    router.apply(&call(route.fence.0), route).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_of_somebody_else_is_named_and_hinders_no_switch() {
    let Some(nginx) = nginx() else { return };
    let foreign = Foreign::start(&nginx);
    let router = NginxRouter::open(foreign.config.clone()).await.unwrap();
    let (pair, other) = (Pair::start("shop").await, Pair::start("blog").await);
    apply(&router, &pair.route).await;
    let broken = foreign.site("theirs.conf");
    std::fs::write(&broken, "server { no_such_directive on; }\n").unwrap();

    assert_eq!(apply(&router, &next(&pair.route, Slot::Green, true)).await, (Slot::Green, true, 2));
    let error = refused(&router, &other.route).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "foreign_config"));
    assert!(error.message().contains(&*broken.to_string_lossy()), "{error}");
    assert!(error.message().contains("[emerg] unknown directive"), "{error}");
    assert!(!foreign.site("quark-blog.conf").exists());
    assert_eq!(observe(&router, &app("blog")).await, None);
    assert_eq!(who(foreign.listen, "shop.test").await, "green");

    std::fs::remove_file(broken).unwrap();
    apply(&router, &other.route).await;
    assert_eq!(who(foreign.listen, "blog.test").await, "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_folder_of_our_own_a_foreign_file_is_not_read_at_all() {
    let Some(world) = World::start().await else { return };
    std::fs::write(world.home().join("conf.d/theirs.conf"), "no_such_directive on;\n").unwrap();
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    assert_eq!(world.who("shop.test").await, "blue");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_running_nginx_refuses_is_put_back() {
    let Some(nginx) = nginx() else { return };
    let foreign = Foreign::start(&nginx);
    let router = NginxRouter::open(foreign.config.clone()).await.unwrap();
    let pair = Pair::start("shop").await;
    apply(&router, &pair.route).await;
    let before = std::fs::read_to_string(foreign.site("quark-shop.conf")).unwrap();
    // This nginx has no room for long names; the trial with our settings has.
    let mut long = next(&pair.route, Slot::Green, true);
    long.domains = vec![Domain::parse("a.".repeat(120) + "test").unwrap()];
    let error = refused(&router, &long).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "config_refused"));
    assert!(error.message().contains("server_names_hash"), "{error}");
    assert_eq!(std::fs::read_to_string(foreign.site("quark-shop.conf")).unwrap(), before);
    assert_eq!(observe(&router, &app("shop")).await, Some((Slot::Blue, false, 1)));
    assert_eq!(who(foreign.listen, "shop.test").await, "blue");
    assert_eq!(apply(&router, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_refused_change_hinders_none_that_waits_with_it() {
    let Some(nginx) = nginx() else { return };
    let foreign = Foreign::start(&nginx);
    let router = NginxRouter::open(foreign.config.clone()).await.unwrap();
    let (a, b, c) = (Pair::start("a").await, Pair::start("b").await, Pair::start("c").await);
    let mut bad = b.route.clone();
    bad.domains = vec![Domain::parse("a.".repeat(120) + "test").unwrap()];
    let (first, second, third) =
        tokio::join!(apply(&router, &a.route), refused(&router, &bad), apply(&router, &c.route));
    assert_eq!((first, third), ((Slot::Blue, false, 1), (Slot::Blue, false, 1)));
    assert_eq!(second.kind(), ErrorKind::InvalidConfig);
    for (name, answer) in [("a.test", "blue"), ("b.test", "404"), ("c.test", "blue")] {
        assert_eq!(who(foreign.listen, name).await, answer);
    }
}

/// Both the test and the reload of nginx succeed then; see `address_taken`.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_is_found_out_by_the_number_of_the_reload() {
    let Some(nginx) = nginx() else { return };
    let foreign = Foreign::start(&nginx);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |listen: SocketAddr, status: SocketAddr| {
        let reload = ReloadBy::PidFile(foreign.folder.path().join("nginx.pid"));
        let (home, sites) = (foreign.folder.path().join("q"), foreign.folder.path().join("conf.d"));
        NginxConfig::attach(home, sites, listen, status, reload)
            .with_error_log(foreign.folder.path().join("error.log"))
            .with_binary(&nginx)
            .without_catch_all()
    };
    let router = NginxRouter::open(at(taken.local_addr().unwrap(), free_address())).await.unwrap();
    let pair = Pair::start("shop").await;
    let error = refused(&router, &pair.route).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "address_taken"));
    assert!(error.message().contains("Address already in use"), "{error}");
    assert!(!foreign.site("quark-shop.conf").exists());
    assert_eq!(observe(&router, &app("shop")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_hinders_the_start() {
    let Some(nginx) = nginx() else { return };
    let folder = open_folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = NginxConfig::own(folder.path().join("q"), taken.local_addr().unwrap()).with_binary(nginx);
    let error = NginxRouter::open(config).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "address_taken"));
}

/// A stand-in for nginx whose test fails while the file `refuse` is there.
fn picky(nginx: &Path, folder: &Path) -> PathBuf {
    let (path, nginx, refuse) = (folder.join("picky"), nginx.display(), folder.join("refuse"));
    let refuse = refuse.display();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = -t ] && [ -e {refuse} ]; then\n\
         echo 'nginx: [emerg] \"x\" is not to my taste in site.conf:7' >&2\nexit 1\nfi\nexec {nginx} \"$@\"\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_test_refuses_is_never_written() {
    let Some(world) = World::start().await else { return };
    let nginx = nginx().unwrap();
    // Not among the files in memory, where programs may not be run.
    let folder = tempfile::tempdir().unwrap();
    let config = world.config.clone().with_binary(picky(&nginx, folder.path()));
    let router = NginxRouter::open(config).await.unwrap();
    let pair = Pair::start("shop").await;
    apply(&router, &pair.route).await;
    std::fs::write(folder.path().join("refuse"), "").unwrap();
    let files = || {
        ["00-quark.conf", "quark-shop.conf"].map(|file| std::fs::read(world.home().join("conf.d").join(file)).unwrap())
    };
    let before = files();
    let mut renamed = next(&pair.route, Slot::Green, false);
    renamed.domains.push(Domain::parse("new.test").unwrap());
    let error = refused(&router, &renamed).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidConfig, "config_refused"));
    assert!(error.message().contains("not to my taste"), "{error}");
    assert_eq!(files(), before);
    assert_eq!(observe(&router, &app("shop")).await, Some((Slot::Blue, false, 1)));
    assert_eq!(std::fs::read_dir(world.home().join("staging")).unwrap().count(), 0);
    // A switch needs no test.
    assert_eq!(apply(&router, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
    std::fs::remove_file(folder.path().join("refuse")).unwrap();
    renamed.generation = renamed.generation.next();
    assert_eq!(apply(&router, &renamed).await, (Slot::Green, false, 3));
    assert_eq!(who(world.listen, "new.test").await, "green");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_endpoint_is_refused_before_anything() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let bad =
        quark_core::backend::Route { green: Endpoint::new("10.0.0.1:80; }"), ..next(&pair.route, Slot::Blue, false) };
    assert_eq!(refused(&world.router, &bad).await.code(), "invalid_endpoint");
    assert_eq!(observe(&world.router, &app("shop")).await, Some((Slot::Blue, false, 1)));
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Markers that workers cannot see would make every switch a silent failure.
/// Only workers of another user can be kept from seeing them.
#[tokio::test(flavor = "multi_thread")]
async fn markers_that_workers_cannot_see_are_noticed() {
    let Some(world) = World::start().await else { return };
    if !is_root() {
        return;
    }
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let permit = |mode| std::fs::set_permissions(world.home(), std::fs::Permissions::from_mode(mode)).unwrap();
    permit(0o700);
    let error = refused(&world.router, &next(&pair.route, Slot::Green, false)).await;
    assert_eq!((error.kind(), error.code()), (ErrorKind::PermissionDenied, "markers_not_seen"));
    let error = NginxRouter::open(world.config.clone()).await.unwrap_err();
    assert_eq!(error.code(), "markers_not_seen");
    assert!(error.message().contains(&*world.home().to_string_lossy()), "{error}");
    permit(0o755);
    assert_eq!(observe(&world.router, &app("shop")).await, Some((Slot::Blue, false, 1)));
    assert_eq!(apply(&world.router, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
}

/// A disk that fails in the middle of a switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_that_cannot_be_made_leaves_the_old_slot() {
    let Some(world) = World::start().await else { return };
    let pair = Pair::start("shop").await;
    apply(&world.router, &pair.route).await;
    let marker = world.home().join("markers/shop.green");
    std::fs::create_dir(&marker).unwrap();
    let error = refused(&world.router, &next(&pair.route, Slot::Green, false)).await;
    assert!(error.message().contains(&*marker.to_string_lossy()), "{error}");
    assert_eq!(observe(&world.router, &app("shop")).await.map(|(active, ..)| active), Some(Slot::Blue));
    std::fs::remove_dir(marker).unwrap();
    assert_eq!(apply(&world.router, &next(&pair.route, Slot::Green, false)).await, (Slot::Green, false, 2));
}
