//! What may be wrong with a queue, and which case is there for it.

/// What is wrong with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    HandsOutClaimed,
    HandsOutTwice,
    LosesJobs,
    HandsOutTooMany,
    ShufflesWhatItHandsOut,
    IgnoresPriorities,
    HighestNumberFirst,
    YoungestFirst,
    IgnoresRunAt,
    NeverRunsLater,
    IgnoresKeys,
    RacesForKeys,
    KeysOfDeploymentsOnly,
    FreesKeysOnClaim,
    FreesKeysOnNack,
    ReplacesByDuplicates,
    KeepsAcked,
    KeepsKeysOfAcked,
    RepeatsNames,
    ClaimsForEver,
    RepeatsTokens,
    ExtendsNothing,
    ExtendsForEver,
    HoldsLateAcks,
    HoldsLateNacks,
    HoldsLateHeartbeats,
    AcksForOthers,
    NacksForOthers,
    ExtendsForOthers,
    CountsNoAttempts,
    CountsFromZero,
    TriesTwiceAsOften,
    TriesForEver,
    GivesUpEarly,
    SaysNoReason,
    ForgetsTheDead,
    ListsTheDeadBackwards,
    KeepsKeysOfDead,
    CountsEveryNack,
    CountsNoNack,
    IgnoresDelays,
    DelaysForEver,
    ReclaimsNothing,
    ReclaimsFromAll,
    ReclaimsOne,
    GivesReclaimedAttemptsBack,
    ReclaimsInName,
    SleepsOn,
    SleepsWhenReady,
    WakesOne,
    CountsRunOutAsClaimed,
    CountsDelayedAsReady,
    CountsNoDead,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
pub(super) fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "a_job_is_claimed_by_one_worker" => &[HandsOutClaimed, HandsOutTwice, LosesJobs, HandsOutTooMany],
        "jobs_come_by_priority_then_age" => {
            &[ShufflesWhatItHandsOut, IgnoresPriorities, HighestNumberFirst, YoungestFirst]
        }
        "jobs_wait_for_their_time" => &[IgnoresRunAt, NeverRunsLater],
        "one_dedupe_key_is_one_job" => {
            &[IgnoresKeys, RacesForKeys, KeysOfDeploymentsOnly, FreesKeysOnClaim, FreesKeysOnNack, ReplacesByDuplicates]
        }
        "ack_ends_a_job" => &[KeepsAcked, KeepsKeysOfAcked, RepeatsNames],
        "a_claim_runs_out" => &[ClaimsForEver, RepeatsTokens],
        "heartbeat_extends_a_claim" => &[ExtendsNothing, ExtendsForEver],
        "what_comes_after_a_lost_claim_is_lost" => {
            &[HoldsLateAcks, HoldsLateNacks, HoldsLateHeartbeats, AcksForOthers, NacksForOthers, ExtendsForOthers]
        }
        "each_claim_counts_as_an_attempt" => &[
            CountsNoAttempts,
            CountsFromZero,
            TriesTwiceAsOften,
            TriesForEver,
            GivesUpEarly,
            SaysNoReason,
            ForgetsTheDead,
            ListsTheDeadBackwards,
            KeepsKeysOfDead,
        ],
        "nack_uncounted_gives_the_attempt_back" => &[CountsEveryNack, CountsNoNack],
        "nack_with_a_delay_makes_the_job_wait" => &[IgnoresDelays, DelaysForEver],
        "reclaim_frees_the_claims_of_one_owner" => {
            &[ReclaimsNothing, ReclaimsFromAll, ReclaimsOne, GivesReclaimedAttemptsBack, ReclaimsInName]
        }
        "wait_returns_when_a_job_is_queued" => &[SleepsOn, SleepsWhenReady, WakesOne],
        "depth_counts_each_job_once" => &[CountsRunOutAsClaimed, CountsDelayedAsReady, CountsNoDead],
        _ => &[],
    }
}
