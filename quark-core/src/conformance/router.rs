//! The suite for [`Router`](crate::Router).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::router_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod cases;
mod fixture;
mod scene;
mod splitting;
mod switching;

use super::case::{Case, case_table};

pub use cases::{
    a_late_change_is_refused, a_name_of_another_app_is_refused, a_refused_route_does_not_hinder_others,
    a_refused_route_leaves_the_old_one, a_removal_counts_as_seen, an_old_fence_is_refused,
    applying_twice_changes_nothing, backup_stands_in, drained_times_out_with_the_number, drained_waits_for_requests,
    observe_tells_what_is_in_force, removed_names_are_not_served, requests_reach_the_active_slot,
    the_entrance_leads_to_the_active_slot,
};
pub use fixture::{RouterClient, RouterFixture, SlotServer};
pub use splitting::{
    a_late_share_is_refused, a_share_reaches_the_other_slot, a_share_that_cannot_be_given_is_refused,
    a_share_that_is_down_costs_no_request, changing_the_share_loses_no_request,
};
pub use switching::{
    apply_returns_when_in_force, switching_loses_no_request, switching_to_and_from_what_is_down_loses_no_request,
};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn RouterFixture>> {
    crate::__for_each_router_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_router_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            requests_reach_the_active_slot,
            applying_twice_changes_nothing,
            apply_returns_when_in_force,
            switching_loses_no_request,
            an_old_fence_is_refused,
            a_refused_route_leaves_the_old_one,
            a_refused_route_does_not_hinder_others,
            a_name_of_another_app_is_refused,
            observe_tells_what_is_in_force,
            backup_stands_in,
            switching_to_and_from_what_is_down_loses_no_request,
            drained_waits_for_requests,
            drained_times_out_with_the_number,
            removed_names_are_not_served,
            a_late_change_is_refused,
            a_removal_counts_as_seen,
            the_entrance_leads_to_the_active_slot,
            a_share_reaches_the_other_slot,
            changing_the_share_loses_no_request,
            a_share_that_is_down_costs_no_request,
            a_late_share_is_refused,
            a_share_that_cannot_be_given_is_refused,
        ] }
    };
}

/// Runs the [suite for routers](crate::conformance::router), each case as a
/// test of its own. The argument is a future that yields a
/// [`RouterFixture`](crate::conformance::router::RouterFixture); each test gets
/// its own. Where the router may not be there, `optional` and a future of an
/// `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! router_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_router_case!([$crate::__conformance_tests], router, $fixture,);
    };
    ($fixture:expr) => {
        $crate::router_conformance!(optional async { Some($fixture.await) });
    };
}
