//! The suite for [`SourceFetcher`](crate::SourceFetcher).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::source_fetcher_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod cases;
mod fixture;

use super::case::{Case, case_table};

pub use cases::{
    a_branch_is_resolved_to_its_head, fetch_replaces_what_lies_there, fetch_yields_exactly_the_commit,
    no_program_of_the_repository_runs, unknown_commits_are_told, unknown_repositories_and_branches_are_told,
};
pub use fixture::FetcherFixture;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn FetcherFixture>> {
    crate::__for_each_source_fetcher_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_source_fetcher_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            a_branch_is_resolved_to_its_head,
            fetch_yields_exactly_the_commit,
            fetch_replaces_what_lies_there,
            unknown_repositories_and_branches_are_told,
            unknown_commits_are_told,
            no_program_of_the_repository_runs,
        ] }
    };
}

/// Runs the [suite for source fetchers](crate::conformance::source_fetcher),
/// each case as a test of its own. The argument is a future that yields a
/// [`FetcherFixture`](crate::conformance::source_fetcher::FetcherFixture); each
/// test gets its own. Where the fetcher may not be there, `optional` and a
/// future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! source_fetcher_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_source_fetcher_case!([$crate::__conformance_tests], source_fetcher, $fixture,);
    };
    ($fixture:expr) => {
        $crate::source_fetcher_conformance!(optional async { Some($fixture.await) });
    };
}
