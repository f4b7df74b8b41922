//! Cases about apps.

use std::sync::Arc;

use super::fixture::StoreFixture;
use super::sample::{self, moment};
use super::scene::Scene;
use crate::app::{AppName, Domain};
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{AppRecord, Serving};
use crate::{ErrorKind, Result};

/// An app that was created is read back equal; names are unique (`AlreadyExists`).
pub async fn an_app_is_read_back_equal(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let spec = worked("making an app", sample::app("shop"))?;
    let created = scene.create(spec.clone()).await?;
    ensure!(created.spec == spec, "the app was created as {:?} instead of {spec:?}", created.spec);
    ensure!(created.serving == Serving::default(), "a new app serves {:?}", created.serving);
    let times = (created.created_at, created.updated_at, created.removed_at);
    ensure!(times == (moment(0), moment(0), None), "a new app has the times {times:?}");
    let read = scene.record(&spec.name).await?;
    ensure!(read == created, "{created:?} was read back as {read:?}");
    let unknown = worked("making a name", AppName::parse("unknown"))?;
    let found = worked("reading an app", scene.store.app(&unknown).await)?;
    ensure!(found.is_none(), "an app that was never created is {found:?}");

    let mut namesake = spec.clone().with_port(9);
    namesake.domains.clear();
    let second = scene.store.create_app(namesake, moment(1)).await;
    refused("creating an app of the same name", second, ErrorKind::AlreadyExists, None)?;
    let read = scene.record(&spec.name).await?;
    ensure!(read == created, "an app of the same name changed the first to {read:?}");

    let blog = worked("making an app", sample::app("blog"))?;
    let said = at_once((0..CROWD).map(|_| {
        let (store, blog) = (Arc::clone(&scene.store), blog.clone());
        async move { store.create_app(blog, moment(2)).await }
    }));
    one_succeeds("creating an app of one name at once", said.await?, ErrorKind::AlreadyExists, None)
}

/// Reads all apps in the order of their names.
pub async fn apps_are_listed_by_name(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let mut created = Vec::new();
    for name in ["shop", "a-b", "zoo", "a", "ab", "blog"] {
        created.push(scene.app(name).await?);
    }
    created.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
    let listed = worked("reading all apps", scene.store.apps().await)?;
    let names = |apps: &[AppRecord]| apps.iter().map(|app| app.spec.name.to_string()).collect::<Vec<_>>();
    ensure!(names(&listed) == names(&created), "the apps are listed as {:?}", names(&listed));
    ensure!(listed == created, "an app is listed otherwise than it was created");
    Ok(())
}

/// A host name belongs to one app; a second one that wants it is a `Conflict` with code `domain_taken`.
pub async fn a_host_name_belongs_to_one_app(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let shop = scene.app("shop").await?;
    let blog = scene.app("blog").await?;
    let wanted = worked("making a host name", Domain::parse("www.shop.test"))?;
    let taken = (ErrorKind::Conflict, Some("domain_taken"));

    let mut thief = worked("making an app", sample::app("thief"))?;
    thief.domains.push(wanted.clone());
    let created = scene.store.create_app(thief.clone(), moment(1)).await;
    refused("creating an app with the host name of another", created, taken.0, taken.1)?;
    let found = worked("reading an app", scene.store.app(&thief.name).await)?;
    ensure!(found.is_none(), "an app was refused and is there nevertheless");

    let greedy = blog.spec.clone().with_domain(wanted.clone());
    let updated = scene.store.update_app(greedy.clone(), blog.version, moment(1)).await;
    refused("changing an app to the host name of another", updated, taken.0, taken.1)?;
    let read = scene.record(&blog.spec.name).await?;
    ensure!(read == blog, "a change that was refused left {read:?}");

    // A name that was given up is free, and an app may keep its own.
    let mut modest = shop.spec.clone();
    modest.domains.retain(|domain| *domain != wanted);
    worked("giving a host name up", scene.store.update_app(modest, shop.version, moment(2)).await)?;
    let updated = scene.store.update_app(greedy, blog.version, moment(3)).await;
    worked("taking a host name that was given up", updated)?;

    let said = at_once((0..CROWD).map(|number| {
        let store = Arc::clone(&scene.store);
        async move {
            let mut app = sample::app(&format!("crowd-{number}"))?;
            app.domains.push(Domain::parse("popular.test")?);
            store.create_app(app, moment(4)).await
        }
    }));
    one_succeeds("wanting one host name at once", said.await?, taken.0, taken.1)
}

/// `update_app` with an outdated version is a `Conflict` with code `version_changed` and changes nothing.
pub async fn update_app_compares_the_version(fixture: &dyn StoreFixture) -> CaseResult {
    let scene = Scene::new(fixture);
    let created = scene.app("shop").await?;
    let spec = created.spec.clone().with_port(81);
    let updated = worked("changing an app", scene.store.update_app(spec.clone(), created.version, moment(5)).await)?;
    let expected = AppRecord { spec: spec.clone(), version: updated.version, updated_at: moment(5), ..created.clone() };
    ensure!(updated == expected, "the app was changed to {updated:?} instead of {expected:?}");
    ensure!(updated.version > created.version, "the version did not grow: {:?}", updated.version);
    let read = scene.record(&spec.name).await?;
    ensure!(read == updated, "the changed app {updated:?} was read back as {read:?}");

    let late = spec.clone().with_port(82);
    let outdated = scene.store.update_app(late.clone(), created.version, moment(6)).await;
    refused("changing an outdated version", outdated, ErrorKind::Conflict, Some("version_changed"))?;
    let read = scene.record(&spec.name).await?;
    ensure!(read == updated, "a change that was refused left {read:?}");

    let mut unknown = late.clone();
    unknown.name = worked("making a name", AppName::parse("unknown"))?;
    unknown.domains.clear();
    let unknown = scene.store.update_app(unknown, updated.version, moment(6)).await;
    refused("changing an unknown app", unknown, ErrorKind::NotFound, None)?;

    let said = at_once((0..CROWD).map(|_| {
        let (store, late, version) = (Arc::clone(&scene.store), late.clone(), updated.version);
        async move { store.update_app(late, version, moment(7)).await }
    }));
    one_succeeds("changing one version at once", said.await?, ErrorKind::Conflict, Some("version_changed"))
}

/// Checks that of many calls one succeeded and the others were refused.
pub(super) fn one_succeeds<T: std::fmt::Debug>(
    what: &str,
    said: Vec<Result<T>>,
    kind: ErrorKind,
    code: Option<&str>,
) -> CaseResult {
    let (done, failed): (Vec<_>, Vec<_>) = said.into_iter().partition(Result::is_ok);
    ensure!(done.len() == 1, "{what} succeeded {} times: {done:?}, {failed:?}", done.len());
    for result in failed {
        refused(what, result, kind, code)?;
    }
    Ok(())
}
