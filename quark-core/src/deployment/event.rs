//! What happened: written with each change, read by everyone who wants to know.

use serde::{Deserialize, Serialize};

use super::approval::ApprovalOutcome;
use super::bake::BakeOutcome;
use super::canary::CanaryOutcome;
use super::id::{DeploymentId, Generation};
use super::liveness::RestartReason;
use super::record::Failure;
use super::share::Share;
use super::slot::Slot;
use super::state::{Conclusion, State};
use super::step::StepName;
use crate::app::{AppName, HookPoint};
use crate::clock::Timestamp;

/// Something that happened to a deployment. Sequence numbers grow over the
/// whole store and are never used twice; those of one deployment have gaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the store's one order of events.
    pub sequence: u64,
    /// Of which app.
    pub app: AppName,
    /// Of which deployment.
    pub deployment: DeploymentId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. The names are public API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
#[non_exhaustive]
pub enum EventKind {
    /// The deployment was asked for.
    Created,
    /// It went from one state to another.
    StateChanged {
        /// Where it was.
        from: State,
        /// Where it is.
        to: State,
    },
    /// A step was begun.
    StepStarted {
        /// Which.
        step: StepName,
        /// From 1.
        attempt: u32,
    },
    /// A step was done.
    StepSucceeded {
        /// Which.
        step: StepName,
        /// Whether its work was found done.
        reused: bool,
        /// What people may want to know about it.
        note: Option<String>,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepName,
        /// From 1.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// Somebody asked it to stop.
    CancelRequested {
        /// Who.
        by: String,
    },
    /// People are asked whether it may serve users.
    ApprovalRequested {
        /// Names the question.
        nonce: String,
        /// Until when it stands.
        expires_at: Timestamp,
    },
    /// Somebody has answered.
    ApprovalAnswered {
        /// Who.
        by: String,
        /// Whether they agree.
        approved: bool,
    },
    /// The question was decided, by people or by time.
    ApprovalSettled {
        /// How.
        outcome: ApprovalOutcome,
    },
    /// It gets a share of the requests.
    CanaryShifted {
        /// How many of a hundred.
        percent: Share,
        /// Until when, if it is well then.
        ends_at: Timestamp,
    },
    /// It was found unwell while it got a share of the requests.
    CanaryUnwell {
        /// How often in a row.
        times: u32,
        /// Why.
        failure: Failure,
    },
    /// It has passed all steps, or its share was taken back.
    CanarySettled {
        /// Which of both.
        outcome: CanaryOutcome,
    },
    /// The route points at this deployment.
    Promoted {
        /// The slot that serves now.
        slot: Slot,
        /// The route's generation.
        generation: Generation,
    },
    /// It serves, and is watched.
    BakeStarted {
        /// Until when, if it is well then.
        ends_at: Timestamp,
    },
    /// It was found unwell while it was watched.
    BakeUnwell {
        /// How often in a row.
        times: u32,
        /// Why.
        failure: Failure,
    },
    /// The watch is over.
    BakeSettled {
        /// How.
        outcome: BakeOutcome,
    },
    /// The route points at the version before again.
    RolledBack {
        /// The deployment that serves now.
        to: DeploymentId,
        /// The slot that serves now.
        slot: Slot,
        /// The route's generation.
        generation: Generation,
    },
    /// It is live, and was found unwell so often in a row that something is done.
    Unhealthy {
        /// How often.
        times: u32,
        /// Why.
        failure: Failure,
    },
    /// It is live, and its process is started again.
    Restarted {
        /// Why.
        reason: RestartReason,
        /// How many restarts count just now, this one included.
        count: u32,
    },
    /// It is live, and has needed as many restarts as it may have: the next one waits.
    CrashLoop {
        /// How many.
        restarts: u32,
        /// When it may be restarted again.
        until: Timestamp,
    },
    /// It is live, and well again.
    Recovered,
    /// Its instances were taken away.
    Retired,
    /// A person ended it although not all of it could be taken away.
    Abandoned {
        /// Who.
        by: String,
    },
    /// It has ended.
    Completed {
        /// How.
        conclusion: Conclusion,
        /// Why, if it failed.
        failure: Option<Failure>,
    },
    /// A hook was begun.
    HookStarted {
        /// Which.
        hook: HookPoint,
    },
    /// A hook has ended, was stopped, or could not be run.
    HookEnded {
        /// Which.
        hook: HookPoint,
        /// Whether it did what it was for.
        succeeded: bool,
        /// How its program ended, if it did by itself.
        exit_code: Option<i32>,
        /// From its beginning to its end, in milliseconds.
        took_ms: u64,
    },
}

/// Which kind of text a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogStream {
    /// Said by the engine.
    System,
    /// Written to standard output.
    Stdout,
    /// Written to standard error.
    Stderr,
}

impl LogStream {
    /// The name in APIs and stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line of a deployment's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// From 1, without gaps, within the deployment.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// Which kind.
    pub stream: LogStream,
    /// The text, without its line end; at most [`LogLine::LONGEST`] bytes.
    pub text: String,
}

impl LogLine {
    /// The longest line that is kept whole, in bytes; longer ones are split.
    pub const LONGEST: usize = 8 * 1024;
}
