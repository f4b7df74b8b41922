//! What may be wrong with a store, and which case is there for it.

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    ForgetsVariables,
    TakesNamesTwice,
    RacesForNames,
    ListsAppsBackwards,
    SharesHostNames,
    KeepsHostNames,
    ChangesAppsItRefuses,
    RacesForHostNames,
    IgnoresAppVersions,
    ChangesOutdatedApps,
    CountsFromZero,
    CountsAllAppsTogether,
    RacesForSequences,
    TellsNoCreation,
    QueuesNoJobs,
    QueuesJobsInSecret,
    ForgetsRevisions,
    DeploysUnknownApps,
    DeploysRemovedApps,
    QueuesRefusedJobs,
    MarksNoRemoval,
    ChangesRemovedApps,
    ListsOldestFirst,
    ListsTheOneBefore,
    ListsTooMany,
    ForgetsWhatIsStuck,
    ForgetsWhatIsQueued,
    KeepsWhatIsCompleted,
    RepeatsFences,
    SharesLeases,
    TellsNoWait,
    RacesForLeases,
    RefusesOwners,
    KeepsFenceOfOwners,
    KeepsLeasesForEver,
    RenewsNothing,
    RenewsForEver,
    RenewsOldLeases,
    ReleasesForOthers,
    IgnoresFences,
    ReleasesNothing,
    IgnoresVersions,
    RacesForVersions,
    ReturnsTheOldVersion,
    IgnoresCancels,
    TakesCancelsBack,
    AdmitsASecond,
    AdmitsInAnyOrder,
    ForgetsSteps,
    ForgetsInstances,
    KeepsRemovedInstances,
    ForgetsServing,
    ForgetsEvents,
    ForgetsJobs,
    ForgetsArtifacts,
    TakesTheWritersVersion,
    TakesTheWritersCancel,
    ReopensCompleted,
    FreezesCompleted,
    SharesEndpoints,
    ChecksOneSlot,
    KeepsEndpoints,
    AppendsSteps,
    KnowsStepsByName,
    LeavesSteps,
    LeavesInstances,
    LeavesServing,
    LeavesEvents,
    LeavesJobs,
    KeepsApps,
    KeepsNamesOfForgotten,
    LosesHistory,
    CountsNamesakesAnew,
    FencesNamesakesAnew,
    CancelsTooLate,
    NeverCancels,
    TellsEveryCancel,
    KeepsTheLastCancel,
    CancelsUnknown,
    CancelsAsAWrite,
    ReadsEventsBackwards,
    SkipsEvents,
    RepeatsEvents,
    MixesEvents,
    ShowsEventsLate,
    NumbersLinesFromZero,
    NumbersLinesTogether,
    TearsLinesApart,
    ForgetsEmptyLines,
    LogsForNobody,
    LosesEverything,
    LosesLogs,
    LosesLeases,
    ClaimsToBeDurable,
    DeniesToBeDurable,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
pub(super) fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "an_app_is_read_back_equal" => &[ForgetsVariables, TakesNamesTwice, RacesForNames],
        "apps_are_listed_by_name" => &[ListsAppsBackwards],
        "a_host_name_belongs_to_one_app" => &[SharesHostNames, KeepsHostNames, ChangesAppsItRefuses, RacesForHostNames],
        "update_app_compares_the_version" => &[IgnoresAppVersions, ChangesOutdatedApps],
        "create_deployment_counts_without_gaps" => &[CountsFromZero, CountsAllAppsTogether, RacesForSequences],
        "create_deployment_writes_event_and_job" => {
            &[TellsNoCreation, QueuesNoJobs, QueuesJobsInSecret, ForgetsRevisions]
        }
        "create_deployment_needs_an_app" => &[DeploysUnknownApps, DeploysRemovedApps, QueuesRefusedJobs],
        "a_remove_deployment_marks_its_app" => &[MarksNoRemoval, ChangesRemovedApps],
        "deployments_are_listed_newest_first" => &[ListsOldestFirst, ListsTheOneBefore, ListsTooMany],
        "unfinished_is_what_has_not_ended" => &[ForgetsWhatIsStuck, ForgetsWhatIsQueued, KeepsWhatIsCompleted],
        "a_lease_excludes_other_owners" => &[RepeatsFences, SharesLeases, TellsNoWait, RacesForLeases],
        "a_lease_goes_to_its_owner_or_when_it_ran_out" => &[RefusesOwners, KeepsFenceOfOwners, KeepsLeasesForEver],
        "renew_lease_extends" => &[RenewsNothing, RenewsForEver, RenewsOldLeases, ReleasesForOthers],
        "commit_under_an_old_lease_is_fenced" => &[IgnoresFences, ReleasesNothing],
        "commit_compares_the_version" => &[IgnoresVersions, RacesForVersions, ReturnsTheOldVersion],
        "commit_stops_at_a_cancel_request" => &[IgnoresCancels, TakesCancelsBack],
        "commit_admits_one_active_deployment" => &[AdmitsASecond],
        "commit_admits_the_earliest_first" => &[AdmitsInAnyOrder],
        "a_commit_happens_as_a_whole" => &[
            ForgetsSteps,
            ForgetsInstances,
            KeepsRemovedInstances,
            ForgetsServing,
            ForgetsEvents,
            ForgetsJobs,
            ForgetsArtifacts,
            TakesTheWritersVersion,
            TakesTheWritersCancel,
        ],
        "a_completed_deployment_keeps_its_end" => &[ReopensCompleted, FreezesCompleted],
        "two_apps_never_hold_one_endpoint" => &[SharesEndpoints, ChecksOneSlot, KeepsEndpoints],
        "a_step_is_identified_by_name_and_attempt" => &[AppendsSteps, KnowsStepsByName],
        "a_refused_commit_leaves_no_trace" => &[LeavesSteps, LeavesInstances, LeavesServing, LeavesEvents, LeavesJobs],
        "forgetting_an_app_keeps_its_history" => {
            &[KeepsApps, KeepsNamesOfForgotten, LosesHistory, CountsNamesakesAnew, FencesNamesakesAnew]
        }
        "request_cancel_comes_in_time_or_too_late" => {
            &[CancelsTooLate, NeverCancels, TellsEveryCancel, KeepsTheLastCancel, CancelsUnknown, CancelsAsAWrite]
        }
        "events_are_read_in_order_without_gaps" => {
            &[ReadsEventsBackwards, SkipsEvents, RepeatsEvents, MixesEvents, ShowsEventsLate]
        }
        "log_lines_are_numbered_without_gaps" => {
            &[NumbersLinesFromZero, NumbersLinesTogether, TearsLinesApart, ForgetsEmptyLines, LogsForNobody]
        }
        "everything_survives_reopening" => {
            &[LosesEverything, LosesLogs, LosesLeases, ClaimsToBeDurable, DeniesToBeDurable]
        }
        _ => &[],
    }
}
