//! The suite for [`ImageBuilder`](crate::ImageBuilder).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::image_builder_conformance!(async { MyFixture::start().await });
//! }
//! ```

mod cases;
mod fixture;

use super::case::{Case, case_table};

pub use cases::{
    a_build_is_found_again, a_build_obeys_its_timeout, a_cancelled_build_ends, a_failed_build_leaves_nothing,
    an_interrupted_build_is_discarded, nothing_outside_the_tree_is_read, unknown_keys_are_none,
};
pub use fixture::{BuilderFixture, Sample, SourceKind};

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn BuilderFixture>> {
    crate::__for_each_image_builder_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_image_builder_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            a_build_is_found_again,
            unknown_keys_are_none,
            a_failed_build_leaves_nothing,
            a_cancelled_build_ends,
            an_interrupted_build_is_discarded,
            a_build_obeys_its_timeout,
            nothing_outside_the_tree_is_read,
        ] }
    };
}

/// Runs the [suite for image builders](crate::conformance::image_builder), each
/// case as a test of its own. The argument is a future that yields a
/// [`BuilderFixture`](crate::conformance::image_builder::BuilderFixture); each
/// test gets its own. Where the builder may not be there, `optional` and a
/// future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! image_builder_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_image_builder_case!([$crate::__conformance_tests], image_builder, $fixture,);
    };
    ($fixture:expr) => {
        $crate::image_builder_conformance!(optional async { Some($fixture.await) });
    };
}
