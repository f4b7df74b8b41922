//! The random scenario: people who want everything at once.

use std::time::Duration;

use futures_util::StreamExt;

use super::chance::Chance;
use super::people;
use super::scenario::duration;
use super::world::{Program, World};
use crate::Result;
use crate::app::{AppName, ApprovalPolicy, BakePolicy, CanaryPolicy, CanaryStep};
use crate::deployment::{DeploymentId, State, SupersedePolicy};
use crate::engine::{DeployRequest, RollbackRequest};

/// An app that people want something of.
#[derive(Clone, Debug)]
struct Wanted {
    app: AppName,
    /// Whether it is an image, and not built from git.
    is_image: bool,
    /// Who must agree before a version of it serves.
    approval: Option<ApprovalPolicy>,
    /// How long a version of it is watched once it serves.
    bake: Option<BakePolicy>,
    /// Which shares of the requests a version gets before it is promoted.
    canary: Option<CanaryPolicy>,
}

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Push,
    SameCommit,
    BranchHead,
    RollBack,
    Cancel,
    Retry,
    Watch,
    Change,
    Remove,
}

/// Each wish as often as it is named here.
const WISHES: [(Wish, u64); 9] = [
    (Wish::Push, 40),
    (Wish::SameCommit, 8),
    (Wish::BranchHead, 8),
    (Wish::RollBack, 14),
    (Wish::Cancel, 14),
    (Wish::Retry, 3),
    (Wish::Watch, 6),
    (Wish::Change, 4),
    (Wish::Remove, 3),
];

/// Several apps, and people who want something of them now and then.
pub(super) async fn play(world: &World) -> Result<()> {
    let (apps, until) = world.with_chance(|chance| (chance.between(1, 3), duration(chance)));
    let mut names = Vec::new();
    for name in ["alpha", "beta", "gamma"].into_iter().take(usize::try_from(apps).unwrap_or(1)) {
        let is_image = world.with_chance(|chance| chance.one_in(4));
        let approval = world.with_chance(|chance| chance.one_in(5).then(|| policy(chance)));
        let bake = world.with_chance(|chance| chance.one_in(3).then(|| watch(chance)));
        let canary = world.with_chance(|chance| chance.one_in(3).then(|| steps(chance)));
        let wanted = Wanted { app: AppName::parse(name)?, is_image, approval, bake, canary };
        create(world, &wanted).await?;
        names.push(wanted);
    }
    if names.iter().any(|wanted| wanted.approval.is_some()) {
        let people = world.clone();
        world.spawn(async move { people::answer(people).await });
    }
    let hurry = world.with_chance(|chance| chance.between(2, 40));
    while world.now() < until {
        let pause = world.with_chance(|chance| chance.up_to(Duration::from_secs(hurry)));
        world.sleep(pause).await;
        let Some(app) = world.with_chance(|chance| chance.pick(&names).cloned()) else { continue };
        let Some(wish) = world.with_chance(|chance| chance.weighted(&WISHES)) else { continue };
        let asking = world.clone();
        world.spawn(async move {
            let answer = grant(&asking, &app, wish).await;
            let code = answer.as_ref().err().map_or("ok", crate::Error::code).to_owned();
            asking.tell(format_args!("{wish:?} of {}: {code}", app.app));
        });
    }
    Ok(())
}

async fn grant(world: &World, wanted: &Wanted, wish: Wish) -> Result<()> {
    let app = &wanted.app;
    let name = app.clone();
    match wish {
        Wish::Push if wanted.is_image => deploy(world, app, new_image(world, app)?).await.map(|_| ()),
        Wish::Push => push(world, app).await,
        Wish::SameCommit => {
            let last =
                world.with_ledger(|ledger| ledger.deployments_of(app).filter_map(|entry| entry.commit.clone()).last());
            let Some(commit) = last else { return Ok(()) };
            deploy(world, app, DeployRequest::commit(commit)).await.map(|_| ())
        }
        Wish::BranchHead => {
            if !wanted.is_image {
                let program = world.with_chance(program);
                world.commit(app, program)?;
            }
            deploy(world, app, DeployRequest::default()).await.map(|_| ())
        }
        Wish::RollBack => {
            let answer = world.ask(move |engine| {
                Box::pin(async move { engine.rollback(&name, RollbackRequest::default()).await.map(|_| ()) })
            });
            answer.await
        }
        Wish::Cancel => {
            let Some(id) = newest(world, app, |state| !state.is_terminal()) else { return Ok(()) };
            world.ask(move |engine| Box::pin(async move { engine.cancel(id, "somebody").await })).await
        }
        Wish::Retry => {
            let Some(id) = newest(world, app, |state| state == State::Stuck) else { return Ok(()) };
            world.retry(id).await
        }
        Wish::Watch => {
            let Some(id) = newest(world, app, |_| true) else { return Ok(()) };
            let watched = world.ask(move |engine| {
                Box::pin(async move {
                    let events = engine.watch(id, 0).count().await;
                    let lines = engine.log(id, 0, false).count().await;
                    Ok((events, lines))
                })
            });
            watched.await.map(|_| ())
        }
        Wish::Change => {
            let answer = world.ask(move |engine| {
                Box::pin(async move {
                    let record = engine.app(&name).await?;
                    let port = record.spec.port + 1;
                    engine.update_app(record.spec.with_port(port), record.version).await.map(|_| ())
                })
            });
            answer.await
        }
        Wish::Remove => remove(world, wanted).await,
    }
}

/// A push, which is told late and more than once.
async fn push(world: &World, app: &AppName) -> Result<()> {
    let program = world.with_chance(program);
    let commit = world.commit(app, program)?;
    let request = DeployRequest::push(commit, world.key()?);
    let times = world.with_chance(|chance| if chance.one_in(4) { chance.between(2, 3) } else { 1 });
    for _ in 1..times {
        let (asking, app, request) = (world.clone(), app.clone(), request.clone());
        let late = world.with_chance(|chance| chance.up_to(Duration::from_secs(8)));
        world.spawn(async move {
            asking.sleep(late).await;
            // Whoever delivers hears of it, and delivers it again or not.
            let _ = deploy(&asking, &app, request).await;
        });
    }
    if world.with_chance(|chance| chance.one_in(8)) {
        // By then newer ones may have been told of.
        let late = world.with_chance(|chance| chance.up_to(Duration::from_secs(60)));
        world.sleep(late).await;
    }
    deploy(world, app, request).await.map(|_| ())
}

/// A wish for an image that was just published.
fn new_image(world: &World, app: &AppName) -> Result<DeployRequest> {
    let program = world.with_chance(program);
    let image = world.image(app, program)?;
    Ok(DeployRequest { image: Some(image), key: Some(world.key()?), ..DeployRequest::default() })
}

/// Takes an app away, and makes it again when it is gone.
async fn remove(world: &World, wanted: &Wanted) -> Result<()> {
    let removal = world.remove_app(&wanted.app).await?;
    world.ended(removal).await;
    create(world, wanted).await
}

/// Who must agree, and until when.
fn policy(chance: &mut Chance) -> ApprovalPolicy {
    let seconds = chance.between(30, 300);
    let quorum = u32::try_from(chance.between(1, 2)).unwrap_or(1);
    let mut policy = ApprovalPolicy::of(quorum).with_expiry(Duration::from_secs(seconds));
    if chance.one_in(3) {
        policy = policy.with_author();
    }
    if chance.one_in(6) {
        policy = policy.with_auto_approve(Duration::from_secs(chance.between(10, seconds)));
    }
    policy
}

/// How long versions are watched, and how closely.
fn watch(chance: &mut Chance) -> BakePolicy {
    let failures = u32::try_from(chance.between(1, 3)).unwrap_or(1);
    BakePolicy::lasting(Duration::from_secs(chance.between(4, 25)))
        .with_interval(Duration::from_secs(chance.between(1, 5)))
        .with_failures(failures)
}

/// Which shares versions get first, for how long, and how closely that is watched.
fn steps(chance: &mut Chance) -> CanaryPolicy {
    let mut percent = 0;
    let steps: Vec<CanaryStep> = (0..chance.between(1, 3))
        .map(|_| {
            percent += u8::try_from(chance.between(1, 33)).unwrap_or(1);
            CanaryStep::new(percent, Duration::from_secs(chance.between(2, 8)))
        })
        .collect();
    let failures = u32::try_from(chance.between(1, 3)).unwrap_or(1);
    CanaryPolicy::of(steps).with_interval(Duration::from_secs(chance.between(1, 5))).with_failures(failures)
}

/// An app with some policy for what a newer deployment means to earlier ones.
async fn create(world: &World, wanted: &Wanted) -> Result<()> {
    let name = wanted.app.as_str();
    let policies = [SupersedePolicy::QueuedOnly, SupersedePolicy::Serial, SupersedePolicy::Reject];
    let policy = world.with_chance(|chance| if chance.one_in(2) { None } else { chance.pick(&policies).copied() });
    let mut app = if wanted.is_image { world.image_app(name)? } else { world.app(name)? };
    app.approval.clone_from(&wanted.approval);
    app.bake.clone_from(&wanted.bake);
    app.canary.clone_from(&wanted.canary);
    world.create(app.with_supersede(policy.unwrap_or_default())).await.map(|_| ())
}

async fn deploy(world: &World, app: &AppName, request: DeployRequest) -> Result<DeploymentId> {
    let name = app.clone();
    world.ask(move |engine| Box::pin(async move { Ok(engine.deploy(&name, request).await?.id) })).await
}

fn newest(world: &World, app: &AppName, wanted: impl Fn(State) -> bool) -> Option<DeploymentId> {
    world
        .with_ledger(|ledger| {
            ledger.deployments_of(app).filter(|entry| wanted(entry.state)).map(|entry| (entry.sequence, entry.id)).max()
        })
        .map(|(_, id)| id)
}

/// Half of what people push is good.
fn program(chance: &mut Chance) -> Program {
    let soon = chance.up_to(Duration::from_secs(60));
    match chance.below(20) {
        0..=8 => Program::Good,
        9 => Program::FailsUsersAfter(soon),
        10 | 11 => Program::WarmsUp(u32::try_from(chance.between(1, 12)).unwrap_or(1)),
        12 => Program::Unhealthy,
        13 => Program::Exits,
        14 => Program::Hangs,
        15 => Program::NeverListens,
        16 => Program::BuildFails,
        17 => Program::IgnoresStop,
        18 => Program::SickensAfter(soon),
        19 => Program::DiesAfter(soon),
        _ => Program::Good,
    }
}
