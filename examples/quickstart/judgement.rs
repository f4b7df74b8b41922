//! The second act: what the engine decides by itself, and what it asks people.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use quark_core::app::{CanaryPolicy, CanaryStep};
use quark_core::engine::{PendingApproval, Wish};
use quark_core::{
    App, AppName, ApprovalPolicy, ApprovalRequest, BakePolicy, Conclusion, DeployRequest, DeploymentEngine,
    DeploymentId,
};

use crate::backends::World;
use crate::load::Load;
use crate::sample::Repository;
use crate::show::Show;
use crate::{HOST, expect};

/// What the users of the sick version saw.
#[derive(Debug)]
pub(crate) struct Harm {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) lasted: Duration,
}

/// Commit 4 is healthy when it is asked, and fails its users. Once they all get
/// it, and once only a few.
pub(crate) async fn play(world: &World, name: &AppName, repository: &Repository, show: &Show) -> Result<[Harm; 2]> {
    let all = Box::pin(taken_back(world, name, repository, show)).await?;
    let few = Box::pin(a_few_at_a_time(world, name, repository, show)).await?;
    Ok([all, few])
}

/// Somebody agrees to it, and the engine takes it back.
async fn taken_back(world: &World, name: &AppName, repository: &Repository, show: &Show) -> Result<Harm> {
    let engine = &world.engine;
    show.heading("From now on somebody must agree, and what serves is watched");
    let record = engine.app(name).await?;
    let bake = BakePolicy::lasting(Duration::from_secs(20)).with_interval(Duration::from_millis(500));
    let app = record.spec.with_approval(ApprovalPolicy::of(1)).with_bake(bake);
    engine.update_app(app, record.version).await?;
    show.fact("approval", "one person, and not whoever asked");
    show.fact("watched after the switch", "20 s: probes, errors and speed, against the version before");

    show.heading("What would commit 4 do? `engine.plan(&app, wish)` says");
    let request = DeployRequest { by: Some("ann".to_owned()), ..DeployRequest::commit(repository.sick.clone()) };
    let plan = engine.plan(name, Wish::Deploy(request)).await?;
    for line in plan.to_string().lines() {
        show.quote(line);
    }

    show.heading("`engine.apply(plan)`: commit 4 is healthy, until it has users");
    let load = Load::start(world.address, HOST);
    load.warmed_up().await?;
    let deployment = engine.apply(plan.wish).await?;
    let (ended, asked) = tokio::join!(show.follow(engine, deployment.id), agree(engine, deployment.id, show));
    let (ended, agreed) = (ended?, asked?);
    let lasted = agreed.elapsed();
    load.sees("2").await.context("the version before does not answer")?;
    let counted = load.stop().await;
    expect(&ended, Conclusion::RolledBack)?;

    show.heading("Why? `engine.explain(&app)` says");
    for line in engine.explain(name).await?.to_string().lines() {
        show.quote(line);
    }
    Ok(Harm { requests: counted.requests + counted.failed, failed: counted.failed, lasted })
}

/// It gets a share of the requests, and loses it.
async fn a_few_at_a_time(world: &World, name: &AppName, repository: &Repository, show: &Show) -> Result<Harm> {
    let engine = &world.engine;
    show.heading("Once more, to a few users first");
    let record = engine.app(name).await?;
    let steps = [CanaryStep::new(25, Duration::from_secs(60)), CanaryStep::new(50, Duration::from_secs(60))];
    let canary = CanaryPolicy::of(steps).with_interval(Duration::from_millis(500));
    let app = App { approval: None, ..record.spec.without_bake().with_canary(canary) };
    engine.update_app(app, record.version).await?;
    show.fact("a new version gets", "25 % of the requests, then half of them, then all");

    let load = Load::start(world.address, HOST);
    load.warmed_up().await?;
    let began = Instant::now();
    let deployment = engine.deploy(name, DeployRequest::commit(repository.sick.clone())).await?;
    let ended = show.follow(engine, deployment.id).await?;
    let lasted = began.elapsed();
    let counted = load.stop().await;
    expect(&ended, Conclusion::Failed)?;
    show.fact("still serving", "commit 2, which most users never left");
    Ok(Harm { requests: counted.requests + counted.failed, failed: counted.failed, lasted })
}

/// Agrees once the engine asks; since when it may serve.
async fn agree(engine: &DeploymentEngine, id: DeploymentId, show: &Show) -> Result<Instant> {
    let pending = asked(engine, id).await?;
    let preview = pending.preview.as_ref().map(ToString::to_string).unwrap_or_default();
    show.fact("asks for somebody's consent", &format!("a look at it: http://{preview}/"));
    for change in &pending.changes {
        show.fact("different from what serves", &change.to_string());
    }
    match engine.answer_approval(id, ApprovalRequest::approve(&pending, "ann")).await {
        Err(error) if error.code() == "own_deployment" => {
            show.fact("ann, who asked, agrees", &format!("refused: {error}"));
        }
        Err(error) => return Err(error.into()),
        Ok(_) => bail!("ann could approve what she had asked for"),
    }
    engine.answer_approval(id, ApprovalRequest::approve(&pending, "bob")).await?;
    show.fact("bob agrees", "to this very image");
    Ok(Instant::now())
}

async fn asked(engine: &DeploymentEngine, id: DeploymentId) -> Result<PendingApproval> {
    loop {
        if let Some(pending) = engine.approvals().await?.into_iter().find(|pending| pending.deployment.id == id) {
            return Ok(pending);
        }
        let deployment = engine.deployment(id).await?;
        anyhow::ensure!(!deployment.state.is_terminal(), "nobody was asked: {:?}", deployment.failure);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
