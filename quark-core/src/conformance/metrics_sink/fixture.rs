//! What a metrics sink must come with to be tested.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::{Metric, MetricsSink};
use crate::conformance::CaseResult;

/// What a reader sees of one metric with one combination of labels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "fixtures make it")]
pub struct Reading {
    /// How often it was counted, or how much in all for what comes with a
    /// number; of a state, what it is: 0 or 1 for one that is on or off.
    pub number: f64,
    /// The sum of its durations in seconds, 0 for what has none.
    pub seconds: f64,
}

/// A sink under test that has seen nothing, and its readers.
#[async_trait]
pub trait MetricsFixture: Send + Sync {
    /// The sink. The same each time.
    fn sink(&self) -> Arc<dyn MetricsSink>;

    /// What a reader sees at this moment of the metric that `like` is, with its
    /// labels; its numbers do not matter. All 0 if it was never recorded.
    ///
    /// # Errors
    ///
    /// Why it could not be read.
    async fn read(&self, like: Metric) -> CaseResult<Reading>;
}
