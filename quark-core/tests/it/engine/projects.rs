//! Projects: which branch is deployed where, and how.

use quark_core::deployment::IdempotencyKey;
use quark_core::memory::{Behaviour, Tree};
use quark_core::project::{BranchPattern, EnvironmentId, ProjectSnapshot};
use quark_core::{
    AppName, BranchName, CommitSha, Conclusion, ContainerName, DeployRequest, Deployment, DeploymentEngine,
    Environment, ErrorKind, Project, ProjectName, PushRequest, RepositoryUrl, RollbackRequest, Source, Store,
};

use super::world::{REPOSITORY, World, app};

fn pattern(text: &str) -> BranchPattern {
    BranchPattern::parse(text).unwrap()
}

pub(super) fn branch(text: &str) -> BranchName {
    BranchName::parse(text).unwrap()
}

fn shop() -> ProjectName {
    ProjectName::parse("shop").unwrap()
}

fn named(text: &str) -> AppName {
    AppName::parse(text).unwrap()
}

/// Production, staging, and previews of features.
fn project() -> Project {
    let production = Environment::production("main").unwrap().with_domain("shop.test".parse().unwrap());
    let staging = Environment::new("staging").unwrap().with_branch(pattern("develop")).with_auto_deploy();
    let staging = Environment { id: EnvironmentId::parse("0000000a").unwrap(), ..staging };
    let previews = Environment::new("preview").unwrap().with_branch(pattern("feature/*")).with_auto_deploy();
    Project::of(app().with_env("LEVEL", "info").unwrap().with_env("WHO", "all").unwrap())
        .unwrap()
        .with_environment(production)
        .with_environment(staging.with_env("LEVEL", "debug").unwrap())
        .with_environment(previews.with_previews().with_env("LEVEL", "trace").unwrap())
}

/// A commit on a branch whose program is well.
fn commit(world: &World, on: &str) -> CommitSha {
    let repository = RepositoryUrl::parse(REPOSITORY).unwrap();
    let commit = world.source.push(&repository, &branch(on), Tree::new()).unwrap();
    world.builder.define(&commit, Behaviour::healthy());
    commit
}

async fn deploy(world: &World, engine: &DeploymentEngine, on: &str, request: DeployRequest) -> Deployment {
    commit(world, on);
    let deployment = engine.deploy_branch(&shop(), branch(on), request).await.unwrap();
    let deployment = world.end(engine, deployment.id).await;
    assert_eq!(deployment.conclusion, Some(Conclusion::Succeeded), "{:?}", deployment.failure);
    deployment
}

/// The variables that the container of a deployment has.
fn variables(world: &World, deployment: &Deployment, key: &str) -> Option<String> {
    let spec = world.runtime.spec(&ContainerName::of(&deployment.app, deployment.id, 0)).unwrap();
    spec.env.iter().find(|(known, _)| known.as_str() == key).map(|(_, value)| value.expose().to_owned())
}

fn names(snapshot: &ProjectSnapshot) -> Vec<&str> {
    snapshot.apps.iter().map(|app| app.spec.name.as_str()).collect()
}

fn hosts(world: &World, app: &AppName) -> Vec<String> {
    world.router.route(app).unwrap().domains.iter().map(ToString::to_string).collect()
}

fn push(on: &str, commit: Option<&CommitSha>, key: &str) -> PushRequest {
    PushRequest {
        repository: RepositoryUrl::parse("git@GIT.test:acme/shop.git").unwrap(),
        branch: branch(on),
        commit: commit.cloned(),
        key: IdempotencyKey::parse(key).unwrap(),
        by: None,
    }
}

async fn set() -> (World, DeploymentEngine) {
    let world = World::paused();
    let engine = world.engine().await;
    let made = engine.create_project(project()).await.unwrap();
    assert_eq!(names(&made), ["shop", "shop-env-staging"]);
    (world, engine)
}

#[tokio::test(start_paused = true)]
async fn a_branch_goes_to_its_environment_with_its_variables() {
    let (world, engine) = set().await;
    let own = DeployRequest::default().with_env("WHO", "me").unwrap();
    let main = deploy(&world, &engine, "main", DeployRequest::default()).await;
    let develop = deploy(&world, &engine, "develop", own).await;
    let feature = deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    for (deployment, app, level, who) in [
        (&main, "shop", "info", "all"),
        (&develop, "shop-env-staging", "debug", "me"),
        (&feature, feature.app.as_str(), "trace", "all"),
    ] {
        assert_eq!(deployment.app.as_str(), app);
        assert_eq!(variables(&world, deployment, "LEVEL").as_deref(), Some(level));
        assert_eq!(variables(&world, deployment, "WHO").as_deref(), Some(who));
    }
    assert!(feature.app.as_str().starts_with("shop-branch-feature-cart-"), "{}", feature.app);
    assert_eq!(hosts(&world, &named("shop"))[0], "shop.test");
    assert_eq!(
        hosts(&world, &named("shop-env-staging")),
        ["shop-env-id-0000000a.localhost", "shop-env-staging.localhost"]
    );
    let none = engine.deploy_branch(&shop(), branch("other"), DeployRequest::default()).await.unwrap_err();
    assert_eq!((none.kind(), none.code()), (ErrorKind::NotFound, "no_environment"));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn each_app_is_told_what_it_is() {
    let (world, engine) = set().await;
    let own = DeployRequest::default().with_env("QUARK_TEAM", "mine").unwrap();
    let deployment = deploy(&world, &engine, "develop", own).await;
    for (key, value) in [
        ("QUARK_APP", "shop-env-staging"),
        ("QUARK_TEAM", "mine"),
        ("QUARK_DEPLOYMENT", &deployment.id.to_string()),
        ("QUARK_SLOT", "blue"),
        ("QUARK_DOMAIN", "shop-env-staging.localhost"),
        ("QUARK_COMMIT", deployment.revision.commit.as_ref().unwrap().as_str()),
        ("QUARK_BRANCH", "develop"),
        ("QUARK_REPOSITORY", REPOSITORY),
        ("QUARK_PROJECT", "shop"),
        ("QUARK_ENVIRONMENT", "staging"),
        ("QUARK_ENVIRONMENT_ID", "0000000a"),
    ] {
        assert_eq!(variables(&world, &deployment, key).as_deref(), Some(value), "{key}");
    }
    let main = deploy(&world, &engine, "main", DeployRequest::default()).await;
    assert_eq!(variables(&world, &main, "QUARK_DOMAIN").as_deref(), Some("shop.test"));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_rollback_brings_the_variables_of_then_back() {
    let (world, engine) = set().await;
    let own = DeployRequest::default().with_env("ONLY", "then").unwrap();
    let first = deploy(&world, &engine, "develop", own).await;
    let second = deploy(&world, &engine, "develop", DeployRequest::default()).await;
    assert_eq!(variables(&world, &second, "ONLY"), None);
    deploy(&world, &engine, "develop", DeployRequest::default()).await;
    let before = engine.project(&shop()).await.unwrap().project;
    let mut changed = before.spec;
    changed.environments[1].name = "qa".parse().unwrap();
    changed.template = changed.template.with_env("LEVEL", "warn").unwrap().with_port(9);
    engine.update_project(changed, before.version, "ann").await.unwrap();
    let request = RollbackRequest { to: Some(first.id), ..RollbackRequest::default() };
    let rollback = engine.rollback(&first.app, request).await.unwrap();
    let rollback = world.end(&engine, rollback.id).await;
    assert_eq!(rollback.conclusion, Some(Conclusion::Succeeded), "{:?}", rollback.failure);
    for (key, value) in [
        ("ONLY", "then"),
        ("LEVEL", "debug"),
        ("QUARK_ENVIRONMENT", "staging"),
        ("QUARK_DEPLOYMENT", &first.id.to_string()),
        ("QUARK_COMMIT", first.revision.commit.as_ref().unwrap().as_str()),
        ("QUARK_BRANCH", "develop"),
    ] {
        assert_eq!(variables(&world, &rollback, key).as_deref(), Some(value), "{key}");
    }
    // Dead, it is made anew with the same.
    let container = ContainerName::of(&rollback.app, rollback.id, 0);
    let hash = world.runtime.spec(&container).unwrap().hash();
    engine.shutdown().await;
    world.runtime.kill(&container);
    let engine = world.engine().await;
    world.until("it runs again", || async { world.running().contains(&container.to_string()) }).await;
    assert_eq!(world.runtime.spec(&container).unwrap().hash(), hash);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_all_apps_and_a_renamed_environment_runs_on() {
    let (world, engine) = set().await;
    deploy(&world, &engine, "develop", DeployRequest::default()).await;
    let feature = deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    let switches = world.router.switches().len();
    let before = engine.project(&shop()).await.unwrap().project;
    let mut changed = before.spec.clone();
    changed.environments[1].name = "qa".parse().unwrap();
    changed.template = changed.template.with_env("NEW", "1").unwrap();
    let after = engine.update_project(changed.clone(), before.version, "ann").await.unwrap();
    assert_eq!(names(&after), ["shop", feature.app.as_str(), "shop-env-staging"]);
    assert!(after.apps.iter().all(|app| app.spec.env.keys().any(|key| key.as_str() == "NEW")));
    assert_eq!(world.router.switches().len(), switches, "what runs is left alone");
    let outdated = engine.update_project(changed, before.version, "ann").await.unwrap_err();
    assert_eq!(outdated.code(), "version_changed");
    deploy(&world, &engine, "develop", DeployRequest::default()).await;
    assert_eq!(
        hosts(&world, &named("shop-env-staging")),
        ["shop-env-id-0000000a.localhost", "shop-env-qa.localhost", "shop-env-staging.localhost"]
    );
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_is_removed() {
    let (world, engine) = set().await;
    deploy(&world, &engine, "develop", DeployRequest::default()).await;
    let feature = deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    let before = engine.project(&shop()).await.unwrap().project;
    let mut changed = before.spec;
    changed.environments.truncate(1);
    engine.update_project(changed, before.version, "ann").await.unwrap();
    // One that dies right then changes nothing: the removals are written down.
    engine.shutdown().await;
    let engine = world.engine().await;
    for gone in [named("shop-env-staging"), feature.app] {
        world.until("its app is gone", || async { world.store.app(&gone).await.unwrap().is_none() }).await;
        assert!(world.router.route(&gone).is_none());
    }
    assert!(world.running().is_empty());
    assert_eq!(names(&engine.project(&shop()).await.unwrap()), ["shop"]);
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_project_goes_with_all_of_its_apps() {
    let (world, engine) = set().await;
    deploy(&world, &engine, "main", DeployRequest::default()).await;
    deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    let removals = engine.remove_project(&shop(), "ann").await.unwrap();
    assert_eq!(removals.len(), 3);
    let again = engine.remove_project(&shop(), "ann").await.unwrap_err();
    assert!(["project_removed", "project_not_found"].contains(&again.code()), "{again:?}");
    for removal in removals {
        assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    }
    assert_eq!(engine.project(&shop()).await.unwrap_err().code(), "project_not_found");
    assert!(engine.apps().await.unwrap().is_empty() && world.runtime.containers().is_empty());
    engine.create_project(project()).await.unwrap();
    deploy(&world, &engine, "main", DeployRequest::default()).await;
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_deploys_where_it_is_wanted_and_only_once() {
    let (world, engine) = set().await;
    let head = commit(&world, "develop");
    let first = engine.push(push("develop", Some(&head), "one")).await.unwrap();
    let second = engine.push(push("develop", Some(&head), "one")).await.unwrap();
    let [pushed] = &first[..] else { panic!("{first:?}") };
    assert_eq!((pushed.project.as_str(), pushed.environment.as_str()), ("shop", "staging"));
    let deployment = pushed.deployment.as_ref().unwrap();
    assert_eq!(second[0].deployment.as_ref().unwrap().id, deployment.id);
    assert_eq!(world.end(&engine, deployment.id).await.conclusion, Some(Conclusion::Succeeded));
    // Production does not deploy by itself; nobody wants `other`; another repository is another.
    let main = commit(&world, "main");
    assert!(engine.push(push("main", Some(&main), "two")).await.unwrap().is_empty());
    assert!(engine.push(push("other", Some(&main), "three")).await.unwrap().is_empty());
    let repository = RepositoryUrl::parse("https://git.test/acme/other").unwrap();
    assert!(engine.push(PushRequest { repository, ..push("develop", Some(&head), "four") }).await.unwrap().is_empty());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_preview_comes_with_its_branch_and_goes_with_it() {
    let (world, engine) = set().await;
    let repository = RepositoryUrl::parse(REPOSITORY).unwrap();
    let head = commit(&world, "feature/cart");
    let pushed = engine.push(push("feature/cart", Some(&head), "come")).await.unwrap();
    let made = pushed[0].deployment.as_ref().unwrap().clone();
    assert_eq!(world.end(&engine, made.id).await.conclusion, Some(Conclusion::Succeeded));
    // Told that it is gone, which it is not: it was told late, or for another reason.
    assert!(engine.push(push("feature/cart", None, "early")).await.unwrap().is_empty());
    world.source.forget_branch(&repository, &branch("feature/cart"));
    let gone = engine.push(push("feature/cart", None, "gone")).await.unwrap();
    let removal = gone[0].deployment.as_ref().unwrap().clone();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert!(world.store.app(&made.app).await.unwrap().is_none());
    assert!(engine.push(push("feature/cart", None, "gone")).await.unwrap().is_empty());
    // The first word, told once more, does not bring it back.
    let late = engine.push(push("feature/cart", Some(&head), "come")).await.unwrap();
    assert_eq!(late[0].deployment.as_ref().unwrap().id, made.id);
    assert!(world.store.app(&made.app).await.unwrap().is_none());
    // The branch comes again, and the old word is told once more.
    let head = commit(&world, "feature/cart");
    let pushed = engine.push(push("feature/cart", Some(&head), "again")).await.unwrap();
    let again = pushed[0].deployment.as_ref().unwrap().clone();
    assert_eq!((&again.app, world.end(&engine, again.id).await.conclusion), (&made.app, Some(Conclusion::Succeeded)));
    let told = engine.push(push("feature/cart", None, "gone")).await.unwrap();
    assert_eq!(told[0].deployment.as_ref().unwrap().id, removal.id);
    assert!(world.store.app(&made.app).await.unwrap().unwrap().removed_at.is_none());
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn many_branches_at_once_get_an_app_each() {
    let (world, engine) = set().await;
    let branches: Vec<String> = ["a", "b", "a-b", "a/b", "A"].iter().map(|name| format!("feature/{name}")).collect();
    for name in &branches {
        commit(&world, name);
    }
    let asked = branches.iter().chain(&branches).map(|name| {
        let engine = engine.clone();
        async move { engine.deploy_branch(&shop(), branch(name), DeployRequest::default()).await.unwrap().app }
    });
    let apps = futures_util::future::join_all(asked).await;
    let distinct: std::collections::BTreeSet<_> = apps.iter().collect();
    assert_eq!((distinct.len(), &apps[..5]), (5, &apps[5..]));
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_apps_of_a_project_are_its_own() {
    let (world, engine) = set().await;
    let staging = named("shop-env-staging");
    let record = engine.app(&staging).await.unwrap();
    let update = engine.update_app(record.spec.clone().with_port(1), record.version).await.unwrap_err();
    let remove = engine.remove_app(&staging, "ann").await.unwrap_err();
    assert_eq!((update.code(), remove.code()), ("app_of_project", "app_of_project"));
    assert!(update.hint().unwrap().contains("project"));
    let mut taken = app();
    taken.name = named("other-env-id-0a1b2c3d");
    assert_eq!(engine.create_app(taken).await.unwrap_err().code(), "name_reserved");
    let mut forged = record.spec;
    forged.name = named("forged");
    assert_eq!(engine.create_app(forged).await.unwrap_err().code(), "environment_set");
    assert_eq!(engine.create_app(app()).await.unwrap_err().code(), "app_exists");
    // An environment's variables are for its branches.
    let wish = |on: &str| DeployRequest { branch: Some(branch(on)), ..DeployRequest::default() };
    let stray = engine.deploy(&named("shop"), wish("feature/cart")).await.unwrap_err();
    assert_eq!((stray.code(), stray.field()), ("branch_not_of_environment", Some("branch")));
    commit(&world, "main");
    engine.deploy(&named("shop"), DeployRequest::default()).await.unwrap();
    // A preview may go alone.
    let feature = deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    engine.remove_app(&feature.app, "ann").await.unwrap();
    engine.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_name_of_another_refuses_all_of_it() {
    let world = World::paused();
    let engine = world.engine().await;
    let mut other = app().with_domain("shop.test".parse().unwrap());
    other.name = named("other");
    engine.create_app(other).await.unwrap();
    let refused = engine.create_project(project()).await.unwrap_err();
    assert_eq!(refused.code(), "domain_taken");
    assert_eq!(engine.apps().await.unwrap().len(), 1);
    assert_eq!(engine.project(&shop()).await.unwrap_err().code(), "project_not_found");
    let Source::Git { .. } = project().template.source else { panic!("git") };
    engine.shutdown().await;
}

/// Somebody has asked for each of its deployments; its app goes all the same.
#[tokio::test(start_paused = true)]
async fn a_preview_that_no_push_has_made_goes_with_its_branch() {
    let (world, engine) = set().await;
    let mut spec = project();
    for environment in &mut spec.environments {
        environment.auto_deploy = false;
    }
    let version = engine.project(&shop()).await.unwrap().project.version;
    // The ids stay: an environment is known by its own.
    let known = engine.project(&shop()).await.unwrap().project.spec.environments;
    for (environment, known) in spec.environments.iter_mut().zip(known) {
        environment.id = known.id;
    }
    engine.update_project(spec, version, "ann").await.unwrap();
    let made = deploy(&world, &engine, "feature/cart", DeployRequest::default()).await;
    let head = commit(&world, "feature/cart");
    assert!(engine.push(push("feature/cart", Some(&head), "moved")).await.unwrap().is_empty(), "nobody has asked");
    world.source.forget_branch(&RepositoryUrl::parse(REPOSITORY).unwrap(), &branch("feature/cart"));
    let gone = engine.push(push("feature/cart", None, "gone")).await.unwrap();
    let removal = gone[0].deployment.as_ref().unwrap().clone();
    assert_eq!(world.end(&engine, removal.id).await.conclusion, Some(Conclusion::Succeeded));
    assert!(world.store.app(&made.app).await.unwrap().is_none());
    engine.shutdown().await;
}
