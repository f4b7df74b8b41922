//! What a metrics sink promises.

use std::time::Duration;

use super::fixture::{MetricsFixture, Reading};
use crate::backend::Metric;
use crate::conformance::CaseResult;
use crate::conformance::crowd::{CROWD, at_once};
use crate::conformance::outcome::ensure;
use crate::deployment::{Conclusion, RestartReason, Shortage, StepName};

/// Exact as a float, so that its sums are.
const TOOK: Duration = Duration::from_millis(1500);

/// How often each of a crowd counts.
const OFTEN: u32 = 200;

fn completed(kind: &'static str, conclusion: Conclusion) -> Metric {
    Metric::DeploymentCompleted { kind, conclusion, took: TOOK }
}

fn step(step: StepName, succeeded: bool) -> Metric {
    Metric::StepCompleted { step, succeeded, took: TOOK }
}

/// Every metric, those with labels with several; with each, how much it counts,
/// or what it says of a state.
fn every() -> Vec<(Metric, f64)> {
    vec![
        (Metric::DeploymentCreated { kind: "deploy" }, 1.0),
        (Metric::DeploymentCreated { kind: "rollback" }, 1.0),
        (completed("deploy", Conclusion::Succeeded), 1.0),
        (completed("deploy", Conclusion::Failed), 1.0),
        (completed("rollback", Conclusion::Succeeded), 1.0),
        (step(StepName::Build, true), 1.0),
        (step(StepName::Build, false), 1.0),
        (step(StepName::Probe, true), 1.0),
        (Metric::RequestsCut(3), 3.0),
        (Metric::PromotionRequestsFailed(4), 4.0),
        (Metric::LogLinesDropped(70), 70.0),
        (Metric::Restarted { reason: RestartReason::Exited }, 1.0),
        (Metric::Restarted { reason: RestartReason::Unhealthy }, 1.0),
        (Metric::ActiveDeployments(2), 2.0),
        (Metric::QueueDepth(4), 4.0),
        (Metric::QueuedDeployments(5), 5.0),
        (Metric::PendingApprovals(6), 6.0),
        (Metric::StuckDeployments(7), 7.0),
        (Metric::SafeMode(true), 1.0),
        (Metric::AdmissionRefused { reason: Shortage::Memory }, 1.0),
        (Metric::AdmissionRefused { reason: Shortage::Disk }, 1.0),
    ]
}

fn seconds(metric: Metric) -> f64 {
    match metric {
        Metric::DeploymentCompleted { took, .. } | Metric::StepCompleted { took, .. } => took.as_secs_f64(),
        _ => 0.0,
    }
}

fn is(one: Reading, other: Reading) -> bool {
    // Sums of halves are exact; a reader may show fewer digits than a float has.
    (one.number - other.number).abs() < 1e-6 && (one.seconds - other.seconds).abs() < 1e-3
}

/// A number is visible to readers when `record` has returned.
pub async fn a_number_is_visible_at_once(fixture: &dyn MetricsFixture) -> CaseResult {
    let sink = fixture.sink();
    for (metric, number) in every() {
        sink.record(metric);
        let (seen, expected) = (fixture.read(metric).await?, Reading { number, seconds: seconds(metric) });
        ensure!(is(seen, expected), "after {metric:?} a reader sees {seen:?} instead of {expected:?}");
    }
    Ok(())
}

/// What is counted adds up, each combination of labels for itself.
pub async fn labels_are_counted_apart(fixture: &dyn MetricsFixture) -> CaseResult {
    let sink = fixture.sink();
    let all = every();
    let times = |index: usize| u32::try_from(index % 3 + 1).unwrap_or(1);
    for (index, (metric, _)) in all.iter().enumerate() {
        (0..times(index)).for_each(|_| sink.record(*metric));
    }
    for (index, (metric, number)) in all.into_iter().enumerate() {
        let times = if metric.is_state() { 1.0 } else { f64::from(times(index)) };
        let expected = Reading { number: number * times, seconds: seconds(metric) * times };
        let seen = fixture.read(metric).await?;
        ensure!(is(seen, expected), "of {metric:?} a reader sees {seen:?} instead of {expected:?}");
    }
    Ok(())
}

/// Of what is a state the last number counts.
pub async fn of_a_state_the_last_number_counts(fixture: &dyn MetricsFixture) -> CaseResult {
    let sink = fixture.sink();
    let states = [
        [Metric::ActiveDeployments(9), Metric::ActiveDeployments(3)],
        [Metric::QueueDepth(1), Metric::QueueDepth(8)],
        [Metric::QueuedDeployments(2), Metric::QueuedDeployments(0)],
        [Metric::PendingApprovals(4), Metric::PendingApprovals(0)],
        [Metric::StuckDeployments(1), Metric::StuckDeployments(0)],
        [Metric::SafeMode(true), Metric::SafeMode(false)],
    ];
    for ([first, last], number) in states.into_iter().zip([3.0, 8.0, 0.0, 0.0, 0.0, 0.0]) {
        sink.record(first);
        sink.record(last);
        let (seen, expected) = (fixture.read(last).await?, Reading { number, seconds: 0.0 });
        ensure!(is(seen, expected), "after {first:?} and {last:?} a reader sees {seen:?}");
    }
    Ok(())
}

/// Calls from several threads lose nothing.
pub async fn threads_lose_nothing(fixture: &dyn MetricsFixture) -> CaseResult {
    let counted = [
        (Metric::DeploymentCreated { kind: "deploy" }, 1.0),
        (completed("deploy", Conclusion::Succeeded), 1.0),
        (step(StepName::Promote, true), 1.0),
        (Metric::LogLinesDropped(2), 2.0),
    ];
    at_once((0..CROWD).map(|_| {
        let sink = fixture.sink();
        async move {
            for _ in 0..OFTEN {
                counted.iter().for_each(|(metric, _)| sink.record(*metric));
            }
        }
    }))
    .await?;
    let times = f64::from(OFTEN) * f64::from(u32::try_from(CROWD).unwrap_or(u32::MAX));
    for (metric, number) in counted {
        let expected = Reading { number: number * times, seconds: seconds(metric) * times };
        let seen = fixture.read(metric).await?;
        ensure!(is(seen, expected), "{CROWD} threads counted {metric:?}: a reader sees {seen:?}, not {expected:?}");
    }
    Ok(())
}
