//! What an explanation says, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text;
use crate::app::{AppName, CommitSha, HookPoint, ImageRef};
use crate::clock::Timestamp;
use crate::deployment::{ContainerName, DeploymentId, DeploymentKind, Failure, Share, Shortage, Slot, State, StepName};

/// What an app is, what it should be, why it is not, and what comes next.
///
/// Its `Display` is a text for people; `text` and data say the same, because
/// the one is made from the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The app.
    pub app: AppName,
    /// When the world was looked at, in the store's time.
    pub at: Timestamp,
    /// What serves users.
    pub live: Option<Served>,
    /// What could serve in an instant, and when it is retired.
    pub standby: Option<Kept>,
    /// What has not ended: the one under way first, then those that wait.
    pub work: Vec<Work>,
    /// What is not as it should be, the gravest first.
    pub findings: Vec<Finding>,
    /// What happens next, and what a person could do.
    pub next: Vec<Next>,
}

/// A version in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Served {
    /// The deployment that brought it into service.
    pub deployment: DeploymentId,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// Which code.
    pub version: VersionName,
    /// Where.
    pub slot: Slot,
    /// Since when it serves.
    pub since: Option<Timestamp>,
}

/// A standby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Kept {
    /// What.
    #[serde(flatten)]
    pub served: Served,
    /// When it is retired.
    pub until: Timestamp,
    /// Whether that has begun: from then on no rollback takes it.
    pub retiring: bool,
    /// Whether all of its containers run: else a rollback has to start it anew.
    pub runs: Option<bool>,
}

/// Which code, as people call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VersionName {
    /// A commit.
    Commit(CommitSha),
    /// The head of a branch that was not resolved yet.
    Branch(String),
    /// An image.
    Image(ImageRef),
}

/// A deployment that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Work {
    /// Which.
    pub deployment: DeploymentId,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// What it does.
    pub kind: DeploymentKind,
    /// Which code.
    pub version: VersionName,
    /// Who wanted it.
    pub by: String,
    /// Where it stands.
    pub state: State,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Whether somebody has asked it to stop.
    pub cancelled: bool,
    /// The step that was begun last, for the one under way.
    pub step: Option<Step>,
    /// What it waits for, if it does.
    pub waits_for: Option<Wait>,
}

/// The step that a deployment has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// From 1.
    pub attempt: u32,
    /// When this attempt was begun.
    pub since: Timestamp,
    /// When it counts as failed.
    pub deadline: Timestamp,
    /// Why this attempt, or the one before it, failed.
    pub failure: Option<Failure>,
}

/// What a deployment waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Wait {
    /// For the end of an earlier deployment of the app, by its number.
    Earlier(u64),
    /// For an engine with a free place.
    Worker,
    /// For a place to fetch, build or pull in this engine.
    Build {
        /// How many there are.
        at_once: usize,
        /// How many deployments wait before it.
        ahead: usize,
    },
    /// For the time of the next attempt.
    Attempt(Timestamp),
    /// For a person: it could not be cleaned up.
    Person,
    /// For people who must agree that it serves users.
    Approval {
        /// How many more.
        missing: u32,
        /// When that is decided without them.
        until: Timestamp,
    },
    /// For the end of the watch over it.
    Bake {
        /// When it is over, if the version is well then.
        until: Timestamp,
        /// How often in a row it was found unwell.
        unwell: u32,
        /// What was wrong at the last time.
        failure: Option<Failure>,
    },
    /// For the end of safe mode.
    SafeMode,
    /// For room on the machine of this engine, by what is measured there.
    Host {
        /// What is short.
        shortage: Shortage,
        /// What was measured, and what may be.
        why: String,
        /// When it fails if there is none by then.
        until: Timestamp,
    },
    /// For the end of the time for which it gets a share of the requests.
    Canary {
        /// How many of a hundred.
        percent: Share,
        /// Which of its app's steps that is, from 1.
        step: usize,
        /// How many there are.
        steps: usize,
        /// When it is over, if the version is well then.
        until: Timestamp,
        /// How often in a row it was found unwell.
        unwell: u32,
        /// What was wrong at the last time.
        failure: Option<Failure>,
    },
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
#[non_exhaustive]
pub enum Finding {
    /// The engine only looks: its store seems to have gone back in time.
    SafeMode {
        /// What has shown it.
        reason: String,
    },
    /// The containers could not be looked at.
    RuntimeAway {
        /// Why.
        why: String,
    },
    /// The route could not be looked at.
    RouterAway {
        /// Why.
        why: String,
    },
    /// A live container is gone.
    ContainerMissing {
        /// Its name.
        container: ContainerName,
    },
    /// A live container does not run.
    ContainerStopped {
        /// Its name.
        container: ContainerName,
    },
    /// Something is live and the router knows no route.
    NoRoute,
    /// The route points at the slot that is not live.
    WrongRoute {
        /// Where it points.
        at: Slot,
        /// Where it should.
        should: Slot,
    },
    /// The slot that is not live gets another share of the requests than it should.
    WrongShare {
        /// What it gets, if anything.
        at: Option<Share>,
        /// What it should, if anything.
        should: Option<Share>,
    },
    /// Nothing is live and there is a route.
    NeedlessRoute,
    /// What is live could not be mended; it is tried again and again.
    MendFails {
        /// Why.
        failure: Failure,
    },
    /// The standby could not be retired; it is tried again and again.
    RetirementFails {
        /// Why.
        failure: Failure,
    },
    /// A deployment could not be cleaned up.
    Stuck {
        /// Its number.
        sequence: u64,
        /// What could not be done.
        step: StepName,
        /// Why not.
        failure: Failure,
    },
    /// The newest deployment failed; what was live before still is.
    LastFailed {
        /// Its number.
        sequence: u64,
        /// Why.
        failure: Failure,
    },
    /// The newest deployment served, was not well, and was rolled back; what was
    /// live before is again.
    LastRolledBack {
        /// Its number.
        sequence: u64,
        /// Why.
        failure: Failure,
    },
    /// What is live was not well while it was watched, and neither was what it
    /// could have been rolled back to.
    Held {
        /// Its number.
        sequence: u64,
        /// What was wrong with it.
        failure: Failure,
    },
    /// The address of a slot belongs to something else; the next deployment
    /// there gets another one.
    AddressTaken {
        /// Which slot.
        slot: Slot,
    },
    /// The standby does not run: a rollback to it has to start it anew.
    StandbyDead,
    /// What is live is not well.
    Unhealthy {
        /// Its number.
        sequence: u64,
        /// Since when that is known.
        since: Timestamp,
        /// How many restarts count just now.
        restarts: u32,
        /// What is wrong with it.
        failure: Failure,
        /// Why the engine did not go back from it, if its policy says that it shall.
        held: Option<Failure>,
    },
    /// What is live has needed more restarts than it may have.
    CrashLoop {
        /// Its number.
        sequence: u64,
        /// Since when.
        since: Timestamp,
        /// How many restarts count just now.
        restarts: u32,
        /// How many there may be.
        most: u32,
        /// In which time.
        window: Duration,
    },
    /// A hook of what is live failed; that serves on.
    HookFailed {
        /// The number of the deployment.
        sequence: u64,
        /// Which hook.
        hook: HookPoint,
        /// Why.
        failure: Failure,
    },
}

/// What happens next, or could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "next")]
#[non_exhaustive]
pub enum Next {
    /// The engine goes on with a deployment.
    GoOn {
        /// Its number.
        sequence: u64,
    },
    /// The engine begins with a deployment that waits.
    Begin {
        /// Its number.
        sequence: u64,
    },
    /// The engine brings what is live back to what it should be, within a minute.
    Mend,
    /// The engine retires the standby.
    Retire {
        /// Its number.
        sequence: u64,
        /// When.
        at: Timestamp,
    },
    /// A person could mend the cause and try to clean up once more, or abandon it.
    RetryOrAbandon {
        /// Which deployment.
        deployment: DeploymentId,
        /// Its number.
        sequence: u64,
    },
    /// People could look at a version and say whether it may serve users.
    Answer {
        /// Which deployment.
        deployment: DeploymentId,
        /// Its number.
        sequence: u64,
    },
    /// A person could compare the store with what runs, and resume the engine.
    Resume,
    /// A person could mend what made the newest deployment fail, and deploy again.
    MendAndDeploy,
    /// A person could deploy something: nothing was yet.
    Deploy,
    /// A person could look after the runtime or the router.
    BringBack,
    /// A person could go back to the standby, in an instant.
    RollBack {
        /// The number of the version.
        sequence: u64,
    },
    /// The engine restarts what is live, if it needs that then.
    Restart {
        /// Its number.
        sequence: u64,
        /// When.
        at: Timestamp,
    },
    /// A person could look why what is live is not well, and deploy a better version.
    LookAfterLive {
        /// Its number.
        sequence: u64,
    },
}

impl Finding {
    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SafeMode { .. } => "safe_mode",
            Self::RuntimeAway { .. } => "runtime_away",
            Self::RouterAway { .. } => "router_away",
            Self::ContainerMissing { .. } => "container_missing",
            Self::ContainerStopped { .. } => "container_stopped",
            Self::NoRoute => "no_route",
            Self::WrongRoute { .. } => "wrong_route",
            Self::WrongShare { .. } => "wrong_share",
            Self::NeedlessRoute => "needless_route",
            Self::MendFails { .. } => "mend_fails",
            Self::RetirementFails { .. } => "retirement_fails",
            Self::Stuck { .. } => "stuck",
            Self::LastFailed { .. } => "last_failed",
            Self::LastRolledBack { .. } => "last_rolled_back",
            Self::Held { .. } => "held",
            Self::AddressTaken { .. } => "address_taken",
            Self::StandbyDead => "standby_dead",
            Self::Unhealthy { .. } => "unhealthy",
            Self::CrashLoop { .. } => "crash_loop",
            Self::HookFailed { .. } => "hook_failed",
        }
    }
}

impl Next {
    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::GoOn { .. } => "go_on",
            Self::Begin { .. } => "begin",
            Self::Mend => "mend",
            Self::Retire { .. } => "retire",
            Self::RetryOrAbandon { .. } => "retry_or_abandon",
            Self::Answer { .. } => "answer",
            Self::Resume => "resume",
            Self::MendAndDeploy => "mend_and_deploy",
            Self::Deploy => "deploy",
            Self::BringBack => "bring_back",
            Self::RollBack { .. } => "roll_back",
            Self::Restart { .. } => "restart",
            Self::LookAfterLive { .. } => "look_after_live",
        }
    }

    /// When it happens, if that is known.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Retire { at, .. } | Self::Restart { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// What it is, as one says at that moment.
    #[must_use]
    pub fn describe(&self, now: Timestamp) -> String {
        text::At(self, now).to_string()
    }

    /// Whether it happens by itself.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        matches!(self, Self::GoOn { .. } | Self::Begin { .. } | Self::Mend | Self::Retire { .. } | Self::Restart { .. })
    }
}
