//! What the program of a commit does.

use std::time::Duration;

use crate::app::HookPoint;
use crate::memory::{Behaviour, Health, HookRun};

/// What the program of a commit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// It is well.
    Good,
    /// It answers 500.
    Unhealthy,
    /// It exits as soon as it is started.
    Exits,
    /// It never answers.
    Hangs,
    /// It never listens.
    NeverListens,
    /// It answers 503 that many times, and is well then.
    WarmsUp(u32),
    /// It cannot be built.
    BuildFails,
    /// It is well, and has to be killed in the end.
    IgnoresStop,
    /// It is well, and dies that long after it got its first users.
    DiesAfter(Duration),
    /// It is well, and answers 500 from that long after it got its first users.
    SickensAfter(Duration),
    /// It is well when it is asked, and fails every fifth request of a user from
    /// that long after it got its first users.
    FailsUsersAfter(Duration),
    /// It is well, and answers 500 from that long after each of its starts.
    KeepsSickening(Duration),
    /// It is well, and dies that long after each of its starts.
    KeepsDying(Duration),
    /// It is well, answers 500 from that long after it was promoted, and is well
    /// again after as long.
    Ails(Duration),
    /// It is well, and its hook at this point runs like this.
    Hooked(HookPoint, HookRun),
}

/// What becomes of a program once it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Dies(Duration),
    Sickens(Duration),
    FailsUsers(Duration),
    KeepsSickening(Duration),
    KeepsDying(Duration),
    Ails(Duration),
}

impl Program {
    /// What a container of it does; why there is none, if it cannot be built.
    pub(crate) fn behaviour(self) -> Result<Behaviour, &'static str> {
        let health = match self {
            Self::BuildFails => return Err("error: expected `;`, found `}`"),
            Self::IgnoresStop => return Ok(Behaviour::healthy().ignoring_stop()),
            Self::Hooked(point, run) => {
                return Ok(Behaviour::healthy().printing(["starting"]).printing_environment().running_hook(point, run));
            }
            Self::Good | Self::DiesAfter(_) | Self::SickensAfter(_) | Self::FailsUsersAfter(_) => Health::Healthy,
            Self::KeepsSickening(_) | Self::KeepsDying(_) | Self::Ails(_) => Health::Healthy,
            Self::Unhealthy => Health::Status(500),
            Self::Exits => Health::ExitsAtOnce(1),
            Self::Hangs => Health::Hangs,
            Self::NeverListens => Health::NeverListens,
            Self::WarmsUp(times) => Health::WarmsUp(times),
        };
        // What it prints must not be shown to anybody as it is.
        Ok(Behaviour::with_health(health).printing(["starting"]).printing_environment())
    }

    pub(crate) fn fate(self) -> Option<Fate> {
        match self {
            Self::DiesAfter(after) => Some(Fate::Dies(after)),
            Self::SickensAfter(after) => Some(Fate::Sickens(after)),
            Self::FailsUsersAfter(after) => Some(Fate::FailsUsers(after)),
            Self::KeepsSickening(after) => Some(Fate::KeepsSickening(after)),
            Self::KeepsDying(after) => Some(Fate::KeepsDying(after)),
            Self::Ails(after) => Some(Fate::Ails(after)),
            _ => None,
        }
    }
}
