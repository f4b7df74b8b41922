//! The random scenario: people who want everything at once.

use std::time::Duration;

use futures_util::StreamExt;

use super::chance::Chance;
use super::people;
use super::scenario::duration;
use super::world::{Program, World};
use crate::Result;
use crate::app::{
    AppName, ApprovalPolicy, Argv, BakePolicy, CanaryPolicy, CanaryStep, Hook, HookPoint, Hooks, LivenessAction,
    LivenessPolicy, Resources,
};
use crate::deployment::{DeploymentId, State, SupersedePolicy};
use crate::engine::{self, DeployRequest, RollbackRequest};
use crate::memory::HookRun;

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
    /// How many times as much it may use as is usual.
    size: u64,
    /// What is done about a version of it that falls ill while it serves.
    liveness: Option<LivenessPolicy>,
    /// The programs that run beside its deployments.
    hooks: Hooks,
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
    Plan,
}

/// Each wish as often as it is named here.
const WISHES: [(Wish, u64); 10] = [
    (Wish::Push, 40),
    (Wish::SameCommit, 8),
    (Wish::BranchHead, 8),
    (Wish::RollBack, 14),
    (Wish::Cancel, 14),
    (Wish::Retry, 3),
    (Wish::Watch, 6),
    (Wish::Change, 4),
    (Wish::Remove, 3),
    (Wish::Plan, 8),
];

/// Several apps, and people who want something of them now and then.
pub(super) async fn play(world: &World) -> Result<()> {
    let (apps, until) = world.with_chance(|chance| (chance.between(1, 3), duration(chance)));
    let mut names = Vec::new();
    for name in ["alpha", "beta", "gamma"].into_iter().take(usize::try_from(apps).unwrap_or(1)) {
        let is_image = world.with_chance(|chance| chance.one_in(4));
        let approval = world.with_chance(|chance| chance.one_in(5).then(|| policy(chance)));
        let bake = world.with_chance(|chance| chance.one_in(3).then(|| watch(chance)));
        let size = if world.is_tight() { world.with_chance(|chance| chance.between(1, 2)) } else { 1 };
        let liveness = world.with_chance(|chance| chance.one_in(3).then(|| upkeep(chance)));
        let hooks = world.with_chance(|chance| if chance.one_in(3) { hooks(chance) } else { Ok(Hooks::default()) })?;
        let canary = world.with_chance(|chance| chance.one_in(3).then(|| steps(chance)));
        let wanted = Wanted { app: AppName::parse(name)?, is_image, approval, bake, size, liveness, hooks, canary };
        create(world, &wanted).await?;
        names.push(wanted);
    }
    if names.iter().any(|wanted| wanted.approval.is_some()) {
        let people = world.clone();
        world.spawn(async move { people::answer(people).await });
    }
    if world.is_tight() {
        let machine = world.clone();
        world.spawn(async move { spikes(machine).await });
    }
    super::projects::some(world, until);
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

/// The machine is busy now and then, until nothing goes wrong any more.
async fn spikes(world: World) {
    let mut busy = false;
    while world.with_ledger(|ledger| ledger.healed_at().is_none()) {
        world.set_busy(busy);
        let longest = if busy { 150 } else { 90 };
        let pause = world.with_chance(|chance| chance.up_to(Duration::from_secs(longest)));
        world.sleep(pause).await;
        busy = !busy;
    }
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
        Wish::Plan => plan(world, app).await,
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

/// A plan, and after some thought what was planned, perhaps twice.
async fn plan(world: &World, app: &AppName) -> Result<()> {
    let wish = match world.with_chance(|chance| chance.below(12)) {
        0 => engine::Wish::Remove { by: "somebody".to_owned() },
        1..=4 => engine::Wish::Rollback(RollbackRequest::default()),
        _ => engine::Wish::Deploy(DeployRequest::default()),
    };
    let name = app.clone();
    let plan = world.ask(move |engine| Box::pin(async move { engine.plan(&name, wish).await })).await?;
    let thought = world.with_chance(|chance| chance.up_to(Duration::from_secs(40)));
    world.sleep(thought).await;
    let again = world.with_chance(|chance| chance.one_in(4));
    for _ in 0..=u8::from(again) {
        let planned = plan.wish.clone();
        world.ask(move |engine| Box::pin(async move { engine.apply(planned).await.map(|_| ()) })).await?;
    }
    Ok(())
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

/// What is done about what falls ill, and how often.
fn upkeep(chance: &mut Chance) -> LivenessPolicy {
    let actions = [LivenessAction::Restart, LivenessAction::RollBack, LivenessAction::Alert];
    let few = |chance: &mut Chance| u32::try_from(chance.between(1, 3)).unwrap_or(1);
    LivenessPolicy::that(chance.pick(&actions).copied().unwrap_or_default())
        .with_interval(Duration::from_secs(chance.between(1, 8)))
        .with_failures(few(chance))
        .with_restarts(few(chance), Duration::from_secs(chance.between(60, 240)))
}
/// Some hooks, with little time.
fn hooks(chance: &mut Chance) -> Result<Hooks> {
    let mut hooks = Hooks::default();
    for point in HookPoint::ALL {
        if chance.one_in(2) {
            let timeout = Duration::from_secs(chance.between(3, 20));
            hooks = hooks.with(point, Hook::new(Argv::new(["./hook"])?).with_timeout(timeout));
        }
    }
    Ok(hooks)
}

/// A hook that takes a while, fails or hangs.
fn hooked(chance: &mut Chance) -> Program {
    let point = chance.pick(&HookPoint::ALL).copied().unwrap_or(HookPoint::PreDeploy);
    let code = if chance.one_in(3) { 1 } else { 0 };
    Program::Hooked(
        point,
        match chance.below(4) {
            0 => HookRun::Hangs,
            1 => HookRun::Ends(code),
            _ => HookRun::Takes(chance.up_to(Duration::from_secs(15)), code),
        },
    )
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
    app.bake = wanted.bake.clone().unwrap_or_else(BakePolicy::off);
    if wanted.size > 1 {
        let usual = app.resources;
        app.resources = Resources::new(usual.cpu_millis(), usual.memory_bytes() * wanted.size, usual.pids())?;
    }
    app.liveness.clone_from(&wanted.liveness);
    app.hooks.clone_from(&wanted.hooks);
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
    match chance.below(23) {
        0..=6 => Program::Good,
        7 | 8 => hooked(chance),
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
        20 => Program::KeepsSickening(soon),
        21 => Program::KeepsDying(soon),
        22 => Program::Ails(soon),
        _ => Program::Good,
    }
}
