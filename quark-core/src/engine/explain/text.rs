//! An explanation as a text for people. Moments are told as spans: who reads
//! this wants to know how long something has lasted, not on which clock.

use std::fmt;
use std::time::Duration;

use super::{Explanation, Finding, Kept, Next, Served, Step, VersionName, Wait, Work};
use crate::clock::Timestamp;
use crate::deployment::{DeploymentKind, Failure, Share, State};

/// The characters of a commit that people read.
const SHORT: usize = 7;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.live {
            Some(live) => writeln!(f, "`{}` serves {live}{}.", self.app, Lasted(live.since, self.at))?,
            None => writeln!(f, "Nothing of `{}` is live.", self.app)?,
        }
        if let Some(standby) = &self.standby {
            writeln!(f, "Standby: {}", At(standby, self.at))?;
        }
        for work in &self.work {
            let waits = work.state == State::Queued;
            writeln!(f, "{}: {}", if waits { "Waiting" } else { "Under way" }, At(work, self.at))?;
        }
        list(f, "Not as it should be", &self.findings)?;
        let (automatic, yours): (Vec<&Next>, Vec<&Next>) = self.next.iter().partition(|next| next.is_automatic());
        let tell = |next: Vec<&Next>| next.into_iter().map(|next| next.describe(self.at)).collect::<Vec<_>>();
        list(f, "Next, by itself", &tell(automatic))?;
        list(f, "You could", &tell(yours))
    }
}

pub(in crate::engine) fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    items.iter().try_for_each(|item| writeln!(f, "- {item}"))
}

/// Something told at a moment.
pub(super) struct At<'a, T>(pub(super) &'a T, pub(super) Timestamp);

/// How long something has lasted, if it is known since when.
struct Lasted(Option<Timestamp>, Timestamp);

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |since| write!(f, ", for {}", span(self.1.since(since))))
    }
}

/// A span of time as people say it, with its two largest units.
pub(in crate::engine) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let two = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", duration.as_secs_f64()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => two(minutes, "min", seconds % 60, "s"),
        (0, ..) => two(hours, "h", minutes, "min"),
        _ => two(days, if days == 1 { "day" } else { "days" }, hours, "h"),
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit(commit) => write!(f, "commit {}", commit.as_str().get(..SHORT).unwrap_or(commit.as_str())),
            Self::Branch(branch) => write!(f, "the head of {branch}"),
            Self::Image(image) => write!(f, "image {image}"),
        }
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (#{}, {})", self.version, self.sequence, self.slot)
    }
}

impl fmt::Display for At<'_, Kept> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Kept { served, until, retiring, runs }, now) = self;
        match now {
            _ if *retiring => return write!(f, "{served}, being retired."),
            now if until <= now => write!(f, "{served}, to be retired now")?,
            now => write!(f, "{served}, kept for another {}", span(until.since(*now)))?,
        }
        f.write_str(match runs {
            Some(true) => "; it runs, so a rollback takes a moment.",
            Some(false) => "; it does not run, so a rollback starts it anew.",
            None => ".",
        })
    }
}

impl fmt::Display for At<'_, Work> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(work, now) = self;
        write!(f, "#{}, ", work.sequence)?;
        match work.kind {
            DeploymentKind::Remove => f.write_str("the removal of the app")?,
            DeploymentKind::Rollback { .. } => write!(f, "a rollback to {}", work.version)?,
            DeploymentKind::Deploy => write!(f, "{}", work.version)?,
        }
        write!(f, ", asked for by {} {} ago", work.by, span(now.since(work.created_at)))?;
        if work.cancelled {
            f.write_str(", told to stop")?;
        }
        match (&work.waits_for, &work.step) {
            (Some(wait), _) => write!(f, ": {}.", At(&(work.state, wait), *now)),
            (None, Some(step)) => write!(f, ": {}, {}.", work.state, At(step, *now)),
            (None, None) => write!(f, ": {}.", work.state),
        }
    }
}

impl fmt::Display for At<'_, (State, &Wait)> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self((state, wait), now) = self;
        match wait {
            Wait::Earlier(sequence) => write!(f, "waits for the end of #{sequence}"),
            Wait::Build { at_once, ahead } => {
                write!(f, "waits for a place: {at_once} at once may build")?;
                if *ahead > 0 { write!(f, ", and {ahead} wait before it") } else { Ok(()) }
            }
            Wait::Worker => f.write_str("waits for an engine with a free place"),
            Wait::Attempt(at) => write!(f, "{state}, waits {} before the next attempt", span(at.since(*now))),
            Wait::Person => f.write_str("it could not be cleaned up and waits for a person"),
            Wait::Approval { missing, until } => {
                let people = if *missing == 1 { "person" } else { "people" };
                write!(
                    f,
                    "healthy, waits for the consent of {missing} {people}, for another {}",
                    span(until.since(*now))
                )
            }
            Wait::Bake { until, unwell, failure } => {
                match until {
                    until if until > now => {
                        write!(f, "serves, and is watched for another {}", span(until.since(*now)))?
                    }
                    _ => f.write_str("serves, and is watched until something can be said about it")?,
                }
                found_unwell(f, *unwell, failure.as_ref())
            }
            Wait::Canary { percent, step, steps, until, unwell, failure } => {
                write!(f, "gets {percent} of the requests (step {step} of {steps})")?;
                match until {
                    until if until > now => write!(f, " for another {}", span(until.since(*now)))?,
                    _ => f.write_str(" until something can be said about it")?,
                }
                found_unwell(f, *unwell, failure.as_ref())
            }
            Wait::Host { why, until, .. } => {
                write!(f, "waits for room on the machine, for another {} at most: {why}", span(until.since(*now)))
            }
            Wait::SafeMode => write!(f, "{state}, waits for the end of safe mode"),
        }
    }
}

fn found_unwell(f: &mut fmt::Formatter<'_>, unwell: u32, failure: Option<&Failure>) -> fmt::Result {
    let Some(failure) = failure else { return Ok(()) };
    let times = if unwell == 1 { "time" } else { "times" };
    write!(f, "; found unwell {unwell} {times} in a row: {}", failure.message)
}

impl fmt::Display for At<'_, Step> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step, now) = self;
        write!(f, "step {} for {}", step.name, span(now.since(step.since)))?;
        if step.deadline > *now {
            write!(f, ", at most another {}", span(step.deadline.since(*now)))?;
        }
        if step.attempt > 1 {
            write!(f, ", attempt {}", step.attempt)?;
        }
        match &step.failure {
            Some(failure) => write!(f, "; before that: {failure}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeMode { reason } => write!(f, "the engine is in safe mode and touches nothing: {reason}"),
            Self::RuntimeAway { why } => write!(f, "the containers cannot be looked at: {why}"),
            Self::RouterAway { why } => write!(f, "the route cannot be looked at: {why}"),
            Self::ContainerMissing { container } => write!(f, "the live container `{container}` is gone"),
            Self::ContainerStopped { container } => write!(f, "the live container `{container}` does not run"),
            Self::NoRoute => f.write_str("the router knows no route to what is live"),
            Self::WrongRoute { at, should } => write!(f, "the route points at {at} and should at {should}"),
            Self::WrongShare { at, should } => {
                let told = |share: &Option<Share>| share.map_or_else(|| "none".to_owned(), |share| share.to_string());
                write!(f, "the slot that is not live gets {} of the requests and should get {}", told(at), told(should))
            }
            Self::NeedlessRoute => f.write_str("there is a route although nothing is live"),
            Self::MendFails { failure } => write!(f, "it could not be mended so far: {failure}"),
            Self::RetirementFails { failure } => write!(f, "the standby could not be retired so far: {failure}"),
            Self::Stuck { sequence, step, failure } => {
                write!(f, "#{sequence} could not be cleaned up ({step}): {failure}")
            }
            Self::LastFailed { sequence, failure } => {
                write!(f, "#{sequence}, the newest deployment, failed and changed nothing: {failure}")
            }
            Self::LastRolledBack { sequence, failure } => {
                write!(f, "#{sequence}, the newest deployment, served and was rolled back: {failure}")
            }
            Self::Held { sequence, failure } => {
                write!(f, "#{sequence} was not well, and could not be rolled back: {failure}")
            }
            Self::HookFailed { sequence, hook, failure } => {
                write!(f, "the {hook} hook of #{sequence} failed, and #{sequence} serves on: {failure}")
            }
            Self::AddressTaken { slot } => {
                write!(f, "something else has the address of {slot}; the next deployment there gets another one")
            }
            Self::StandbyDead => f.write_str("the standby does not run"),
            Self::Unhealthy { sequence, restarts, failure, held, .. } => {
                write!(f, "#{sequence} is live and not well: {failure}")?;
                if *restarts > 0 {
                    write!(f, "; restarted {restarts} {}", if *restarts == 1 { "time" } else { "times" })?;
                }
                match held {
                    Some(why) => write!(f, "; the engine did not go back from it: {}", why.message),
                    None => Ok(()),
                }
            }
            Self::CrashLoop { sequence, restarts, most, window, .. } => write!(
                f,
                "#{sequence} is live and in a crash loop: {restarts} restarts count just now, {most} in {} are allowed",
                span(*window)
            ),
        }
    }
}

impl fmt::Display for At<'_, Next> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(next, now) = self;
        match next {
            Next::GoOn { sequence } => write!(f, "the engine goes on with #{sequence}"),
            Next::Begin { sequence } => write!(f, "the engine begins with #{sequence} when its turn has come"),
            Next::Mend => f.write_str("the engine tries to mend that at its next look, within a minute"),
            Next::Retire { sequence, at } if at > now => {
                write!(f, "the engine retires the standby, #{sequence}, in {}", span(at.since(*now)))
            }
            Next::Retire { sequence, .. } => write!(f, "the engine retires the standby, #{sequence}"),
            Next::RetryOrAbandon { deployment, sequence } => write!(
                f,
                "mend what kept #{sequence} from being cleaned up and `retry` deployment `{deployment}`, or `abandon` it"
            ),
            Next::Answer { deployment, sequence } => {
                write!(f, "look at #{sequence} and approve or reject deployment `{deployment}`")
            }
            Next::Resume => f.write_str("compare the store with what runs, then `resume` the engine"),
            Next::MendAndDeploy => f.write_str("mend what made the newest deployment fail and deploy again"),
            Next::Deploy => f.write_str("deploy a version"),
            Next::BringBack => f.write_str("bring back what does not answer; nothing can be deployed until it does"),
            Next::RollBack { sequence } => write!(f, "roll back to #{sequence}"),
            Next::Restart { sequence, at } if at > now => {
                write!(f, "the engine may restart #{sequence} again in {}", span(at.since(*now)))
            }
            Next::Restart { sequence, .. } => write!(f, "the engine restarts #{sequence} at its next look"),
            Next::LookAfterLive { sequence } => {
                write!(f, "look into the log of #{sequence}, mend what makes it unwell and deploy that")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_with_their_two_largest_units() {
        let told = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(span(Duration::from_millis(340)), "0.3 s");
        assert_eq!([told(9), told(59), told(60), told(61)], ["9.0 s", "59 s", "1 min", "1 min 1 s"]);
        assert_eq!([told(3_600), told(7_260), told(86_399)], ["1 h", "2 h 1 min", "23 h 59 min"]);
        assert_eq!([told(86_400), told(90_000), told(180_000)], ["1 day", "1 day 1 h", "2 days 2 h"]);
    }
}
