//! Each case of the metrics suite finds the fault that it is there for, and the
//! sinks of this crate pass them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{Metric, MetricsSink};
use quark_core::conformance::CaseResult;
use quark_core::conformance::metrics_sink::{MetricsFixture, Reading, cases};

/// What is wrong with a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    Nothing,
    ShowsTheOneBefore,
    CountsOnce,
    MixesKinds,
    MixesConclusions,
    MixesOutcomes,
    MixesReasons,
    ForgetsDurations,
    AddsStatesUp,
    KeepsTheFirstState,
    RacesForNumbers,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "a_number_is_visible_at_once" => &[ShowsTheOneBefore, ForgetsDurations],
        "labels_are_counted_apart" => &[CountsOnce, MixesKinds, MixesConclusions, MixesOutcomes, MixesReasons],
        "of_a_state_the_last_number_counts" => &[AddsStatesUp, KeepsTheFirstState],
        "threads_lose_nothing" => &[RacesForNumbers],
        _ => &[],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&Fixture::with(Fault::Nothing)).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&Fixture::with(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

/// A sink that is a table, with one fault or none.
#[derive(Debug, Default)]
struct Table {
    fault: Fault,
    seen: Mutex<BTreeMap<Key, Reading>>,
    before: Mutex<Option<Metric>>,
    /// Who wrote last.
    last: Mutex<Option<tokio::task::Id>>,
}

type Key = (&'static str, &'static str, &'static str);

struct Fixture(Arc<Table>);

impl Fixture {
    fn with(fault: Fault) -> Self {
        Self(Arc::new(Table { fault, ..Table::default() }))
    }
}

#[async_trait]
impl MetricsFixture for Fixture {
    fn sink(&self) -> Arc<dyn MetricsSink> {
        Arc::clone(&self.0) as Arc<dyn MetricsSink>
    }

    async fn read(&self, like: Metric) -> CaseResult<Reading> {
        let (key, _, _) = self.0.taken_apart(like);
        Ok(self.0.seen.lock().unwrap().get(&key).copied().unwrap_or_default())
    }
}

impl Table {
    /// The name and labels of a metric, its number and its seconds.
    fn taken_apart(&self, metric: Metric) -> (Key, f64, f64) {
        let one = |name, first, second| ((name, first, second), 1.0, 0.0);
        let state = |name, number: i64| ((name, "", ""), f64::from(i32::try_from(number).unwrap()), 0.0);
        let total = |name, number: u64| ((name, "", ""), f64::from(u32::try_from(number).unwrap()), 0.0);
        let kind_of = |kind| if self.fault == Fault::MixesKinds { "" } else { kind };
        match metric {
            Metric::DeploymentCreated { kind } => one("created", kind_of(kind), ""),
            Metric::DeploymentCompleted { kind, conclusion, took } => {
                let conclusion = if self.fault == Fault::MixesConclusions { "" } else { conclusion.as_str() };
                (("completed", kind_of(kind), conclusion), 1.0, took.as_secs_f64())
            }
            Metric::StepCompleted { step, succeeded, took } => {
                let outcome = if succeeded || self.fault == Fault::MixesOutcomes { "succeeded" } else { "failed" };
                (("step", step.as_str(), outcome), 1.0, took.as_secs_f64())
            }
            Metric::ActiveDeployments(number) => state("active", number),
            Metric::QueueDepth(number) => state("ready", number),
            Metric::QueuedDeployments(number) => state("queued", number),
            Metric::PendingApprovals(number) => state("approvals", number),
            Metric::StuckDeployments(number) => state("stuck", number),
            Metric::SafeMode(on) => state("safe_mode", on.into()),
            Metric::RequestsCut(number) => total("cut", number),
            Metric::PromotionRequestsFailed(number) => total("promotion_failed", number),
            Metric::LogLinesDropped(number) => total("dropped", number),
            Metric::AdmissionRefused { reason } => {
                one("refused", if self.fault == Fault::MixesReasons { "" } else { reason.as_str() }, "")
            }
            Metric::Restarted { reason } => one("restarted", kind_of(reason.as_str()), ""),
            other => panic!("the suite knows a metric that this does not: {other:?}"),
        }
    }

    fn write(&self, metric: Metric) {
        let (key, number, seconds) = self.taken_apart(metric);
        let mut seen = self.seen.lock().unwrap();
        let known = seen.get(&key).copied();
        let before = known.unwrap_or_default();
        // What one has written since another one has read is lost, each time.
        let task = tokio::task::try_id();
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), task);
        if self.fault == Fault::RacesForNumbers && last.is_some() && last != task {
            return;
        }
        let is_kept = match self.fault {
            Fault::KeepsTheFirstState => metric.is_state(),
            Fault::CountsOnce => !metric.is_state(),
            _ => false,
        };
        if known.is_some() && is_kept {
            return;
        }
        let adds = !metric.is_state() || self.fault == Fault::AddsStatesUp;
        let seconds = if self.fault == Fault::ForgetsDurations { 0.0 } else { seconds };
        let new = Reading { number, seconds };
        let sum = Reading { number: before.number + number, seconds: before.seconds + seconds };
        seen.insert(key, if adds { sum } else { new });
    }
}

impl MetricsSink for Table {
    fn record(&self, metric: Metric) {
        if self.fault != Fault::ShowsTheOneBefore {
            return self.write(metric);
        }
        let before = self.before.lock().unwrap().replace(metric);
        if let Some(before) = before {
            self.write(before);
        }
    }
}

#[cfg(feature = "prometheus")]
mod prometheus {
    use quark_core::metrics::PrometheusMetrics;

    use super::*;

    /// Reads as a server of Prometheus would: the text.
    struct Scraped(Arc<PrometheusMetrics>);

    impl Scraped {
        fn value(text: &str, series: &str) -> CaseResult<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
            line.map_or(Ok(0.0), |value| value.parse().map_err(|error| format!("{series} is {value}: {error}")))
        }
    }

    #[async_trait]
    impl MetricsFixture for Scraped {
        fn sink(&self) -> Arc<dyn MetricsSink> {
            Arc::clone(&self.0) as Arc<dyn MetricsSink>
        }

        async fn read(&self, like: Metric) -> CaseResult<Reading> {
            let text = self.0.render().map_err(|error| error.report().to_string())?;
            let value = |series: &str| Self::value(&text, series);
            let plain = |series: &str| Ok(Reading { number: value(series)?, seconds: 0.0 });
            match like {
                Metric::DeploymentCreated { kind } => {
                    plain(&format!("quark_deployments_created_total{{kind=\"{kind}\"}}"))
                }
                Metric::DeploymentCompleted { kind, conclusion, .. } => {
                    let labels = format!("{{conclusion=\"{conclusion}\",kind=\"{kind}\"}}");
                    Ok(Reading {
                        number: value(&format!("quark_deployments_completed_total{labels}"))?,
                        seconds: value(&format!("quark_deployment_duration_seconds_sum{labels}"))?,
                    })
                }
                Metric::StepCompleted { step, succeeded, .. } => {
                    let outcome = if succeeded { "succeeded" } else { "failed" };
                    let labels = format!("{{outcome=\"{outcome}\",step=\"{step}\"}}");
                    Ok(Reading {
                        number: value(&format!("quark_step_duration_seconds_count{labels}"))?,
                        seconds: value(&format!("quark_step_duration_seconds_sum{labels}"))?,
                    })
                }
                Metric::ActiveDeployments(_) => plain("quark_deployments_active"),
                Metric::QueueDepth(_) => plain("quark_queue_ready_jobs"),
                Metric::QueuedDeployments(_) => plain("quark_deployments_queued"),
                Metric::PendingApprovals(_) => plain("quark_approvals_pending"),
                Metric::StuckDeployments(_) => plain("quark_deployments_stuck"),
                Metric::SafeMode(_) => plain("quark_safe_mode"),
                Metric::RequestsCut(_) => plain("quark_requests_cut_total"),
                Metric::PromotionRequestsFailed(_) => plain("quark_promotion_requests_failed_total"),
                Metric::LogLinesDropped(_) => plain("quark_log_lines_dropped_total"),
                Metric::AdmissionRefused { reason } => {
                    plain(&format!("quark_admissions_refused_total{{reason=\"{reason}\"}}"))
                }
                Metric::Restarted { reason } => plain(&format!("quark_restarts_total{{reason=\"{reason}\"}}")),
                other => Err(format!("{other:?} is not in the table")),
            }
        }
    }

    quark_core::metrics_sink_conformance!(async { Scraped(Arc::new(PrometheusMetrics::new().unwrap())) });
}
