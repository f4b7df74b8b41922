//! `MetricsSink`: takes numbers about the engine.

use std::time::Duration;

use crate::deployment::{Conclusion, RestartReason, Shortage, StepName};

/// Something that can be counted or measured. Closed, so that labels stay
/// bounded: no app, deployment or user is ever one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Metric {
    /// A deployment was asked for.
    DeploymentCreated {
        /// `deploy`, `rollback` or `remove`.
        kind: &'static str,
    },
    /// A deployment ended.
    DeploymentCompleted {
        /// `deploy`, `rollback` or `remove`.
        kind: &'static str,
        /// How.
        conclusion: Conclusion,
        /// From its creation to its end.
        took: Duration,
    },
    /// A step ended.
    StepCompleted {
        /// Which.
        step: StepName,
        /// Whether it was done.
        succeeded: bool,
        /// From its intent to its outcome.
        took: Duration,
    },
    /// The number of deployments that workers hold at this moment.
    ActiveDeployments(i64),
    /// The number of jobs that wait.
    QueueDepth(i64),
    /// The number of deployments of all engines that wait for their turn, counted every 30 s.
    QueuedDeployments(i64),
    /// The number of deployments that wait for people to approve them, counted every 30 s.
    PendingApprovals(i64),
    /// The number of deployments that only a person can bring to an end, counted every 30 s.
    StuckDeployments(i64),
    /// Whether this engine touches nothing until a person has looked.
    SafeMode(bool),
    /// Requests that were still open when a version had drained for as long as it may. Those that outlast a second
    /// try of the same step count again.
    RequestsCut(u64),
    /// Requests that failed in the second around a promotion, to both versions together, where an
    /// [`AnalysisSource`](crate::AnalysisSource) knows of them. A step that is done again after a crash counts again.
    PromotionRequestsFailed(u64),
    /// Log lines that were dropped because the store could not keep up.
    LogLinesDropped(u64),
    /// Something was refused because the machine has no room for it. One whose refusal could not be written down
    /// is refused, and counted, once more.
    AdmissionRefused {
        /// What is short.
        reason: Shortage,
    },
    /// What is live was started again.
    Restarted {
        /// Why.
        reason: RestartReason,
    },
}

impl Metric {
    /// Whether it says how something is at this moment; the others are counted.
    #[must_use]
    pub fn is_state(&self) -> bool {
        matches!(
            self,
            Self::ActiveDeployments(_)
                | Self::QueueDepth(_)
                | Self::QueuedDeployments(_)
                | Self::PendingApprovals(_)
                | Self::StuckDeployments(_)
                | Self::SafeMode(_)
        )
    }
}

/// Takes numbers about the engine. Never blocks and never fails.
///
/// # Contract
///
/// - A number is visible to readers when `record` has returned.
/// - What is counted adds up, each combination of labels for itself.
/// - Of what [is a state](Metric::is_state) the last number counts.
/// - Calls from several threads lose nothing.
pub trait MetricsSink: std::fmt::Debug + Send + Sync + 'static {
    /// Takes one number.
    fn record(&self, metric: Metric);
}

/// A sink that forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMetrics;

impl MetricsSink for NoMetrics {
    fn record(&self, _: Metric) {}
}
