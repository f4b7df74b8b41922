//! Cases about projects and their apps.

use super::fixture::StoreFixture;
use super::sample::{self, ALL, moment};
use super::scene::{Scene, job, unchanged};
use crate::app::{App, AppName, Domain};
use crate::backend::{ProjectChange, ProjectWrite, ProjectWritten};
use crate::conformance::CaseResult;
use crate::conformance::outcome::{ensure, refused, worked};
use crate::deployment::{Conclusion, Deployment, DeploymentKind, EventKind, State, Version};
use crate::project::{EnvironmentId, EnvironmentName, EnvironmentRef, Project, ProjectName, ProjectSnapshot};
use crate::{Environment, Error, ErrorKind, Result};

/// A project of a name, with an environment for `main`.
fn project(name: &str) -> Result<Project> {
    let mut template = sample::app(name)?;
    template.domains.clear();
    let environment = Environment { id: id()?, ..Environment::production("main")? };
    Ok(Project::of(template)?.with_environment(environment.with_env("TITLE", sample::ODD_TEXT)?))
}

fn id() -> Result<EnvironmentId> {
    EnvironmentId::parse("0a1b2c3d")
}

/// An app of a project, with a host name of its own.
fn app(project: &ProjectName, name: &str) -> Result<App> {
    let mut app = sample::app(name)?;
    app.domains = vec![Domain::parse(format!("{name}.test"))?];
    app.environment = Some(EnvironmentRef {
        project: project.clone(),
        id: id()?,
        name: EnvironmentName::parse("production")?,
        branch: None,
    });
    Ok(app)
}

struct Stage<'a> {
    scene: Scene<'a>,
    name: ProjectName,
    spec: Project,
}

impl<'a> Stage<'a> {
    /// A project `shop` with the apps `shop` and `shop-env-next`.
    async fn set(fixture: &'a dyn StoreFixture) -> CaseResult<Self> {
        let spec = worked("making a project", project("shop"))?;
        let stage = Self { scene: Scene::new(fixture), name: spec.name.clone(), spec };
        let apps = vec![stage.app("shop")?, stage.app("shop-env-next")?];
        worked("creating a project", stage.put(None, apps).await)?;
        Ok(stage)
    }

    fn app(&self, name: &str) -> CaseResult<App> {
        worked("making an app", app(&self.name, name))
    }

    /// What a write says that changes nothing.
    fn nothing(&self, expected: Option<Version>) -> ProjectWrite {
        let (project, change) = (self.name.clone(), ProjectChange::Stays);
        ProjectWrite { project, expected, change, apps: Vec::new(), removals: Vec::new(), at: moment(9) }
    }

    async fn put(&self, expected: Option<Version>, apps: Vec<App>) -> Result<ProjectWritten> {
        let change = ProjectChange::Becomes(Box::new(self.spec.clone()));
        self.scene.store.write_project(ProjectWrite { change, apps, ..self.nothing(expected) }).await
    }

    async fn seen(&self) -> CaseResult<Option<ProjectSnapshot>> {
        worked("reading a project", self.scene.store.project(&self.name).await)
    }

    async fn read(&self) -> CaseResult<ProjectSnapshot> {
        self.seen().await?.ok_or_else(|| "a project cannot be read".to_owned())
    }

    fn removal(&self, app: &App) -> CaseResult<Deployment> {
        let draft = worked("making a deployment", sample::deployment(app, moment(10)))?;
        Ok(Deployment { kind: DeploymentKind::Remove, key: None, ..draft })
    }

    /// Checks that a write is refused and changes nothing.
    async fn refuses(&self, what: &str, write: ProjectWrite, kind: ErrorKind, code: &str) -> CaseResult<Error> {
        let before = self.everything().await?;
        let error = refused(what, self.scene.store.write_project(write).await, kind, Some(code))?;
        let after = self.everything().await?;
        ensure!(before == after, "{what} was refused and left a trace:\nbefore {before}\nafter {after}");
        Ok(error)
    }

    async fn everything(&self) -> CaseResult<String> {
        let store = &self.scene.store;
        let projects = worked("reading all projects", store.projects().await)?;
        let apps = worked("reading all apps", store.apps().await)?;
        let unfinished = self.scene.unfinished().await?;
        let events = self.scene.events(None).await?;
        Ok(format!("{projects:?} {apps:?} {unfinished:?} {events:?} {:?}", self.scene.jobs().await?))
    }
}

/// A project that was written is read back equal, with its apps; names are unique (`AlreadyExists`,
/// `project_exists`). `projects` yields all of them in the order of their names.
pub async fn a_project_is_read_back_with_its_apps(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    let read = stage.read().await?;
    ensure!(read.project.spec == stage.spec, "{:?} was read back as {:?}", stage.spec, read.project.spec);
    let record = &read.project;
    let times = (record.created_at, record.updated_at, record.removed_at);
    ensure!(times == (moment(9), moment(9), None), "a new project has the times {times:?}");
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let found: Vec<_> = read.apps.iter().map(|app| app.spec.name.to_string()).collect();
    ensure!(found == names(&["shop", "shop-env-next"]), "the apps of the project are {found:?}");
    for app in &read.apps {
        let alone = stage.scene.record(&app.spec.name).await?;
        ensure!(
            alone == *app && app.spec == stage.app(app.spec.name.as_str())?,
            "an app was read as {app:?}, {alone:?}"
        );
    }
    // Of others: not among them.
    stage.scene.app("stranger").await?;
    for name in ["zoo", "acme"] {
        let spec = worked("making a project", project(name))?;
        let (name, change) = (spec.name.clone(), ProjectChange::Becomes(Box::new(spec)));
        let write = ProjectWrite { project: name, change, ..stage.nothing(None) };
        worked("creating a project", stage.scene.store.write_project(write).await)?;
    }
    ensure!(stage.read().await? == read, "other apps and projects have changed it to {:?}", stage.read().await?);
    let listed = worked("reading all projects", stage.scene.store.projects().await)?;
    let found: Vec<_> = listed.iter().map(|project| project.spec.name.to_string()).collect();
    ensure!(found == names(&["acme", "shop", "zoo"]), "the projects are listed as {found:?}");
    let again = ProjectWrite {
        change: ProjectChange::Becomes(Box::new(stage.spec.clone())),
        apps: vec![stage.app("shop")?, stage.app("shop-env-next")?],
        ..stage.nothing(None)
    };
    stage.refuses("creating a project twice", again, ErrorKind::AlreadyExists, "project_exists").await?;
    let unknown = worked("making a name", ProjectName::parse("unknown"))?;
    let found = worked("reading a project", stage.scene.store.project(&unknown).await)?;
    ensure!(found.is_none(), "a project that was never created is {found:?}");
    let write = ProjectWrite { project: unknown, ..stage.nothing(Some(Version(1))) };
    stage.refuses("writing an unknown project", write, ErrorKind::NotFound, "project_not_found").await.map(|_| ())
}

/// `write_project` with an outdated version is a `Conflict` (`version_changed`) and changes nothing; one that leaves
/// the project as it is leaves its version, too.
pub async fn a_project_write_compares_the_version(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    let first = stage.read().await?.project;
    let preview = ProjectWrite { apps: vec![stage.app("shop-branch-a")?], ..stage.nothing(Some(first.version)) };
    let written = worked("adding an app", stage.scene.store.write_project(preview).await)?;
    let made: Vec<_> = written.created.iter().map(|app| app.spec.name.to_string()).collect();
    ensure!(made == ["shop-branch-a"], "of a new app it was told: {made:?}");
    ensure!(stage.read().await?.project == first, "an app more changed the project to {:?}", stage.read().await?);
    let all = ["shop", "shop-env-next", "shop-branch-a"].map(|name| stage.app(name));
    let all = all.into_iter().collect::<CaseResult<Vec<_>>>()?;
    let written = worked("changing a project", stage.put(Some(first.version), all.clone()).await)?;
    ensure!(written.project.version > first.version, "the version did not grow: {:?}", written.project.version);
    ensure!(stage.read().await?.project == written.project, "it is {:?}", stage.read().await?.project);
    let change = ProjectChange::Becomes(Box::new(stage.spec.clone()));
    let late = ProjectWrite { change, apps: all, ..stage.nothing(Some(first.version)) };
    stage.refuses("changing an outdated version", late, ErrorKind::Conflict, "version_changed").await?;
    let late = ProjectWrite { apps: vec![stage.app("shop-branch-b")?], ..stage.nothing(Some(first.version)) };
    stage.refuses("adding to an outdated version", late, ErrorKind::Conflict, "version_changed").await.map(|_| ())
}

/// `write_project` that changes or removes the project and does not name all its apps that are not being removed is a
/// `Conflict` (`version_changed`) and changes nothing.
pub async fn a_project_write_names_all_its_apps(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    let version = Some(stage.read().await?.project.version);
    let becomes = || ProjectChange::Becomes(Box::new(stage.spec.clone()));
    let one = ProjectWrite { change: becomes(), apps: vec![stage.app("shop")?], ..stage.nothing(version) };
    stage.refuses("changing a project and not its app", one, ErrorKind::Conflict, "version_changed").await?;
    let none = ProjectWrite { change: ProjectChange::IsRemoved, ..stage.nothing(version) };
    stage.refuses("removing a project and not its apps", none, ErrorKind::Conflict, "version_changed").await?;
    // One that is removed is named by that, and once it is being removed it is not needed.
    let removal = stage.removal(&stage.app("shop-env-next")?)?;
    let removals = vec![(removal.clone(), job(&removal))];
    let write = ProjectWrite { change: becomes(), apps: vec![stage.app("shop")?], removals, ..stage.nothing(version) };
    let written = worked("removing an app", stage.scene.store.write_project(write).await)?;
    let version = Some(written.project.version);
    let both = vec![stage.app("shop")?, stage.app("shop-env-next")?];
    let both = ProjectWrite { change: becomes(), apps: both, ..stage.nothing(version) };
    stage.refuses("changing what is being removed", both, ErrorKind::Conflict, "app_removed").await?;
    worked("changing the rest", stage.put(version, vec![stage.app("shop")?]).await).map(|_| ())
}

/// `write_project` leaves an app that it names as it is, its version too, if nothing of it is different. `update_app`
/// of an app of a project is a `Conflict` (`app_of_project`) and changes nothing.
pub async fn apps_follow_their_project_alone(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    let before = stage.read().await?;
    let changed = stage.app("shop")?.with_port(81);
    let write = vec![changed.clone(), stage.app("shop-env-next")?];
    worked("changing a project", stage.put(Some(before.project.version), write).await)?;
    let after = stage.read().await?;
    let [shop, next] = &after.apps[..] else { return Err(format!("the apps are {:?}", after.apps)) };
    ensure!(shop.spec == changed && shop.version > Version(1), "the app did not follow: {shop:?}");
    ensure!(before.apps.get(1) == Some(next), "an app that is not different was changed to {next:?}");
    let direct = stage.scene.store.update_app(changed.clone().with_port(82), shop.version, moment(10)).await;
    refused("changing an app of a project", direct, ErrorKind::Conflict, Some("app_of_project"))?;
    let mut freed = changed.with_port(83);
    freed.environment = None;
    let direct = stage.scene.store.update_app(freed, shop.version, moment(10)).await;
    refused("taking an app from its project", direct, ErrorKind::Conflict, Some("app_of_project"))?;
    ensure!(stage.read().await? == after, "a change that was refused left {:?}", stage.read().await?);
    Ok(())
}

/// A `write_project` that is refused leaves no trace, whichever of its apps is to blame: its name (`app_exists`) or
/// host name (`domain_taken`) is another's, or it is being removed (`app_removed`). Host names may move between the
/// apps that it names.
pub async fn a_refused_project_write_leaves_no_trace(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    stage.scene.app("stranger").await?;
    let version = Some(stage.read().await?.project.version);
    let becomes = || ProjectChange::Becomes(Box::new(stage.spec.clone()));
    let two = || Ok::<_, String>(vec![stage.app("shop")?.with_port(81), stage.app("shop-env-next")?]);
    let write = |apps| ProjectWrite { change: becomes(), apps, ..stage.nothing(version) };

    let mut apps = two()?;
    apps.push(stage.app("stranger")?);
    let what = "taking the app of another";
    stage.refuses(what, write(apps), ErrorKind::AlreadyExists, "app_exists").await?;
    let mut apps = two()?;
    let theirs = worked("making a host name", Domain::parse("stranger.test"))?;
    apps.push(stage.app("shop-branch-a")?.with_domain(theirs));
    stage.refuses("taking the host name of another", write(apps), ErrorKind::Conflict, "domain_taken").await?;
    let removal = stage.removal(&stage.app("shop-env-next")?)?;
    let unknown = stage.removal(&stage.app("shop-env-none")?)?;
    let removals = vec![(removal.clone(), job(&removal)), (unknown.clone(), job(&unknown))];
    let half = ProjectWrite { removals, ..write(two()?) };
    stage.refuses("removing an unknown app", half, ErrorKind::NotFound, "app_not_found").await?;

    let (mut shop, mut next) = (stage.app("shop")?, stage.app("shop-env-next")?);
    std::mem::swap(&mut shop.domains, &mut next.domains);
    worked("exchanging host names", stage.put(version, vec![shop.clone(), next]).await)?;
    let found = stage.scene.record(&shop.name).await?.spec.domains;
    ensure!(found == shop.domains, "after names were exchanged an app has {found:?}");
    Ok(())
}

/// A project that is removed takes no further writes (`project_removed`), and is gone with its last app.
/// `write_project` creates its removals as `create_deployment` does, under `SupersedePolicy::Coalesce`.
pub async fn a_removed_project_goes_with_its_last_app(fixture: &dyn StoreFixture) -> CaseResult {
    let stage = Stage::set(fixture).await?;
    let before = stage.read().await?;
    let waiting = stage.scene.deploy(before.apps.first().ok_or("no app")?, moment(2)).await?;
    let mut removals = Vec::new();
    for app in &before.apps {
        let removal = stage.removal(&app.spec)?;
        removals.push((removal.clone(), job(&removal)));
    }
    let version = Some(before.project.version);
    let write = ProjectWrite { change: ProjectChange::IsRemoved, removals, ..stage.nothing(version) };
    let written = worked("removing a project", stage.scene.store.write_project(write).await)?;
    ensure!(written.removals.len() == 2, "of two removals there are {:?}", written.removals);
    ensure!(written.project.removed_at == Some(moment(9)), "it is {:?}", written.project);
    let superseded = stage.scene.read(waiting.id).await?;
    ensure!(superseded.conclusion == Some(Conclusion::Superseded), "what waited is {superseded:?}");
    let after = stage.read().await?;
    ensure!(after.apps.iter().all(|app| app.removed_at.is_some()), "an app is not being removed: {:?}", after.apps);
    let late = ProjectWrite { apps: vec![stage.app("shop-branch-a")?], ..stage.nothing(Some(after.project.version)) };
    stage.refuses("adding to what is removed", late, ErrorKind::Conflict, "project_removed").await?;
    for (number, removal) in written.removals.iter().enumerate() {
        ensure!(stage.seen().await?.is_some(), "a project was gone before its last app");
        let deployment = &removal.deployment;
        let told = stage.scene.events(Some(deployment.id)).await?;
        ensure!(told.first().is_some_and(|event| event.kind == EventKind::Created), "of a removal was told {told:?}");
        forget(&stage.scene, &deployment.app, deployment).await?;
        let left = worked("reading all apps", stage.scene.store.apps().await)?.len();
        ensure!(left == 1 - number.min(1), "after {number} removals there are {left} apps");
    }
    ensure!(stage.seen().await?.is_none(), "a project is there without an app: {:?}", stage.seen().await?);
    let history = worked("reading deployments", stage.scene.store.deployments(&waiting.app, None, ALL).await)?;
    ensure!(history.len() == 2, "the history of an app that is gone is {history:?}");
    let again = worked("creating it again", stage.put(None, vec![stage.app("shop")?]).await)?;
    ensure!(again.project.removed_at.is_none(), "a new project is {:?}", again.project);
    Ok(())
}

/// A project that must still be there later.
pub(super) async fn keep(scene: &Scene<'_>) -> CaseResult {
    let spec = worked("making a project", project("kept"))?;
    let (name, change) = (spec.name.clone(), ProjectChange::Becomes(Box::new(spec)));
    let apps = vec![worked("making an app", app(&name, "kept"))?];
    let write = ProjectWrite { project: name, expected: None, change, apps, removals: Vec::new(), at: moment(8) };
    worked("creating a project", scene.store.write_project(write).await).map(|_| ())
}

/// Ends the removal of an app.
async fn forget(scene: &Scene<'_>, app: &AppName, removal: &Deployment) -> CaseResult {
    let lease = scene.lease(app).await?;
    let mut commit = unchanged(&lease, removal);
    commit.deployment.state = State::Completed;
    commit.deployment.conclusion = Some(Conclusion::Succeeded);
    commit.forget_app = true;
    scene.commit(commit).await.map(|_| ())
}
