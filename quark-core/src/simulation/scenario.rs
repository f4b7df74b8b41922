//! `Scenario`: what people want in a run.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::chance::Chance;
use super::ledger::Ledger;
use super::world::{Program, World};
use crate::Result;
use crate::app::{
    AppName, ApprovalPolicy, Argv, BakePolicy, CanaryPolicy, CanaryStep, Hook, HookPoint, Hooks, LivenessAction,
    LivenessPolicy, Resources,
};
use crate::deployment::{Conclusion, DeploymentId, State};
use crate::engine::{ApprovalRequest, DeploymentEngine};
use crate::memory::HookRun;

/// What people want in a run.
///
/// Each scenario is a story that ends well when nothing goes wrong, and is told
/// with faults and crashes in every place otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scenario {
    /// Whatever a seed makes of it: several apps and engines, everything at once.
    Random,
    /// The first version of an app.
    FirstDeploy,
    /// A second version in place of the first.
    Update,
    /// Back to the first version while it still runs; then, after other versions with other settings, to one that does
    /// not run any more.
    Rollback,
    /// A version that never becomes healthy, after a good one.
    GoodToBad,
    /// A bad version after a bad one.
    BadToBad,
    /// A good version after a bad one.
    BadToGood,
    /// A cancel while the source is fetched.
    CancelFetching,
    /// A cancel while the image is built.
    CancelBuilding,
    /// A cancel while the slot is made ready.
    CancelPreparing,
    /// A cancel while the container is started.
    CancelStarting,
    /// A cancel while the container is asked for its health.
    CancelProbing,
    /// The app is removed while a version of it is deployed.
    DeleteDuringDeploy,
    /// There is no room for a second version.
    CapacityRefused,
    /// Two apps want the same few addresses at once.
    SharedPorts,
    /// People agree to one version, not to the next, and do not answer about the third.
    Approval,
    /// Versions that are watched once they serve: one falls ill, one dies, one fails its users, one is well.
    Bake,
    /// The machine has room for three versions: a hog is refused, others go on, room is freed and used again.
    Admission,
    /// Versions that fall ill long after they were promoted: one is gone back from, one is restarted.
    Liveness,
    /// Versions with programs that run beside their deployments: they take a while, fail, or hang.
    Hooks,
    /// A project with an environment and a preview; it is changed, and goes with all of its apps.
    Project,
    /// Versions that get their users by steps: one is well, one dies, one falls ill, one fails its users, one
    /// is not wanted any more.
    Canary,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Random,
        Self::FirstDeploy,
        Self::Update,
        Self::Rollback,
        Self::GoodToBad,
        Self::BadToBad,
        Self::BadToGood,
        Self::CancelFetching,
        Self::CancelBuilding,
        Self::CancelPreparing,
        Self::CancelStarting,
        Self::CancelProbing,
        Self::DeleteDuringDeploy,
        Self::CapacityRefused,
        Self::SharedPorts,
        Self::Approval,
        Self::Bake,
        Self::Admission,
        Self::Liveness,
        Self::Hooks,
        Self::Project,
        Self::Canary,
    ];

    /// Its name in reports and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::FirstDeploy => "first-deploy",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::GoodToBad => "good-to-bad",
            Self::BadToBad => "bad-to-bad",
            Self::BadToGood => "bad-to-good",
            Self::CancelFetching => "cancel-fetching",
            Self::CancelBuilding => "cancel-building",
            Self::CancelPreparing => "cancel-preparing",
            Self::CancelStarting => "cancel-starting",
            Self::CancelProbing => "cancel-probing",
            Self::DeleteDuringDeploy => "delete-during-deploy",
            Self::CapacityRefused => "capacity-refused",
            Self::SharedPorts => "shared-ports",
            Self::Approval => "approval",
            Self::Bake => "bake",
            Self::Admission => "admission",
            Self::Liveness => "liveness",
            Self::Hooks => "hooks",
            Self::Project => "project",
            Self::Canary => "canary",
        }
    }

    /// How many addresses there are, if they are few.
    pub(crate) fn ports(self) -> Option<u32> {
        match self {
            Self::CapacityRefused => Some(1),
            Self::SharedPorts => Some(4),
            _ => None,
        }
    }

    /// For how many versions the machine has room, if it is few.
    pub(crate) fn room(self) -> Option<u64> {
        (self == Self::Admission).then_some(3)
    }

    /// Tells the story. What is refused along the way is a part of it.
    pub(crate) async fn play(self, world: &World) -> Result<()> {
        match self {
            Self::Random => super::random::play(world).await,
            Self::FirstDeploy => story(world, &[Program::Good]).await,
            Self::Update => story(world, &[Program::Good, Program::WarmsUp(2)]).await,
            Self::Rollback => rollback(world).await,
            Self::GoodToBad => story(world, &[Program::Good, Program::Unhealthy]).await,
            Self::BadToBad => story(world, &[Program::Exits, Program::Hangs]).await,
            Self::BadToGood => story(world, &[Program::BuildFails, Program::Good]).await,
            Self::CancelFetching => cancel(world, State::Fetching).await,
            Self::CancelBuilding => cancel(world, State::Building).await,
            Self::CancelPreparing => cancel(world, State::Preparing).await,
            Self::CancelStarting => cancel(world, State::Starting).await,
            Self::CancelProbing => cancel(world, State::Probing).await,
            Self::DeleteDuringDeploy => delete_during_deploy(world).await,
            Self::CapacityRefused => story(world, &[Program::Good]).await,
            Self::SharedPorts => shared_ports(world).await,
            Self::Approval => approval(world).await,
            Self::Bake => bake(world).await,
            Self::Admission => admission(world).await,
            Self::Liveness => liveness(world).await,
            Self::Hooks => hooks(world).await,
            Self::Project => super::projects::story(world).await,
            Self::Canary => canary(world).await,
        }
    }

    /// What is true at the end of the story if nothing went wrong.
    pub(crate) fn ends_well(self, ledger: &Ledger) -> Result<(), String> {
        use Conclusion::{Cancelled, Failed, RolledBack, Succeeded, Superseded};
        let expected: &[Conclusion] = match self {
            Self::Random => return Ok(()),
            Self::FirstDeploy => &[Succeeded],
            Self::Update => &[Succeeded, Succeeded],
            Self::Rollback => &[Succeeded; 6],
            Self::GoodToBad => &[Succeeded, Failed],
            Self::BadToBad => &[Failed, Failed],
            Self::BadToGood => &[Failed, Succeeded],
            Self::CancelFetching
            | Self::CancelBuilding
            | Self::CancelPreparing
            | Self::CancelStarting
            | Self::CancelProbing => &[Succeeded, Cancelled],
            Self::DeleteDuringDeploy => &[Succeeded, Superseded, Succeeded],
            Self::CapacityRefused => &[Failed],
            Self::SharedPorts => &[Succeeded, Succeeded, Succeeded, Succeeded],
            Self::Approval => &[Succeeded, Cancelled, Cancelled],
            Self::Bake => &[Succeeded, RolledBack, RolledBack, RolledBack, Succeeded],
            Self::Admission => &[Succeeded, Succeeded, Failed, Succeeded, Failed, Succeeded, Succeeded],
            // The last is the engine's own.
            Self::Liveness => &[Succeeded; 4],
            Self::Hooks => &[Succeeded, Failed, Failed, Succeeded],
            // Production, staging, the preview; staging goes, the preview anew; both go.
            Self::Project => &[Succeeded; 7],
            Self::Canary => &[Succeeded, Succeeded, Failed, Failed, Failed, Cancelled],
        };
        let ended: Vec<_> = ledger.deployments().filter_map(|entry| entry.conclusion).collect();
        if ended == expected {
            return Ok(());
        }
        Err(format!("the story of {self} ended in {ended:?} instead of {expected:?}"))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|scenario| scenario.as_str() == text).ok_or_else(|| format!("one of {all}"))
    }
}

/// One version after the other.
async fn story(world: &World, programs: &[Program]) -> Result<()> {
    let app = world.create_app("shop").await?;
    for program in programs {
        world.release(&app, *program).await?;
    }
    Ok(())
}

async fn rollback(world: &World) -> Result<()> {
    story(world, &[Program::Good, Program::Good]).await?;
    let app = AppName::parse("shop")?;
    let id = world.roll_back(&app).await?;
    world.ended(id).await;
    // Nothing of what is said about it stays as it was.
    for number in 1..=2 {
        world.change(&app, number).await?;
        world.release(&app, Program::Good).await?;
    }
    let second = world.with_ledger(|ledger| {
        let mut all = ledger.deployments_of(&app);
        all.find(|entry| entry.sequence == 2).map(|entry| entry.id)
    });
    if let Some(second) = second {
        let id = world.roll_back_to(&app, second).await?;
        world.ended(id).await;
    }
    Ok(())
}

async fn cancel(world: &World, at: State) -> Result<()> {
    story(world, &[Program::Good]).await?;
    let app = AppName::parse("shop")?;
    let commit = world.commit(&app, Program::WarmsUp(3))?;
    let id = world.deploy(&app, &commit).await?;
    world.until(|ledger| has_reached(ledger, id, at)).await;
    world.cancel(id).await?;
    world.ended(id).await;
    Ok(())
}

async fn delete_during_deploy(world: &World) -> Result<()> {
    story(world, &[Program::Good]).await?;
    let app = AppName::parse("shop")?;
    let commit = world.commit(&app, Program::WarmsUp(3))?;
    let id = world.deploy(&app, &commit).await?;
    world.until(|ledger| has_reached(ledger, id, State::Building)).await;
    let removal = world.remove_app(&app).await?;
    world.ended(id).await;
    world.ended(removal).await;
    Ok(())
}

async fn shared_ports(world: &World) -> Result<()> {
    let apps = [world.create_app("blue").await?, world.create_app("red").await?];
    for program in [Program::Good, Program::WarmsUp(1)] {
        let mut waiting = Vec::new();
        for app in &apps {
            let commit = world.commit(app, program)?;
            waiting.push(world.deploy(app, &commit).await?);
        }
        for id in waiting {
            world.ended(id).await;
        }
    }
    Ok(())
}

async fn approval(world: &World) -> Result<()> {
    let policy = ApprovalPolicy::of(2).with_expiry(Duration::from_secs(25));
    let app = world.create(world.app("shop")?.with_approval(policy)).await?;
    let answers: [&[(&str, bool)]; 3] = [&[("ann", true), ("bob", true)], &[("ann", true), ("bob", false)], &[]];
    for told in answers {
        let commit = world.commit(&app, Program::Good)?;
        let id = world.deploy(&app, &commit).await?;
        if let Some(question) = world.question(id).await {
            for (by, agrees) in told {
                let answer = ApprovalRequest::answer(&question.approval, *by, *agrees);
                // It may have expired meanwhile.
                let asked = move |engine: DeploymentEngine| -> BoxFuture<'static, Result<()>> {
                    let answer = answer.clone();
                    Box::pin(async move { engine.answer_approval(id, answer).await.map(|_| ()) })
                };
                let code = world.insist(asked).await.err().map(|error| error.code().to_owned());
                world.tell(format_args!("{by} answers: {}", code.as_deref().unwrap_or("ok")));
            }
        }
        world.ended(id).await;
    }
    Ok(())
}

async fn bake(world: &World) -> Result<()> {
    let policy = BakePolicy::lasting(Duration::from_secs(10)).with_interval(Duration::from_secs(2));
    let app = world.create(world.app("shop")?.with_bake(policy)).await?;
    let soon = Duration::from_secs(3);
    let bad = [Program::SickensAfter(soon), Program::DiesAfter(soon), Program::FailsUsersAfter(soon)];
    for program in [Program::Good].into_iter().chain(bad).chain([Program::Good]) {
        world.release(&app, program).await?;
    }
    Ok(())
}

async fn admission(world: &World) -> Result<()> {
    let (alpha, beta) = (world.create_app("alpha").await?, world.create_app("beta").await?);
    for app in [&alpha, &beta] {
        world.release(app, Program::Good).await?;
    }
    let usual = Resources::default();
    let twice = Resources::new(usual.cpu_millis(), usual.memory_bytes() * 2, usual.pids())?;
    let hog = world.create(world.app("hog")?.with_resources(twice)).await?;
    world.release(&hog, Program::Good).await?;
    // Its standby holds the last room for a while.
    world.release(&alpha, Program::Good).await?;
    world.release(&beta, Program::Good).await?;
    world.until(|ledger| ledger.app(&alpha).is_none_or(|app| app.serving.standby.is_none())).await;
    world.set_busy(true);
    let commit = world.commit(&beta, Program::Good)?;
    let id = world.deploy(&beta, &commit).await;
    world.sleep(Duration::from_secs(20)).await;
    world.set_busy(false);
    world.ended(id?).await;
    // What stands by needs no more room.
    let id = world.roll_back(&beta).await?;
    world.ended(id).await;
    Ok(())
}
async fn liveness(world: &World) -> Result<()> {
    let app = |name, action| {
        let policy = LivenessPolicy::that(action).with_interval(Duration::from_secs(3)).with_failures(2);
        world.app(name).map(|app| app.with_liveness(policy.with_restarts(2, Duration::from_secs(40))))
    };
    // By then it was seen to be well.
    let soon = Duration::from_secs(12);
    let shop = world.create(app("shop", LivenessAction::RollBack)?).await?;
    world.release(&shop, Program::Good).await?;
    let cart = world.create(app("cart", LivenessAction::Restart)?).await?;
    world.release(&cart, Program::KeepsSickening(soon)).await?;
    world.release(&shop, Program::KeepsSickening(soon)).await?;
    world.sleep(Duration::from_secs(45)).await;
    Ok(())
}
async fn hooks(world: &World) -> Result<()> {
    let hook = Hook::new(Argv::new(["./hook"])?).with_timeout(Duration::from_secs(5));
    let hooks = HookPoint::ALL.into_iter().fold(Hooks::default(), |hooks, point| hooks.with(point, hook.clone()));
    let app = world.create(world.app("shop")?.with_hooks(hooks)).await?;
    for program in [
        Program::Hooked(HookPoint::PreDeploy, HookRun::Takes(Duration::from_secs(2), 0)),
        Program::Hooked(HookPoint::PreDeploy, HookRun::Ends(3)),
        Program::Hooked(HookPoint::PrePromote, HookRun::Hangs),
        Program::Hooked(HookPoint::PostPromote, HookRun::Takes(Duration::from_secs(3), 1)),
    ] {
        world.release(&app, program).await?;
    }
    Ok(())
}
async fn canary(world: &World) -> Result<()> {
    let steps = [(10, 5), (50, 6)].map(|(percent, hold)| CanaryStep::new(percent, Duration::from_secs(hold)));
    let policy = CanaryPolicy::of(steps).with_interval(Duration::from_secs(2));
    let app = world.create(world.app("shop")?.with_canary(policy)).await?;
    let users = world.clone().use_app(app.clone());
    world.spawn(users);
    let soon = Duration::from_secs(3);
    let bad = [Program::DiesAfter(soon * 2), Program::SickensAfter(soon), Program::FailsUsersAfter(soon)];
    for program in [Program::Good, Program::Good].into_iter().chain(bad) {
        world.release(&app, program).await?;
    }
    let commit = world.commit(&app, Program::Good)?;
    let id = world.deploy(&app, &commit).await?;
    let has_share = |ledger: &Ledger| ledger.app(&app).is_some_and(|app| app.serving.canary.is_some());
    let past = |ledger: &Ledger| ledger.deployment(id).is_none_or(|entry| entry.state > State::Canary);
    world.until(|ledger| has_share(ledger) || past(ledger)).await;
    world.cancel(id).await?;
    world.ended(id).await;
    Ok(())
}

/// Whether a deployment is in this state or has gone past it.
fn has_reached(ledger: &Ledger, id: DeploymentId, state: State) -> bool {
    ledger.deployment(id).is_none_or(|entry| entry.state >= state)
}

/// How long people go on wanting things in a random run.
pub(crate) fn duration(chance: &mut Chance) -> Duration {
    Duration::from_secs(chance.between(60, 420))
}
