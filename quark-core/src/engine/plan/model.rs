//! What a plan says, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::{AppName, ApprovalPolicy, BakePolicy, Change, CommitSha, HookPoint, ImageRef, RepositoryUrl};
use crate::clock::Timestamp;
use crate::deployment::{DeploymentId, DeploymentKind, Expectation, Failure, Slot, StepName};
use crate::engine::admission::RoomLeft;
use crate::engine::explain::{Finding, Served, VersionName};
use crate::engine::wish::Wish;

/// Everything that a wish would lead to, before anybody has done any of it.
///
/// Its steps are not a description of the engine: they are what the engine's own
/// decisions say, made ahead of time. Its `Display` is a text for people; text
/// and data say the same, because the one is made from the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The app.
    pub app: AppName,
    /// When the world was looked at, in the store's time.
    pub at: Timestamp,
    /// What is wished.
    pub kind: DeploymentKind,
    /// Which code would serve; for a removal, the one that would not any more.
    pub version: VersionName,
    /// What serves now.
    pub live: Option<Served>,
    /// What is said about the app and is different from what serves.
    pub changes: Vec<Change>,
    /// What becomes of deployments that have not ended.
    pub earlier: Vec<Earlier>,
    /// What is done, in this order.
    pub steps: Vec<PlannedStep>,
    /// What users notice of it.
    pub downtime: Downtime,
    /// What the machine has for it; `None` if nobody looks, or nothing new is run.
    pub room: Option<RoomLeft>,
    /// What stands in its way, the gravest first.
    pub obstacles: Vec<Obstacle>,
    /// What [`apply`](crate::DeploymentEngine::apply) needs.
    pub wish: PlannedWish,
}

impl Plan {
    /// Why it would fail, as far as that can be seen; the first reason.
    #[must_use]
    pub fn fails(&self) -> Option<&Failure> {
        self.obstacles.iter().find_map(|obstacle| match obstacle {
            Obstacle::Fails { failure } => Some(failure),
            Obstacle::Waits { .. } => None,
        })
    }
}

/// A wish with what it was planned from: what a plan becomes when it is applied.
///
/// Serialised, it holds the values of the variables that a deployment was given
/// of its own: keep it as one keeps a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedWish {
    /// The app.
    pub app: AppName,
    /// What is wished: the very commit, where a branch was named.
    pub wish: Wish,
    /// What must still be so.
    pub expects: Expectation,
}

impl PlannedWish {
    /// A plan that was kept elsewhere meanwhile.
    #[must_use]
    pub fn new(app: AppName, wish: Wish, expects: Expectation) -> Self {
        Self { app, wish, expects }
    }
}

/// What becomes of a deployment that was asked for before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Earlier {
    /// Which.
    pub deployment: DeploymentId,
    /// Its number among the deployments of the app.
    pub sequence: u64,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a deployment because of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// It ends; nothing was done for it.
    Ends,
    /// It is told to stop, and what it has made is taken away.
    Stops,
    /// It is finished first.
    ComesFirst,
    /// It ends at once where it stands: what watches it watches no longer, or what
    /// is left of it is taken away with the app.
    MakesWay,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedStep {
    /// What.
    pub effect: Effect,
    /// The step of the journal that does it; none while people or time decide.
    pub step: Option<StepName>,
    /// How long it may take at most, or takes if it is a time.
    #[serde(with = "crate::app::millis::optional", rename = "at_most_ms")]
    pub at_most: Option<Duration>,
    /// How long it took when what is live was deployed.
    #[serde(with = "crate::app::millis::optional", rename = "last_took_ms")]
    pub last_took: Option<Duration>,
}

/// What a step does to the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
#[non_exhaustive]
pub enum Effect {
    /// The source is fetched.
    Fetch {
        /// From where.
        repository: RepositoryUrl,
        /// Which commit; unknown if the host could not be asked.
        commit: Option<CommitSha>,
    },
    /// The image was built before and is there.
    Reuse {
        /// Of this commit.
        commit: CommitSha,
    },
    /// The image is built.
    Build,
    /// The image is pulled, unless it is there.
    Pull {
        /// Which.
        image: ImageRef,
    },
    /// The version that stands by makes room: no instant way back to it is left.
    MakeRoom {
        /// In this slot.
        slot: Slot,
    },
    /// A container is made.
    Create {
        /// In this slot.
        slot: Slot,
    },
    /// It is started.
    Start,
    /// It is asked until it is well.
    Probe {
        /// How many good answers in a row it takes.
        successes: u32,
    },
    /// People are asked whether it may serve users.
    Ask {
        /// Who must agree, and until when.
        policy: ApprovalPolicy,
    },
    /// Users are sent to it.
    Promote {
        /// From this slot, if something serves.
        from: Option<Slot>,
        /// To this slot.
        to: Slot,
    },
    /// It is watched, and rolled back by itself if it is not well.
    Bake {
        /// For how long, and how closely.
        policy: BakePolicy,
    },
    /// The version before stands by, for an instant way back.
    Keep,
    /// The version before finishes its requests.
    Drain,
    /// The version before is stopped and removed.
    Retire,
    /// The app's route is taken away.
    Unroute,
    /// Its containers are stopped and removed, and the app is forgotten.
    TakeAway,
    /// A hook is run, in a container of its own.
    Hook {
        /// Which.
        point: HookPoint,
    },
    /// What a hook has left is removed.
    Tidy,
    /// It gets a share of the requests; what is live gets the rest.
    Share {
        /// So many of a hundred.
        percent: u8,
        /// The slot that gets them.
        to: Slot,
    },
    /// It keeps that share while it is watched, and loses it if it is not well.
    Hold,
}

/// What users notice of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Downtime {
    /// Nothing: what serves goes on until the other version is well, and the
    /// switch loses no request.
    None,
    /// Nothing serves yet, so there is nothing to lose.
    NothingServes,
    /// It is down already, and serves again after this.
    AlreadyDown,
    /// It does not serve any more after this.
    ForGood,
}

/// What stands in the way of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "obstacle")]
#[non_exhaustive]
pub enum Obstacle {
    /// It would fail.
    Fails {
        /// Of this.
        failure: Failure,
    },
    /// It would wait until this is over, and fail if that lasts.
    Waits {
        /// What.
        finding: Finding,
    },
}

impl Effect {
    /// Its stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Reuse { .. } => "reuse",
            Self::Build => "build",
            Self::Pull { .. } => "pull",
            Self::MakeRoom { .. } => "make_room",
            Self::Create { .. } => "create",
            Self::Start => "start",
            Self::Probe { .. } => "probe",
            Self::Ask { .. } => "ask",
            Self::Promote { .. } => "promote",
            Self::Bake { .. } => "bake",
            Self::Keep => "keep",
            Self::Drain => "drain",
            Self::Retire => "retire",
            Self::Unroute => "unroute",
            Self::TakeAway => "take_away",
            Self::Hook { .. } => "hook",
            Self::Tidy => "tidy",
            Self::Share { .. } => "share",
            Self::Hold => "hold",
        }
    }
}

impl Downtime {
    /// Its stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NothingServes => "nothing_serves",
            Self::AlreadyDown => "already_down",
            Self::ForGood => "for_good",
        }
    }
}

impl Fate {
    /// Its stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Stops => "stops",
            Self::ComesFirst => "comes_first",
            Self::MakesWay => "makes_way",
        }
    }
}
