//! The suite for [`ContainerRuntime`](crate::ContainerRuntime).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::container_runtime_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod bench;
mod creating;
mod finding;
mod fixture;
mod hooks;
mod output;
mod starting;
mod stopping;

use super::case::{Case, case_table};

pub use creating::{
    a_name_belongs_to_one_spec, allocated_endpoints_differ, an_unknown_image_is_not_found, creating_twice_adopts,
};
pub use finding::{containers_outlive_their_runtime, list_yields_what_carries_all_labels, unknown_names_are_none};
pub use fixture::{ProgramKind, RuntimeFixture, Taken};
pub use hooks::{a_hook_is_no_instance, a_hook_runs_to_its_end_once, a_hook_tells_how_it_ended};
pub use output::{following_ends_with_the_container, output_is_read_in_order, variables_arrive_as_given};
pub use starting::{
    a_missing_program_is_told, a_taken_endpoint_is_told, starting_twice_starts_once, what_listens_is_ours,
};
pub use stopping::{
    ending_what_has_ended_succeeds, remove_checks_the_labels, running_containers_are_not_removed,
    stop_kills_what_ignores_the_signal, stop_returns_when_the_process_has_exited,
};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn RuntimeFixture>> {
    crate::__for_each_container_runtime_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_container_runtime_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            creating_twice_adopts,
            a_name_belongs_to_one_spec,
            an_unknown_image_is_not_found,
            allocated_endpoints_differ,
            starting_twice_starts_once,
            a_taken_endpoint_is_told,
            a_missing_program_is_told,
            what_listens_is_ours,
            unknown_names_are_none,
            list_yields_what_carries_all_labels,
            containers_outlive_their_runtime,
            stop_returns_when_the_process_has_exited,
            stop_kills_what_ignores_the_signal,
            ending_what_has_ended_succeeds,
            remove_checks_the_labels,
            running_containers_are_not_removed,
            output_is_read_in_order,
            following_ends_with_the_container,
            variables_arrive_as_given,
            a_hook_runs_to_its_end_once,
            a_hook_tells_how_it_ended,
            a_hook_is_no_instance,
        ] }
    };
}

/// Runs the [suite for container runtimes](crate::conformance::container_runtime),
/// each case as a test of its own. The argument is a future that yields a
/// [`RuntimeFixture`](crate::conformance::container_runtime::RuntimeFixture);
/// each test gets its own. Where the runtime may not be there, `optional` and a
/// future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! container_runtime_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_container_runtime_case!([$crate::__conformance_tests], container_runtime, $fixture,);
    };
    ($fixture:expr) => {
        $crate::container_runtime_conformance!(optional async { Some($fixture.await) });
    };
}
