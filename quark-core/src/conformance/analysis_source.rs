//! The suite for [`AnalysisSource`](crate::AnalysisSource).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::analysis_source_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod cases;
mod fixture;

use super::case::{Case, case_table};

pub use cases::{
    answers_from_500_on_and_none_at_all_are_failures, each_place_is_counted_for_itself,
    most_answers_took_no_longer_than_is_told, of_what_is_unknown_nothing_is_told, requests_are_counted_once,
    what_is_long_ago_is_not_counted,
};
pub use fixture::{AnalysisFixture, Place};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn AnalysisFixture>> {
    crate::__for_each_analysis_source_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_analysis_source_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            requests_are_counted_once,
            answers_from_500_on_and_none_at_all_are_failures,
            each_place_is_counted_for_itself,
            what_is_long_ago_is_not_counted,
            most_answers_took_no_longer_than_is_told,
            of_what_is_unknown_nothing_is_told,
        ] }
    };
}

/// Runs the [suite for analysis sources](crate::conformance::analysis_source), each
/// case as a test of its own. The argument is a future that yields an
/// [`AnalysisFixture`](crate::conformance::analysis_source::AnalysisFixture) of a
/// source that has seen nothing; each test gets its own. Where the source may not
/// be there, `optional` and a future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! analysis_source_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_analysis_source_case!([$crate::__conformance_tests], analysis_source, $fixture,);
    };
    ($fixture:expr) => {
        $crate::analysis_source_conformance!(optional async { Some($fixture.await) });
    };
}
