//! The suite for [`HostGauge`](crate::HostGauge).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::host_gauge_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod cases;
mod fixture;

use super::case::{Case, case_table};

pub use cases::{
    a_part_comes_with_its_whole_and_is_not_more, a_whole_that_is_told_is_not_nothing, each_answer_is_as_of_now,
    the_whole_stays_as_it_is,
};
pub use fixture::HostFixture;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn HostFixture>> {
    crate::__for_each_host_gauge_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_host_gauge_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            a_part_comes_with_its_whole_and_is_not_more,
            a_whole_that_is_told_is_not_nothing,
            the_whole_stays_as_it_is,
            each_answer_is_as_of_now,
        ] }
    };
}

/// Runs the [suite for gauges](crate::conformance::host_gauge), each case as a
/// test of its own. The argument is a future that yields a
/// [`HostFixture`](crate::conformance::host_gauge::HostFixture); each test gets its own. Where the machine
/// may not be one that can be looked at, `optional` and a future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! host_gauge_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_host_gauge_case!([$crate::__conformance_tests], host_gauge, $fixture,);
    };
    ($fixture:expr) => {
        $crate::host_gauge_conformance!(optional async { Some($fixture.await) });
    };
}
