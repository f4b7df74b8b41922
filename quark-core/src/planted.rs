//! Bugs that can be planted, to show that the simulator finds them.
//!
//! A simulator that finds nothing proves nothing until it is known to find
//! what is there. Each [`Bug`] is a mistake that a deployment engine has been
//! seen to make, or would make if one line of this one were forgotten. The
//! places are marked with `planted!(…)`, which is `false` at compile time
//! without the feature `planted-bugs`.
//!
//! All of them are found by the seeds that any run has, without other rates or
//! stories: the last of them within a thousand seeds, half of them within twenty.
//! `simulate --plant all` says which invariant shows which bug, and fails if
//! one is not found within 10,000 seeds; CI runs it.

/// Whether one of these bugs is planted.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($($bug:ident),+) => {
        false
    };
}

/// Whether one of these bugs is planted.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($($bug:ident),+) => {
        [$(crate::planted::Bug::$bug),+].into_iter().any(crate::planted::is)
    };
}

pub(crate) use planted;

#[cfg(feature = "planted-bugs")]
pub use list::{Bug, Planted, is, plant};

#[cfg(feature = "planted-bugs")]
mod list {
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether a bug is planted in this thread.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug in this thread for as long as the result lives.
    pub fn plant(bug: Bug) -> Planted {
        PLANTED.set(Some(bug));
        Planted(())
    }

    /// A bug is planted while this lives.
    #[must_use]
    #[derive(Debug)]
    pub struct Planted(());

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    macro_rules! bugs {
        ($($(#[doc = $doc:literal])* $bug:ident = $name:literal,)*) => {
            /// A mistake that can be planted.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[non_exhaustive]
            pub enum Bug {
                $($(#[doc = $doc])* $bug,)*
            }

            impl Bug {
                /// All of them.
                pub const ALL: &'static [Self] = &[$(Self::$bug,)*];

                /// Its name on the command line.
                #[must_use]
                pub fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$bug => $name,)*
                    }
                }

                /// What goes wrong, in one sentence.
                #[must_use]
                pub fn describe(self) -> &'static str {
                    match self {
                        $(Self::$bug => concat!($($doc),*).trim_ascii(),)*
                    }
                }
            }
        };
    }

    bugs! {
        /// The route is switched to what never answered.
        SwitchBeforeHealth = "switch-before-health",
        /// The old version is stopped without waiting for its requests.
        RemoveBeforeDrain = "remove-before-drain",
        /// The store takes writes under an old lease.
        NoFencing = "no-fencing",
        /// The lease is not renewed while a step takes long.
        LeaseNotRenewed = "lease-not-renewed",
        /// Work goes on after the lease was lost.
        WorkAfterLoss = "work-after-loss",
        /// The effect comes before its intent is written.
        EffectBeforeIntent = "effect-before-intent",
        /// A promotion that was refused is not taken back.
        RouteNotRestored = "route-not-restored",
        /// The addresses of an app that is gone stay taken.
        AddressesNotFreed = "addresses-not-freed",
        /// A slot is used again while something is left in it.
        SlotNotCleared = "slot-not-cleared",
        /// The standby is retired as soon as it stands by.
        RetiredBeforeItsTime = "retired-before-its-time",
        /// A cancel that was accepted is followed by the promotion.
        CancelIgnored = "cancel-ignored",
        /// A deployment that has ended is ended once more, otherwise.
        EndOverwritten = "end-overwritten",
        /// The same push delivered twice is deployed twice.
        KeyForgotten = "key-forgotten",
        /// A step that is done again makes a second container.
        NamedByAttempt = "named-by-attempt",
        /// What serves is removed before its route is.
        RemovedBeforeUnrouted = "removed-before-unrouted",
        /// One good answer counts as healthy.
        OneAnswerIsEnough = "one-answer-is-enough",
        /// The health of the old version is taken for that of the new one.
        OldVersionProbed = "old-version-probed",
        /// Nobody retires a standby whose job was lost.
        GraceForgotten = "grace-forgotten",
        /// The lines of a log are numbered anew.
        LogStartsAnew = "log-starts-anew",
        /// Two changes of a route carry the same generation.
        GenerationReused = "generation-reused",
        /// A container that is just being made is taken for garbage.
        YoungIsGarbage = "young-is-garbage",
        /// A jump of the time of day ends leases.
        WallClockLeases = "wall-clock-leases",
        /// A deployment whose job was lost waits for ever.
        JobsNotRebuilt = "jobs-not-rebuilt",
        /// The comparison with the world undoes a switch that is under way.
        MendsDuringSwitch = "mends-during-switch",
        /// A push that is told late is deployed over a newer one.
        OlderCommitWins = "older-commit-wins",
        /// A push brings back what people have gone back from.
        RolledBackAgain = "rolled-back-again",
        /// A rollback goes back to a standby that is being retired.
        RetiringIsTaken = "retiring-is-taken",
        /// Two deployments of one app are active at once.
        TwoAdmitted = "two-admitted",
        /// A step's deadline moves when an engine restarts.
        DeadlineMoves = "deadline-moves",
        /// A rollback brings back the image, but today's settings.
        TodaysSettings = "todays-settings",
        /// A version that does not run stands in for the live one.
        DeadBackup = "dead-backup",
        /// A store that went back in time is believed.
        DoubtIgnored = "doubt-ignored",
        /// The standby is retired while it answers for a live version that is dead.
        NeededIsRetired = "needed-is-retired",
        /// What is live is not mended while a deployment is under way.
        LiveNotLookedAfter = "live-not-looked-after",
        /// One person is enough, whatever the policy says.
        ApprovedByOne = "approved-by-one",
        /// Nobody has answered in time, and that counts as consent.
        ExpiryIgnored = "expiry-ignored",
        /// Who agrees to another image counts as one who agrees.
        OtherImageApproved = "other-image-approved",
        /// A version that serves is rolled back at the first doubt.
        FirstDoubtGoesBack = "first-doubt-goes-back",
        /// A version is rolled back to one that does not run.
        GoesBackToTheDead = "goes-back-to-the-dead",
        /// What cannot be looked at counts as well.
        UnseenIsWell = "unseen-is-well",
        /// The watch over a new version ends at its first good look.
        BakedAtOnce = "baked-at-once",
        /// What dies while it is watched is started again before anybody looks at it.
        DeathUnseen = "death-unseen",
        /// A plan is followed that was made from something else.
        OutdatedPlan = "outdated-plan",
        /// Whether there is room is counted, and not compared when it is taken.
        RoomNotGuarded = "room-not-guarded",
        /// What stands by is not counted.
        StandbyNotCounted = "standby-not-counted",
        /// What holds room is counted twice.
        RoomCountedTwice = "room-counted-twice",
        /// What dies again and again is started again and again.
        RestartsWithoutEnd = "restarts-without-end",
        /// What was unwell a while ago is restarted without another look.
        RestartsTheWell = "restarts-the-well",
        /// The engine goes back from what is not well to what nobody has asked for its health.
        RollsBackToTheDead = "rolls-back-to-the-dead",
        /// What falls ill while it serves is restarted, and nobody is told.
        IllnessNotTold = "illness-not-told",
        /// A hook that was begun is begun again by whoever goes on with it.
        HookRunAgain = "hook-run-again",
        /// A hook that has failed counts as one that went well.
        FailedHookIgnored = "failed-hook-ignored",
        /// The container of a hook is left.
        HookLeftBehind = "hook-left-behind",
        /// The hook before the promotion is not run.
        HookSkipped = "hook-skipped",
        /// What an environment says is overlaid by what all have in common.
        OverlayReversed = "overlay-reversed",
        /// A change of a project does not reach the previews that it has.
        PreviewsForgotten = "previews-forgotten",
        /// What was made for a version is taken away while it gets a share of the requests.
        ShareNotTakenBack = "share-not-taken-back",
        /// A version gets more users before the time of its step is over.
        CanarySkipsAStep = "canary-skips-a-step",
        /// A version gets all users although it is not well with a few of them.
        PromotedOnUnwellCanary = "promoted-on-unwell-canary",
        /// A version gets a larger share of the requests than was written down.
        MoreThanItsShare = "more-than-its-share",
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_bug_is_there_while_it_is_planted() {
            assert!(!is(Bug::NoFencing));
            let planted = plant(Bug::NoFencing);
            assert!(is(Bug::NoFencing) && !is(Bug::TwoAdmitted));
            drop(planted);
            assert!(!is(Bug::NoFencing));
        }
    }
}
