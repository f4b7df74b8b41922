//! `PrometheusMetrics`: a `MetricsSink` with a registry of its own.

use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::backend::{Metric, MetricsSink};
use crate::{Error, ErrorKind, Result};

/// Seconds; from a warm rollback to a long build.
const BUCKETS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1200.0];

/// Counts into a Prometheus registry of its own: an embedding program may have
/// one too, and may build two engines, without names colliding.
///
/// | metric | type | labels | what it tells |
/// |---|---|---|---|
/// | `quark_deployments_created_total` | counter | `kind` | deployments, rollbacks and removals that were asked for |
/// | `quark_deployments_completed_total` | counter | `kind`, `conclusion` | how they ended: `succeeded` of `rollback` are rollbacks that happened |
/// | `quark_deployment_duration_seconds` | histogram | `kind`, `conclusion` | from the wish to the end, waiting included |
/// | `quark_step_duration_seconds` | histogram | `step`, `outcome` | each phase: `promote` is the switch, `mend` is what was brought back |
/// | `quark_deployments_active` | gauge | | what this engine works on at this moment |
/// | `quark_deployments_queued` | gauge | | what waits for its turn, of all engines (every 30 s) |
/// | `quark_deployments_stuck` | gauge | | what only a person can end (every 30 s): alert on more than 0 |
/// | `quark_approvals_pending` | gauge | | what waits for people's consent (every 30 s) |
/// | `quark_queue_ready_jobs` | gauge | | jobs that no worker has taken yet |
/// | `quark_safe_mode` | gauge | | 1 while the engine touches nothing until a person has looked: alert |
/// | `quark_requests_cut_total` | counter | | requests still open when an old version had drained for as long as it may |
/// | `quark_promotion_requests_failed_total` | counter | | requests that failed in the second around a switch, of both versions; needs an `AnalysisSource` |
/// | `quark_log_lines_dropped_total` | counter | | lines that came faster than they could be kept |
/// | `quark_admissions_refused_total` | counter | `reason` | what the machine had no room for: `memory`, `cpu`, `disk` or `pids` |
///
/// The names are public API. `kind` is `deploy`, `rollback` or `remove`,
/// `conclusion` one of [`Conclusion`](crate::Conclusion), `step` one of
/// [`StepName`](crate::StepName), `outcome` is `succeeded` or `failed`, `reason` one of
/// [`Shortage`](crate::deployment::Shortage): no label grows with the number of apps.
/// | `quark_restarts_total` | counter | `reason` | processes of what is live that were started again: `exited` or `unhealthy` |
///
/// The names are public API. `kind` is `deploy`, `rollback` or `remove`,
/// `conclusion` one of [`Conclusion`](crate::Conclusion), `step` one of
/// [`StepName`](crate::StepName), `outcome` is `succeeded` or `failed`, `reason` one
/// of [`RestartReason`](crate::deployment::RestartReason): no label grows with the
/// number of apps.
#[derive(Debug)]
pub struct PrometheusMetrics {
    registry: Registry,
    created: IntCounterVec,
    completed: IntCounterVec,
    duration: HistogramVec,
    steps: HistogramVec,
    active: IntGauge,
    queued: IntGauge,
    stuck: IntGauge,
    approvals: IntGauge,
    ready: IntGauge,
    safe_mode: IntGauge,
    cut: IntCounter,
    promotion_failed: IntCounter,
    dropped: IntCounter,
    refused: IntCounterVec,
    restarts: IntCounterVec,
}

impl PrometheusMetrics {
    /// A sink with an empty registry.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the library refuses one of the names above.
    pub fn new() -> Result<Self> {
        Self::build().map_err(|error| Error::new(ErrorKind::Internal, "a metric was refused").with_source(error))
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name, help, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name, help, labels: &[&str]| -> prometheus::Result<HistogramVec> {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            register(&registry, HistogramVec::new(options, labels)?)
        };
        let gauge = |name, help| register(&registry, IntGauge::new(name, help)?);
        let counter = |name, help| register(&registry, IntCounter::new(name, help)?);
        Ok(Self {
            created: counters("quark_deployments_created_total", "Deployments that were asked for.", &["kind"])?,
            completed: counters(
                "quark_deployments_completed_total",
                "Deployments that have ended.",
                &["kind", "conclusion"],
            )?,
            duration: histogram(
                "quark_deployment_duration_seconds",
                "From the creation of a deployment to its end.",
                &["kind", "conclusion"],
            )?,
            steps: histogram(
                "quark_step_duration_seconds",
                "From the intent of a step to its outcome.",
                &["step", "outcome"],
            )?,
            active: gauge("quark_deployments_active", "Deployments that workers hold at this moment.")?,
            queued: gauge("quark_deployments_queued", "Deployments that wait for their turn.")?,
            stuck: gauge("quark_deployments_stuck", "Deployments that only a person can bring to an end.")?,
            approvals: gauge("quark_approvals_pending", "Deployments that wait for people to approve them.")?,
            ready: gauge("quark_queue_ready_jobs", "Jobs that could be claimed.")?,
            safe_mode: gauge("quark_safe_mode", "Whether the engine touches nothing until a person has looked.")?,
            cut: counter("quark_requests_cut_total", "Requests that were open at the end of a drain.")?,
            promotion_failed: counter(
                "quark_promotion_requests_failed_total",
                "Requests that failed in the second around a switch.",
            )?,
            dropped: counter("quark_log_lines_dropped_total", "Log lines that could not be kept.")?,
            refused: counters("quark_admissions_refused_total", "What the machine had no room for.", &["reason"])?,
            restarts: counters(
                "quark_restarts_total",
                "Processes of what is live that were started again.",
                &["reason"],
            )?,
            registry,
        })
    }

    /// Everything in the text format of Prometheus, version 0.0.4.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the library fails to encode.
    pub fn render(&self) -> Result<String> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .map_err(|error| Error::new(ErrorKind::Internal, "metrics could not be encoded").with_source(error))?;
        String::from_utf8(text)
            .map_err(|error| Error::new(ErrorKind::Internal, "metrics are not text").with_source(error))
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl MetricsSink for PrometheusMetrics {
    fn record(&self, metric: Metric) {
        match metric {
            Metric::DeploymentCreated { kind } => self.created.with_label_values(&[kind]).inc(),
            Metric::DeploymentCompleted { kind, conclusion, took } => {
                let labels = [kind, conclusion.as_str()];
                self.completed.with_label_values(&labels).inc();
                self.duration.with_label_values(&labels).observe(took.as_secs_f64());
            }
            Metric::StepCompleted { step, succeeded, took } => {
                let outcome = if succeeded { "succeeded" } else { "failed" };
                self.steps.with_label_values(&[step.as_str(), outcome]).observe(took.as_secs_f64());
            }
            Metric::ActiveDeployments(count) => self.active.set(count),
            Metric::QueuedDeployments(count) => self.queued.set(count),
            Metric::StuckDeployments(count) => self.stuck.set(count),
            Metric::PendingApprovals(count) => self.approvals.set(count),
            Metric::QueueDepth(count) => self.ready.set(count),
            Metric::SafeMode(on) => self.safe_mode.set(on.into()),
            Metric::RequestsCut(count) => self.cut.inc_by(count),
            Metric::PromotionRequestsFailed(count) => self.promotion_failed.inc_by(count),
            Metric::LogLinesDropped(count) => self.dropped.inc_by(count),
            Metric::AdmissionRefused { reason } => self.refused.with_label_values(&[reason.as_str()]).inc(),
            Metric::Restarted { reason } => self.restarts.with_label_values(&[reason.as_str()]).inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sinks_do_not_collide() {
        let (one, two) = (PrometheusMetrics::new().unwrap(), PrometheusMetrics::new().unwrap());
        one.record(Metric::DeploymentCreated { kind: "deploy" });
        assert!(one.render().unwrap().contains("quark_deployments_created_total{kind=\"deploy\"} 1"));
        assert!(!two.render().unwrap().contains("kind=\"deploy\""));
    }

    #[test]
    fn threads_lose_nothing() {
        let sink = PrometheusMetrics::new().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| sink.record(Metric::LogLinesDropped(1))));
            }
        });
        assert!(sink.render().unwrap().contains("quark_log_lines_dropped_total 2000"));
    }
}
