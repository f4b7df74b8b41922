//! The suite for [`Store`](crate::Store).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::store_conformance!(async { MyFixture::fresh().await });
//! }
//! ```

mod apps;
mod cancel;
mod commits;
mod deployments;
mod durability;
mod events;
mod fixture;
mod guards;
mod leap;
mod leases;
mod projects;
mod room;
mod sample;
mod scene;
mod supersede;

use super::case::{Case, case_table};

pub use apps::{
    a_host_name_belongs_to_one_app, an_app_is_read_back_equal, apps_are_listed_by_name, update_app_compares_the_version,
};
pub use cancel::{request_cancel_comes_in_time_or_too_late, request_cancel_ends_what_waits};
pub use commits::{
    a_commit_happens_as_a_whole, a_commit_keeps_what_was_asked_for, a_completed_deployment_keeps_its_end,
    a_refused_commit_leaves_no_trace, a_step_is_identified_by_name_and_attempt, forgetting_an_app_keeps_its_history,
    instances_are_those_that_are_left, two_apps_never_hold_one_endpoint,
};
pub use deployments::{
    a_remove_deployment_marks_its_app, create_deployment_counts_without_gaps, create_deployment_needs_an_app,
    create_deployment_writes_event_and_job, deployments_are_listed_newest_first, unfinished_is_what_has_not_ended,
    unfinished_of_an_app_is_its_own,
};
pub use durability::everything_survives_reopening;
pub use events::{
    events_are_read_in_order_without_gaps, forget_logs_spares_what_is_newer_or_still_there,
    log_lines_are_numbered_without_gaps,
};
pub use fixture::StoreFixture;
pub use guards::{
    commit_admits_one_active_deployment, commit_admits_the_earliest_first, commit_compares_the_version,
    commit_stops_at_a_cancel_request, commit_under_an_old_lease_is_fenced,
};
pub use leap::{leap_leaves_all_numbers_behind, position_is_the_last_event, time_moves_on};
pub use leases::{
    a_last_commit_acknowledges_its_job, a_last_commit_releases_its_lease, a_lease_excludes_other_owners,
    a_lease_goes_to_its_owner_or_when_it_ran_out, check_lease_extends_nothing, renew_lease_extends,
};
pub use projects::{
    a_project_is_read_back_with_its_apps, a_project_write_compares_the_version, a_project_write_names_all_its_apps,
    a_refused_project_write_leaves_no_trace, a_removed_project_goes_with_its_last_app, apps_follow_their_project_alone,
};
pub use room::{commit_keeps_to_the_room, commits_at_once_share_the_room};
pub use supersede::{
    a_key_finds_its_deployment, a_key_names_one_deployment, a_newer_deployment_supersedes_earlier_ones,
    create_deployment_is_refused_while_one_is_under_way,
};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn StoreFixture>> {
    crate::__for_each_store_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_store_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            an_app_is_read_back_equal,
            apps_are_listed_by_name,
            a_host_name_belongs_to_one_app,
            update_app_compares_the_version,
            create_deployment_counts_without_gaps,
            create_deployment_writes_event_and_job,
            create_deployment_needs_an_app,
            a_key_finds_its_deployment,
            a_key_names_one_deployment,
            a_newer_deployment_supersedes_earlier_ones,
            create_deployment_is_refused_while_one_is_under_way,
            a_remove_deployment_marks_its_app,
            deployments_are_listed_newest_first,
            unfinished_is_what_has_not_ended,
            unfinished_of_an_app_is_its_own,
            a_lease_excludes_other_owners,
            a_last_commit_releases_its_lease,
            a_last_commit_acknowledges_its_job,
            a_lease_goes_to_its_owner_or_when_it_ran_out,
            renew_lease_extends,
            check_lease_extends_nothing,
            commit_under_an_old_lease_is_fenced,
            commit_compares_the_version,
            commit_stops_at_a_cancel_request,
            commit_admits_one_active_deployment,
            commit_admits_the_earliest_first,
            a_commit_happens_as_a_whole,
            a_commit_keeps_what_was_asked_for,
            instances_are_those_that_are_left,
            a_completed_deployment_keeps_its_end,
            two_apps_never_hold_one_endpoint,
            a_step_is_identified_by_name_and_attempt,
            a_refused_commit_leaves_no_trace,
            forgetting_an_app_keeps_its_history,
            request_cancel_comes_in_time_or_too_late,
            request_cancel_ends_what_waits,
            events_are_read_in_order_without_gaps,
            log_lines_are_numbered_without_gaps,
            forget_logs_spares_what_is_newer_or_still_there,
            time_moves_on,
            position_is_the_last_event,
            leap_leaves_all_numbers_behind,
            a_project_is_read_back_with_its_apps,
            a_project_write_compares_the_version,
            a_project_write_names_all_its_apps,
            apps_follow_their_project_alone,
            a_refused_project_write_leaves_no_trace,
            a_removed_project_goes_with_its_last_app,
            everything_survives_reopening,
            commit_keeps_to_the_room,
            commits_at_once_share_the_room,
        ] }
    };
}

/// Runs the [suite for stores](crate::conformance::store), each case as a test
/// of its own. The argument is a future that yields a
/// [`StoreFixture`](crate::conformance::store::StoreFixture) of an empty store;
/// each test gets its own. Where the store may not be there, `optional` and a
/// future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_store_case!([$crate::__conformance_tests], store, $fixture,);
    };
    ($fixture:expr) => {
        $crate::store_conformance!(optional async { Some($fixture.await) });
    };
}
