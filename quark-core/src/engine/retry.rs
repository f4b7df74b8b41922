//! Whether a step that failed is worth another try: a table, by what is known
//! about the effect.
//!
//! | what happened | how it is known | another try |
//! |---|---|---|
//! | surely not done, may pass | class `retryable` | up to the step's number of attempts, later and later |
//! | may have been done | class `unknown` | the same; every step looks before it acts |
//! | runtime or router is away | kind `unavailable` | the same, and for as long as the first attempt could have taken; cleaning up goes on for ten minutes |
//! | would fail again | class `permanent` | none |
//! | something else is there | kind `conflict`, `already_exists` | one, with another look |
//! | disk, ports, memory are used up | kind `resource_exhausted` | one |
//! | the machine has no room for it | the codes of [`Shortage`] | none: it was waited for |
//! | not there, not allowed, refused | `not_found`, `permission_denied`, `invalid_*`, `build_failed` | none |
//! | no longer wanted | kind `cancelled` | none |
//! | another engine took over | kind `fenced` | none, and nothing more is touched |
//!
//! Numbers after `engine.md` section 1.6 (full jitter is left out: one app has
//! one driver, so nothing comes in a herd).

use std::time::Duration;

use crate::deployment::{Failure, Shortage, StepName, StepPhase, StepRecord};
use crate::error::{ErrorClass, ErrorKind};

/// For how long cleaning up is tried again while nobody answers, before a
/// person is asked for.
pub(super) const AWAY: Duration = Duration::from_secs(600);

/// Whether a step that failed is tried again. `steps` is the journal it is in.
pub(super) fn is_worth_it(steps: &[StepRecord], record: &StepRecord) -> bool {
    let Some(failure) = &record.failure else { return false };
    tries(steps, record) < attempts(record.name, failure) || is_awaited(steps, record)
}

/// How often a step has failed that was tried so often. One that is done several
/// times in a deployment is tried anew each time.
pub(super) fn tries(steps: &[StepRecord], record: &StepRecord) -> u32 {
    if !matches!(record.name, StepName::Shift | StepName::Tidy) {
        return record.attempt;
    }
    let attempts = steps.iter().rev().filter(|other| other.name == record.name);
    let failed = attempts.take_while(|other| other.phase == StepPhase::Failed).count();
    u32::try_from(failed).unwrap_or(u32::MAX)
}

/// Whether what the step needs is away, and not for too long yet. A daemon that
/// is restarted takes longer than a few attempts.
fn is_awaited(steps: &[StepRecord], record: &StepRecord) -> bool {
    let is_away =
        |record: &&StepRecord| record.failure.as_ref().is_some_and(|failure| failure.kind == ErrorKind::Unavailable);
    let attempts = steps.iter().rev().filter(|other| other.name == record.name);
    let Some(first) = attempts.take_while(is_away).last() else { return false };
    let until = match record.name {
        StepName::Clear
        | StepName::Create
        | StepName::Start
        | StepName::Shift
        | StepName::Promote
        | StepName::PreDeploy
        | StepName::PrePromote
        | StepName::PostPromote
        | StepName::PostRetire => first.deadline,
        StepName::RollBack | StepName::Revert | StepName::Undo | StepName::Unroute => first.started_at.after(AWAY),
        // A host that does not answer may be one that is not there; the others have a patience of their own.
        _ => return false,
    };
    record.finished_at.is_some_and(|at| at < until)
}

/// How many attempts a step is worth that fails like this.
pub(super) fn attempts(step: StepName, failure: &Failure) -> u32 {
    if must_be_done(step) {
        // What must not be left half-done is tried again whatever the failure was.
        return patience(step);
    }
    match (failure.class, failure.kind) {
        (_, ErrorKind::Cancelled | ErrorKind::Fenced) => 1,
        (ErrorClass::Retryable | ErrorClass::Unknown, _) => patience(step),
        // Room is waited for before this; what is left is an answer.
        (_, ErrorKind::ResourceExhausted) if Shortage::of_code(&failure.code).is_some() => 1,
        // The slot gets another port instead.
        (_, ErrorKind::ResourceExhausted) if failure.code == "port_taken" => 1,
        (_, ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::ResourceExhausted) => patience(step).min(2),
        (ErrorClass::Permanent, _) => 1,
    }
}

/// Whether leaving a step undone would leave something half-done.
fn must_be_done(step: StepName) -> bool {
    matches!(
        step,
        StepName::Undo | StepName::Revert | StepName::Unroute | StepName::Drain | StepName::Retire | StepName::Collect
    )
}

fn patience(step: StepName) -> u32 {
    match step {
        StepName::Fetch => 4,
        StepName::Build | StepName::Clear => 5,
        StepName::Create
        | StepName::Start
        | StepName::Shift
        | StepName::Promote
        | StepName::PreDeploy
        | StepName::PrePromote
        | StepName::PostPromote
        | StepName::PostRetire
        // What it leaves is collected as garbage in the end.
        | StepName::Tidy => 3,
        // It asks again and again by itself until its deadline.
        StepName::Probe => 1,
        // The next look at the world tries again.
        StepName::Mend | StepName::Collect | StepName::Restart => 1,
        StepName::RollBack | StepName::Revert | StepName::Undo | StepName::Unroute => 8,
        // Nobody waits for a retirement, so it never gives up.
        StepName::Drain | StepName::Retire => u32::MAX,
    }
}

/// How long to wait after attempt number `attempt`: 0.5 s, 1 s, 2 s … at most
/// 30 s, or what the backend asked for if that is longer; a retirement may
/// wait up to 10 min.
pub(super) fn backoff(step: StepName, attempt: u32) -> Duration {
    let longest = if patience(step) == u32::MAX { Duration::from_secs(600) } else { Duration::from_secs(30) };
    let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(20));
    Duration::from_millis(500).saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn failed(step: StepName, error: &Error) -> u32 {
        attempts(step, &Failure::from_error(step, error))
    }

    #[test]
    fn the_table_is_obeyed() {
        let error = |kind| Error::new(kind, "no");
        assert_eq!(failed(StepName::Fetch, &error(ErrorKind::Unavailable)), 4);
        assert_eq!(failed(StepName::Create, &error(ErrorKind::Timeout)), 3);
        assert_eq!(failed(StepName::Build, &error(ErrorKind::BuildFailed)), 1);
        assert_eq!(failed(StepName::Create, &error(ErrorKind::Conflict)), 2);
        assert_eq!(failed(StepName::Build, &error(ErrorKind::ResourceExhausted)), 2);
        assert_eq!(failed(StepName::Start, &error(ErrorKind::ResourceExhausted).with_code("port_taken")), 1);
        assert_eq!(failed(StepName::Create, &error(ErrorKind::ResourceExhausted).with_code("no_room_for_memory")), 1);
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::Cancelled, ErrorKind::Fenced] {
            assert_eq!(failed(StepName::Create, &error(kind)), 1, "{kind}");
        }
        assert_eq!(failed(StepName::Undo, &error(ErrorKind::PermissionDenied)), 8);
        assert_eq!(failed(StepName::Retire, &error(ErrorKind::Internal)), u32::MAX);
    }

    #[test]
    fn waits_grow_to_a_limit() {
        assert_eq!(backoff(StepName::Build, 1), Duration::from_millis(500));
        assert_eq!(backoff(StepName::Build, 3), Duration::from_secs(2));
        assert_eq!(backoff(StepName::Build, 40), Duration::from_secs(30));
        assert_eq!(backoff(StepName::Retire, u32::MAX), Duration::from_secs(600));
    }
}
