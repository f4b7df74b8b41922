//! What must never be seen, and what must come true in the end.
//!
//! | name | promise |
//! |---|---|
//! | `legal-states` | a deployment goes from state to state as the table says, and never changes once it has ended |
//! | `one-active` | one deployment of an app acts at a time |
//! | `fences-grow` | each lease has a higher fence than the one before; what was cut off writes nothing |
//! | `intent-first` | nothing is done to the world before the store knows that it is intended |
//! | `no-internal-error` | no step fails by a fault of the engine itself |
//! | `cancel-wins` | what was asked to stop, and was promised to stop, never serves |
//! | `newest-wins` | an older version never follows a newer one, unless somebody rolls back |
//! | `ports-unique` | no two slots share an address |
//! | `one-per-key` | the same wish, made twice, is one deployment |
//! | `protected` | nothing that serves, gets a share of the requests, stands by or is being promoted is stopped or removed |
//! | `started-once` | a container is started once, unless something has harmed it |
//! | `healthy-route` | users are only sent to a process that runs and was found well |
//! | `route-kept` | outside of a promotion users are sent to what the store says is live |
//! | `route-order` | no older route replaces a newer one |
//! | `few-generations` | no more than two versions of an app run, three while something is undone |
//! | `lease-held` | nothing is done to the world under a lease that has run out |
//! | `lease-renewed` | while nothing goes wrong a lease is renewed long before it runs out |
//! | `exact-release` | a rollback brings back the very image, commit, variables and settings; what is started is what was released |
//! | `deadlines-stay` | the time of a step does not move once it was begun |
//! | `newest-commit` | a push that is told late is never deployed over a newer one |
//! | `often-enough` | nothing is promoted before it was found well as often as its check asks for |
//! | `standby-kept` | the version before stands by until its time, unless its place is needed |
//! | `retiring-left` | what is being retired is not gone back to |
//! | `backup-runs` | only what runs is named as what stands in |
//! | `needed-stays` | what answers in the place of a live version that does not run is not taken away |
//! | `mended-soon` | while nothing else goes wrong, what is live and has died runs again soon, also while a deployment takes long |
//! | `mend-waits` | no route is mended while it is being switched |
//! | `approved-first` | what people must agree to serves only after enough of them have, in time, to this very image |
//! | `baked-through` | what is watched once it serves counts as well after its time, and if it was found well at the end |
//! | `back-for-cause` | the engine rolls back what does not run, or was found unwell as often in a row as its policy asks for; once at most |
//! | `back-to-the-well` | it rolls back to what it has just found well |
//! | `death-seen` | what has died while it was watched is started again only once it was seen to be dead |
//! | `room-kept` | what is reserved together never comes to more than there is room for |
//! | `refused-makes-nothing` | of what was refused for lack of room nothing is made |
//! | `refused-for-cause` | what is refused because of what is reserved would not have fitted at some moment since its last write |
//! | `restarted-for-cause` | what is live and runs is not restarted when it was just found well |
//! | `few-restarts` | what is live is restarted no more often than its policy allows, whatever it needs that for |
//! | `left-for-cause` | the engine goes back from what is live, and people were told is not well, to what it has just found well; once at most |
//! | `hook-once` | a hook is started once, unless the world has harmed it |
//! | `hooks-in-order` | nothing is started before its first hook went well, nor promoted before its second; the others run once it serves, and once it is gone |
//! | `overlaid` | each app of a project is what the project says at each of its changes, the environment before the template; so is what is deployed of it |
//! | `share-meant` | no version gets a larger share of the requests than was written down for it before, and none once its deployment has ended |
//! | `step-by-step` | what gets its users by steps is promoted after all of them: each held for its time, and well at its end |
//! | `taken-for-cause` | a share is taken back from what does not run, was found unwell as often as its policy asks for, could not be looked at, or is not wanted |
//! | `safe-mode` | a store that went back in time is noticed, and nothing is touched until a person resumes |
//! | `as-planned` | a plan is followed if what it was made from is still so, or not at all |
//! | `counted-once` | each deployment that has ended is counted once at most; exactly once if nothing went wrong |
//! | `no-panic` | no task panics |
//! | `no-spinning` | no task goes on for ever without any time passing |
//! | `converges` | when nothing goes wrong any more, everything ends, and the world is what the store says |
//! | `reliable-events` | the events of a deployment begin with `Created`, lead from state to state and end once |
//! | `reliable-logs` | the lines of a log are numbered from 1 without a gap |
//! | `no-secrets` | no variable's value is found in events, logs or failures |

mod approval;
mod bake;
mod canary;
mod doubt;
mod hooks;
mod leases;
mod liveness;
mod needed;
mod overlaid;
mod plan;
mod records;
mod releases;
pub(crate) mod rest;
mod rolled_back;
mod room;
mod serving;
mod standby;

use std::fmt;
use std::time::Duration;

use super::change::{Change, Circumstances};
use super::ledger::Ledger;

/// Something that must hold at every change of the world.
///
/// Each change is shown twice: before and after it is written into the ledger.
/// The change itself has happened either way.
pub trait Invariant: fmt::Debug + Send {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Looks at a change with what was true before it.
    ///
    /// # Errors
    ///
    /// How the invariant is broken.
    fn before(&mut self, _ledger: &Ledger, _change: &Change<'_>, _when: &Circumstances) -> Result<(), String> {
        Ok(())
    }

    /// Looks at a change with what is true after it.
    ///
    /// # Errors
    ///
    /// How the invariant is broken.
    fn after(&mut self, _ledger: &Ledger, _change: &Change<'_>, _when: &Circumstances) -> Result<(), String> {
        Ok(())
    }
}

/// How a run has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The name of the invariant.
    pub invariant: &'static str,
    /// How it was broken.
    pub how: String,
    /// When, in virtual time.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.invariant, self.at.as_secs_f64(), self.how)
    }
}

/// The invariants that every run is checked against.
pub(crate) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(records::LegalStates),
        Box::new(records::OneActive),
        Box::new(records::FencesGrow),
        Box::new(records::IntentFirst),
        Box::new(records::NoInternalError),
        Box::new(records::CancelWins),
        Box::new(records::NewestWins),
        Box::new(records::PortsUnique),
        Box::new(records::OnePerKey),
        Box::new(serving::Protected),
        Box::new(serving::StartedOnce),
        Box::new(serving::HealthyRoute::default()),
        Box::new(serving::RouteKept),
        Box::new(serving::RouteOrder),
        Box::new(serving::FewGenerations),
        Box::new(leases::LeaseHeld::default()),
        Box::new(leases::LeaseRenewed::default()),
        Box::new(releases::ExactRelease::default()),
        Box::new(releases::DeadlinesStay),
        Box::new(releases::NewestCommit),
        Box::new(rolled_back::StaysRolledBack::default()),
        Box::new(releases::OftenEnough::default()),
        Box::new(standby::StandbyKept),
        Box::new(standby::RetiringLeft),
        Box::new(standby::BackupRuns::default()),
        Box::new(needed::NeededStays::default()),
        Box::new(needed::MendedSoon::default()),
        Box::new(standby::MendWaits),
        Box::new(approval::ApprovedFirst::default()),
        Box::new(bake::BakedThrough::default()),
        Box::new(bake::BackForCause::default()),
        Box::new(bake::BackToTheWell::default()),
        Box::new(bake::DeathSeen::default()),
        Box::new(overlaid::Overlaid::default()),
        Box::new(doubt::SafeMode::default()),
        Box::new(plan::AsPlanned),
        Box::new(room::RoomKept),
        Box::new(room::RefusedMakesNothing::default()),
        Box::new(room::RefusedForCause::default()),
        Box::new(liveness::RestartedForCause::default()),
        Box::new(liveness::FewRestarts::default()),
        Box::new(liveness::LeftForCause::default()),
        Box::new(hooks::HookOnce::default()),
        Box::new(hooks::HooksInOrder::default()),
        Box::new(canary::ShareMeant::default()),
        Box::new(canary::StepByStep::default()),
        Box::new(canary::TakenForCause::default()),
    ]
}
