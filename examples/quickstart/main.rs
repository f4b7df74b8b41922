//! QUARK's main job in one command: a git repository becomes a running, routed
//! application, is replaced under load without losing a request, refuses a bad
//! version and rolls back. Then a version that only fails once it has users is
//! planned, approved by somebody, watched, and taken back by the engine; and once
//! more, to a few of the users first.
//!
//! `cargo run --example quickstart` needs Rust and git, nothing else.
//! `cargo run --example quickstart --features docker,nginx -- --docker --nginx`
//! does the same with containers and nginx.

mod backends;
mod judgement;
mod load;
mod sample;
mod show;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quark_core::{
    App, AppName, Conclusion, DeployRequest, Deployment, DeploymentEngine, HealthCheck, RollbackRequest, Source, Timing,
};

use backends::{Choice, World};
use judgement::Harm;
use load::Load;
use show::Show;

/// Longer than the five-second request of the load.
const DRAIN: Duration = Duration::from_secs(10);

/// The name that the app answers to.
const HOST: &str = "hello.localhost";

#[tokio::main]
async fn main() -> Result<()> {
    let choice = Choice::from_arguments(std::env::args().skip(1))?;
    let folder = tempfile::Builder::new().prefix("quark-quickstart-").tempdir()?;
    let show = Show::new();
    show.title("QUARK quickstart", &choice.describe());

    show.doing("making a git repository with four commits");
    let repository = sample::create(&folder.path().join("repository"), choice.docker)?;
    show.done("a git repository with four commits", &repository.folder.display().to_string());

    let world = World::start(&choice, folder.path()).await?;
    let outcome = run(&world, &repository, &show).await;
    // Whatever happened: nothing of the quickstart is left running.
    let cleaned = clean_up(&world, &show).await;
    world.stop().await?;
    let report = outcome?;
    cleaned?;
    show.summary(&report);
    if report.failed > 0 {
        bail!("{} of {} requests failed", report.failed, report.requests);
    }
    Ok(())
}

/// What the quickstart has measured.
#[derive(Debug)]
struct Report {
    requests: u64,
    failed: u64,
    first_failures: Vec<String>,
    slow_requests: u64,
    web_socket_messages: u64,
    deploy: Duration,
    promote: String,
    roll_back: Duration,
    harm: [Harm; 2],
    url: String,
}

async fn run(world: &World, repository: &sample::Repository, show: &Show) -> Result<Report> {
    let engine = &world.engine;
    let source = Source::git(&format!("file://{}", repository.folder.display()), "main")?;
    let app = App::new("hello", source)?
        .with_health(HealthCheck::http("/healthz".parse()?).with_deadline(Duration::from_secs(5)))
        .with_timing(Timing { drain: DRAIN, ..Timing::default() })
        // The second act watches its versions; here each is done as soon as it serves.
        .without_bake();
    let name = app.name.clone();
    engine.create_app(app).await?;

    show.heading("Commit 1: from a git repository to a running application");
    let (first, _) = deploy(engine, &name, DeployRequest::commit(repository.first.clone()), show).await?;
    expect(&first, Conclusion::Succeeded)?;
    let url = format!("http://hello.localhost:{}/", world.address.port());
    show.fact("it answers at", &url);

    let load = Load::start(world.address, HOST);
    load.warmed_up().await?;

    show.heading("Commit 2: replaced while requests are coming in");
    let (second, took) = deploy(engine, &name, DeployRequest::commit(repository.second.clone()), show).await?;
    expect(&second, Conclusion::Succeeded)?;
    load.sees("2").await.context("the second version does not answer")?;
    let promote = promotion(engine, &second).await?;

    show.heading("Commit 3: its health check fails");
    let (third, _) = deploy(engine, &name, DeployRequest::commit(repository.bad.clone()), show).await?;
    expect(&third, Conclusion::Failed)?;
    load.sees("2").await.context("the second version does not answer any more")?;
    show.fact("still serving", "commit 2, as if nothing had happened");

    // The bad version took the slot of the first, so this is a rollback to a
    // version that has to be started again; then back, which is instant.
    show.heading("Rolling back to commit 1, which is started again");
    let (back, _) = rollback(engine, &name, show).await?;
    expect(&back, Conclusion::Succeeded)?;
    load.sees("1").await.context("the first version does not answer")?;

    show.heading("Rolling back once more: commit 2 still runs");
    let (again, roll_back) = rollback(engine, &name, show).await?;
    expect(&again, Conclusion::Succeeded)?;
    load.sees("2").await.context("the second version does not answer")?;

    let counted = load.stop().await;
    let harm = Box::pin(judgement::play(world, &name, repository, show)).await?;
    Ok(Report {
        requests: counted.requests,
        failed: counted.failed,
        first_failures: counted.first_failures,
        slow_requests: counted.slow_requests,
        web_socket_messages: counted.web_socket_messages,
        deploy: took,
        promote,
        roll_back,
        harm,
        url,
    })
}

async fn deploy(
    engine: &DeploymentEngine,
    name: &AppName,
    request: DeployRequest,
    show: &Show,
) -> Result<(Deployment, Duration)> {
    let began = Instant::now();
    let deployment = engine.deploy(name, request).await?;
    let ended = show.follow(engine, deployment.id).await?;
    Ok((ended, began.elapsed()))
}

async fn rollback(engine: &DeploymentEngine, name: &AppName, show: &Show) -> Result<(Deployment, Duration)> {
    let began = Instant::now();
    let deployment = engine.rollback(name, RollbackRequest::default()).await?;
    let ended = show.follow(engine, deployment.id).await?;
    Ok((ended, began.elapsed()))
}

fn expect(deployment: &Deployment, wanted: Conclusion) -> Result<()> {
    if deployment.conclusion == Some(wanted) {
        return Ok(());
    }
    match &deployment.failure {
        Some(failure) => bail!("deployment {}: {failure}", deployment.id),
        None => bail!("deployment {} ended as {:?} instead of {wanted}", deployment.id, deployment.conclusion),
    }
}

/// What the promote step says about itself.
async fn promotion(engine: &DeploymentEngine, deployment: &Deployment) -> Result<String> {
    let steps = engine.steps(deployment.id).await?;
    let promote = steps.into_iter().rev().find(|step| step.name == quark_core::StepName::Promote);
    let note = promote.and_then(|step| step.output).and_then(|output| output.note);
    let note = note.context("the promotion left no note")?;
    Ok(note.trim_start_matches("switched in ").to_owned())
}

async fn clean_up(world: &World, show: &Show) -> Result<()> {
    show.heading("Cleaning up");
    for app in world.engine.apps().await? {
        let removal = world.engine.remove_app(&app.spec.name, "quickstart").await?;
        show.follow(&world.engine, removal.id).await?;
    }
    Ok(())
}
