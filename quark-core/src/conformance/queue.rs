//! The suite for [`Queue`](crate::Queue).
//!
//! ```ignore
//! mod conformance {
//!     quark_core::queue_conformance!(async { MyFixture::fresh().await });
//! }
//! ```

mod attempts;
mod claims;
mod fixture;
mod order;
mod scene;
mod waiting;

use super::case::{Case, case_table};

pub use attempts::{
    each_claim_counts_as_an_attempt, nack_uncounted_gives_the_attempt_back, nack_with_a_delay_makes_the_job_wait,
    reclaim_frees_the_claims_of_one_owner,
};
pub use claims::{
    a_claim_runs_out, a_job_is_claimed_by_one_worker, heartbeat_extends_a_claim, what_comes_after_a_lost_claim_is_lost,
};
pub use fixture::QueueFixture;
pub use order::{
    ack_ends_a_job, depth_counts_each_job_once, jobs_come_by_priority_then_age, jobs_wait_for_their_time,
    one_dedupe_key_is_one_job,
};
pub use waiting::wait_returns_when_a_job_is_queued;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn QueueFixture>> {
    crate::__for_each_queue_case!([case_table],)
}

/// Hands the names of all cases to a macro: the only list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_queue_case {
    ([$($then:tt)+], $($arguments:tt)*) => {
        $($then)+! { $($arguments)* [
            a_job_is_claimed_by_one_worker,
            jobs_come_by_priority_then_age,
            jobs_wait_for_their_time,
            one_dedupe_key_is_one_job,
            ack_ends_a_job,
            a_claim_runs_out,
            heartbeat_extends_a_claim,
            what_comes_after_a_lost_claim_is_lost,
            each_claim_counts_as_an_attempt,
            nack_uncounted_gives_the_attempt_back,
            nack_with_a_delay_makes_the_job_wait,
            reclaim_frees_the_claims_of_one_owner,
            wait_returns_when_a_job_is_queued,
            depth_counts_each_job_once,
        ] }
    };
}

/// Runs the [suite for queues](crate::conformance::queue), each case as a test
/// of its own. The argument is a future that yields a
/// [`QueueFixture`](crate::conformance::queue::QueueFixture) of an empty queue;
/// each test gets its own. Where the queue may not be there, `optional` and a
/// future of an `Option` skip the tests.
///
/// The caller needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! queue_conformance {
    (optional $fixture:expr) => {
        $crate::__for_each_queue_case!([$crate::__conformance_tests], queue, $fixture,);
    };
    ($fixture:expr) => {
        $crate::queue_conformance!(optional async { Some($fixture.await) });
    };
}
