//! A plan as a text for people.

use std::fmt;
use std::time::Duration;

use super::model::{Downtime, Earlier, Effect, Fate, Obstacle, Plan, PlannedStep};
use crate::deployment::{Amount, DeploymentKind, Shortage};
use crate::engine::admission::RoomLeft;
use crate::engine::explain::VersionName;
use crate::engine::explain::text::{list, span};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeploymentKind::Remove => write!(f, "Plan for `{}`: take it out of service for good", self.app)?,
            DeploymentKind::Rollback { .. } => write!(f, "Plan for `{}`: go back to {}", self.app, self.version)?,
            DeploymentKind::Deploy => write!(f, "Plan for `{}`: deploy {}", self.app, self.version)?,
        }
        match (&self.live, &self.kind) {
            (Some(live), DeploymentKind::Remove) => writeln!(f, "; {live} serves.")?,
            (Some(live), _) => writeln!(f, " in place of {live}.")?,
            (None, _) => writeln!(f, "; nothing of it is live.")?,
        }
        list(f, "Different from what serves", &self.changes)?;
        list(f, "Before it", &self.earlier)?;
        if !self.steps.is_empty() {
            writeln!(f, "\nIn this order:")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>2}. {step}", index + 1)?;
        }
        writeln!(f, "\n{}", self.downtime)?;
        if let Some(room) = &self.room {
            writeln!(f, "{room}")?;
        }
        list(f, "In its way", &self.obstacles)
    }
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ", self.sequence)?;
        f.write_str(match self.fate {
            Fate::Ends => "ends; nothing was done for it",
            Fate::Stops => "is told to stop, and what it has made is taken away",
            Fate::ComesFirst => "is finished first",
            Fate::MakesWay => "makes way: it ends where it stands",
        })
    }
}

impl fmt::Display for PlannedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.effect)?;
        match (self.at_most, self.last_took) {
            // It says so itself.
            _ if matches!(self.effect, Effect::Ask { .. }) => Ok(()),
            // These are times, not limits.
            (Some(lasts), _) if self.step.is_none() => write!(f, ", for {}", span(lasts)),
            (Some(most), Some(took)) => write!(f, " (at most {}, {} last time)", span(most), short(took)),
            (Some(most), None) => write!(f, " (at most {})", span(most)),
            (None, _) => Ok(()),
        }
    }
}

/// A time that may be shorter than what people usually name.
fn short(took: Duration) -> String {
    if took < Duration::from_secs(1) { format!("{} ms", took.as_millis()) } else { span(took) }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fetch { repository, commit: Some(commit) } => {
                write!(f, "fetch {} from {repository}", VersionName::Commit(commit.clone()))
            }
            Self::Fetch { repository, commit: None } => write!(f, "fetch the source from {repository}"),
            Self::Reuse { commit } => {
                write!(f, "take the image of {}, which was built before", VersionName::Commit(commit.clone()))
            }
            Self::Build => f.write_str("build its image"),
            Self::Pull { image } => write!(f, "pull image {image}, unless it is here"),
            Self::MakeRoom { slot } => {
                write!(f, "drain and remove what is in the {slot} slot: there is no instant way back to it after this")
            }
            Self::Create { slot } => write!(f, "create a container in the {slot} slot"),
            Self::Start => f.write_str("start it"),
            Self::Probe { successes } => write!(f, "ask for its health until {successes} answers in a row are good"),
            Self::Ask { policy } => {
                let agree = if policy.quorum == 1 { "person agrees" } else { "people agree" };
                write!(f, "wait until {} {agree} that it serves", policy.quorum)?;
                match policy.auto_approve {
                    Some(after) => write!(f, "; if nobody objects within {} it is approved by itself", span(after)),
                    None => write!(f, "; without an answer within {} it is cancelled", span(policy.expires)),
                }
            }
            Self::Promote { from: Some(from), to } => write!(f, "send users to {to} instead of {from}"),
            Self::Promote { from: None, to } => write!(f, "send users to {to}"),
            Self::Bake { .. } => f.write_str("watch it, and go back by itself if it is not well"),
            Self::Keep => f.write_str("keep the version before warm"),
            Self::Drain => f.write_str("let the version before finish its requests"),
            Self::Retire => f.write_str("stop and remove the version before"),
            Self::Unroute => f.write_str("take its route away"),
            Self::Hook { point } => write!(f, "run the {point} hook in a container of the new image"),
            Self::Share { percent, to } => write!(f, "send {percent} % of the requests to {to}"),
            Self::Hold => f.write_str("watch it, and take the share back if it is not well"),
            Self::Tidy => f.write_str("remove what the hook has left"),
            Self::TakeAway => f.write_str("stop and remove its containers, and forget it"),
        }
    }
}

impl fmt::Display for Downtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => {
                "No downtime: what serves goes on until the other version is well, and the switch loses no request."
            }
            Self::NothingServes => "No downtime: nothing serves yet.",
            Self::AlreadyDown => "It is down now, and serves again after this.",
            Self::ForGood => "It does not serve any more after this.",
        })
    }
}

impl fmt::Display for RoomLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "It may use {}", Amount(Shortage::Memory, self.needed.memory_bytes))?;
        if let Some(most) = self.room.memory_bytes {
            let [used, most] = [self.reserved.memory_bytes, most].map(|amount| Amount(Shortage::Memory, amount));
            write!(f, "; {used:#} of {most:#} are reserved beside it")?;
        }
        if let Some(free) = self.free_disk {
            write!(f, "; {:#} of the disk are free", Amount(Shortage::Disk, free))?;
        }
        f.write_str(".")
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fails { failure } => write!(f, "it would fail: {failure}"),
            Self::Waits { finding } => write!(f, "it would have to wait: {finding}"),
        }
    }
}
