//! What people want of a project: an app of which several run.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::chance::Chance;
use super::world::{Program, World};
use crate::app::{AppName, BranchName, Source};
use crate::deployment::{DeploymentId, Version};
use crate::engine::{DeployRequest, DeploymentEngine, PushRequest, RollbackRequest};
use crate::project::{BranchPattern, Environment, EnvironmentId, Overrides, Project, ProjectName};
use crate::{ErrorKind, Result};

/// A project of this name: production, staging and previews. Each environment
/// has something of its own, and something besides.
pub(super) fn project(world: &World, name: &str) -> Result<Project> {
    let mut template = world.app(name)?.with_env("LEVEL", "info")?.with_env("KEPT", "yes")?;
    template.domains.clear();
    let made = |number: u32, environment: Environment| -> Result<Environment> {
        Ok(Environment { id: EnvironmentId::parse(format!("{number:08x}"))?, ..environment })
    };
    let staging = Environment::new("staging")?.with_branch(BranchPattern::parse("next")?);
    let previews =
        Environment::new("preview")?.with_branch(BranchPattern::parse("feature/*")?).with_previews().with_auto_deploy();
    let mut debug = Overrides { port: Some(9000), ..Overrides::default() };
    debug.env.set("LEVEL".parse()?, crate::Secret::new("debug"))?;
    Ok(Project::of(template)?
        .with_environment(made(1, Environment::production("main")?.with_domain(format!("{name}.test").parse()?))?)
        .with_environment(made(2, staging.with_overrides(debug))?)
        .with_environment(made(3, previews.with_env("LEVEL", "trace")?)?))
}

/// Makes a project known, however often it takes.
pub(super) async fn create(world: &World, project: Project) -> Result<ProjectName> {
    let name = project.name.clone();
    let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
        let project = project.clone();
        Box::pin(async move { engine.create_project(project).await.map(|_| ()) })
    };
    match world.insist(asked).await {
        // An answer was lost: it is there.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(name),
        answer => answer.map(|()| name),
    }
}

/// What a project is now.
async fn read(world: &World, name: &ProjectName) -> Result<(Project, Version)> {
    let name = name.clone();
    let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<(Project, Version)>> {
        let name = name.clone();
        Box::pin(async move { engine.project(&name).await.map(|found| (found.project.spec, found.project.version)) })
    };
    world.insist(asked).await
}

/// Changes a project, however often it takes.
pub(super) async fn change(world: &World, name: &ProjectName, change: fn(&mut Project) -> Result<()>) -> Result<()> {
    loop {
        let (mut project, version) = read(world, name).await?;
        let before = project.clone();
        change(&mut project)?;
        if project == before {
            // An answer was lost: it is done.
            return Ok(());
        }
        let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
            let project = project.clone();
            Box::pin(async move { engine.update_project(project, version, "somebody").await.map(|_| ()) })
        };
        match world.insist(asked).await {
            Err(error) if error.code() == "version_changed" => {}
            answer => return answer,
        }
    }
}

/// Deploys a new commit of a branch, and waits until that has ended.
pub(super) async fn release(world: &World, name: &ProjectName, branch: &str, program: Program) -> Result<()> {
    let branch = BranchName::parse(branch)?;
    let commit = world.commit_on(&AppName::parse(name.as_str())?, &branch, program)?;
    let (project, request) = (name.clone(), DeployRequest::commit(commit).with_key(world.key()?));
    let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<DeploymentId>> {
        let (project, branch, request) = (project.clone(), branch.clone(), request.clone());
        Box::pin(async move { Ok(engine.deploy_branch(&project, branch, request).await?.id) })
    };
    let id = world.insist(asked).await?;
    world.ended(id).await;
    Ok(())
}

/// Takes a project away, and waits until it is gone with all of its apps.
pub(super) async fn remove(world: &World, name: &ProjectName) -> Result<()> {
    let project = name.clone();
    let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
        let project = project.clone();
        Box::pin(async move { engine.remove_project(&project, "somebody").await.map(|_| ()) })
    };
    match world.insist(asked).await {
        // An answer was lost: it is going, or gone.
        Err(error) if ["project_removed", "project_not_found"].contains(&error.code()) => {}
        answer => answer?,
    }
    gone(world, name).await;
    Ok(())
}

/// Waits until nothing of a project is there, or of the part of it that is going.
async fn gone(world: &World, name: &ProjectName) {
    let own = format!("{name}-");
    let is_of = |app: &AppName| app.as_str() == name.as_str() || app.as_str().starts_with(&own);
    world.until(|ledger| ledger.apps().all(|app| !is_of(&app.name) || !app.exists || !app.removing)).await;
}

/// A project with an environment and a preview; it is changed, and goes with all
/// of its apps.
pub(super) async fn story(world: &World) -> Result<()> {
    let name = create(world, project(world, "shop")?).await?;
    for branch in ["main", "next", "feature/cart"] {
        release(world, &name, branch, Program::Good).await?;
    }
    change(world, &name, |project| {
        project.environments.retain(|environment| environment.name.as_str() != "staging");
        project.template.port = 8001;
        project.template.env.set("KEPT".parse()?, crate::Secret::new("still"))
    })
    .await?;
    gone(world, &name).await;
    release(world, &name, "feature/cart", Program::Good).await?;
    remove(world, &name).await
}

/// In some worlds people have a project, beside the apps.
pub(super) fn some(world: &World, until: Duration) {
    // Drawn from elsewhere, so that worlds without are what they were.
    let mut chance = world.with_chance(|chance| chance.fork("projects"));
    if !chance.one_in(5) {
        return;
    }
    let people = world.clone();
    world.spawn(async move {
        // What is refused along the way is a part of it.
        let answer = live(&people, &mut chance, until).await;
        let code = answer.as_ref().err().map_or("ok", crate::Error::code).to_owned();
        people.tell(format_args!("the project: {code}"));
    });
}

const BRANCHES: [&str; 5] = ["main", "next", "feature/a", "feature-a", "feature/b"];

/// People who want something of a project now and then.
async fn live(world: &World, chance: &mut Chance, until: Duration) -> Result<()> {
    let name = create(world, project(world, "delta")?).await?;
    while world.now() < until {
        let pause = chance.up_to(Duration::from_secs(20));
        world.sleep(pause).await;
        let branch = BranchName::parse(chance.pick(&BRANCHES).copied().unwrap_or("main"))?;
        let program = if chance.one_in(4) { Program::Unhealthy } else { Program::Good };
        let (wish, answer) = match chance.below(10) {
            0..=4 => ("push", push(world, &name, &branch, program).await),
            5 => ("branch gone", branch_gone(world, &name, &branch).await),
            6 => ("roll back", roll_back(world, &name).await),
            7 => ("more staging", change(world, &name, more).await),
            8 => ("less staging", change(world, &name, less).await),
            _ => ("another value", change(world, &name, another_value).await),
        };
        let code = answer.as_ref().err().map_or("ok", crate::Error::code).to_owned();
        world.tell(format_args!("{wish} of {name}, {branch}: {code}"));
    }
    Ok(())
}

/// Tells an engine that a branch has moved, now and perhaps again.
async fn push(world: &World, name: &ProjectName, branch: &BranchName, program: Program) -> Result<()> {
    let commit = world.commit_on(&AppName::parse(name.as_str())?, branch, program)?;
    let key = world.key()?;
    let (project, branch) = (name.clone(), branch.clone());
    let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
        let request = DeployRequest::push(commit.clone(), key.clone());
        let (project, branch) = (project.clone(), branch.clone());
        Box::pin(async move { engine.deploy_branch(&project, branch, request).await.map(|_| ()) })
    };
    world.ask(asked.clone()).await?;
    world.ask(asked).await
}

/// Takes a branch away, and tells an engine so.
async fn branch_gone(world: &World, name: &ProjectName, branch: &BranchName) -> Result<()> {
    let (project, _) = read(world, name).await?;
    let Source::Git { repository, .. } = project.template.source else { return Ok(()) };
    world.forget_branch(&repository, branch);
    let (key, branch) = (world.key()?, branch.clone());
    let request = PushRequest { repository, branch, commit: None, key, by: None };
    world.ask(move |engine| Box::pin(async move { engine.push(request).await.map(|_| ()) })).await
}

async fn roll_back(world: &World, name: &ProjectName) -> Result<()> {
    let app = AppName::parse(name.as_str())?;
    world
        .ask(move |engine| Box::pin(async move { engine.rollback(&app, RollbackRequest::default()).await.map(|_| ()) }))
        .await
}

fn more(project: &mut Project) -> Result<()> {
    if project.environments.iter().any(|environment| environment.branches.iter().any(|one| one.as_str() == "next")) {
        return Ok(());
    }
    let id = EnvironmentId::parse("00000002")?;
    let staging = Environment { id, ..Environment::new("staging")? };
    project.environments.push(staging.with_branch(BranchPattern::parse("next")?).with_env("LEVEL", "debug")?);
    Ok(())
}

fn less(project: &mut Project) -> Result<()> {
    project.environments.retain(|environment| environment.name.as_str() != "staging");
    Ok(())
}

fn another_value(project: &mut Project) -> Result<()> {
    project.template.port += 1;
    let value = crate::Secret::new(project.template.port.to_string());
    project.template.env.set("KEPT".parse()?, value)
}
