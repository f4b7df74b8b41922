//! The suite for [`MetricsSink`](crate::MetricsSink).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::metrics_sink_conformance!(async { MyFixture::default() });
//! }
//! ```

mod cases;
mod fixture;

use super::case::{Case, case_table};

pub use cases::{
    a_number_is_visible_at_once, labels_are_counted_apart, of_a_state_the_last_number_counts, threads_lose_nothing,
};
pub use fixture::{MetricsFixture, Reading};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn MetricsFixture>> {
    crate::__for_each_metrics_sink_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_metrics_sink_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            a_number_is_visible_at_once,
            labels_are_counted_apart,
            of_a_state_the_last_number_counts,
            threads_lose_nothing,
        ] }
    };
}

/// Runs the [suite for metrics sinks](crate::conformance::metrics_sink), each
/// case as a test of its own. The argument is a future that yields a
/// [`MetricsFixture`](crate::conformance::metrics_sink::MetricsFixture) of a sink
/// that has seen nothing; each test gets its own. Where the sink may not be
/// there, `optional` and a future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! metrics_sink_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_metrics_sink_case!([$crate::__conformance_tests], metrics_sink, $fixture,);
    };
    ($fixture:expr) => {
        $crate::metrics_sink_conformance!(optional async { Some($fixture.await) });
    };
}
