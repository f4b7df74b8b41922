//! What is wrong with how users are served by a version, if something is: pure.

use std::time::Duration;

use crate::app::{BakePolicy, CanaryPolicy};
use crate::deployment::Traffic;
use crate::{Error, ErrorKind};

/// How much longer answers may take whatever they took before: below this
/// nobody notices, and two measurements differ by as much.
const UNNOTICED: Duration = Duration::from_millis(50);

/// How many times the errors of the version before are no worse than that.
const NO_WORSE: u64 = 3;

/// What a policy has to say about users' requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    min_requests: u64,
    errors_permille: u32,
    slowdown_percent: u32,
}

impl Limits {
    /// The same, whatever few requests there are.
    pub(super) fn of_any(self) -> Self {
        Self { min_requests: 1, ..self }
    }
}

impl From<&BakePolicy> for Limits {
    fn from(policy: &BakePolicy) -> Self {
        let BakePolicy { min_requests, errors_permille, slowdown_percent, .. } = *policy;
        Self { min_requests, errors_permille, slowdown_percent }
    }
}

impl From<&CanaryPolicy> for Limits {
    fn from(policy: &CanaryPolicy) -> Self {
        let CanaryPolicy { min_requests, errors_permille, slowdown_percent, .. } = *policy;
        Self { min_requests, errors_permille, slowdown_percent }
    }
}

/// What is wrong with the answers of the last `window`, if something is.
/// `before` is what users got from the version before.
pub(super) fn complaint(limits: Limits, before: Option<&Traffic>, now: &Traffic, window: Duration) -> Option<Error> {
    if now.requests < limits.min_requests.max(1) {
        return None;
    }
    // Few requests say as little about the version before.
    let before = before.filter(|before| before.requests >= limits.min_requests.max(1));
    too_many_errors(limits, before, now, window).or_else(|| too_slow(limits, before?, now, window))
}

fn too_many_errors(limits: Limits, before: Option<&Traffic>, now: &Traffic, window: Duration) -> Option<Error> {
    let failed_before = before.map_or(0, permille);
    let allowed = u64::from(limits.errors_permille).max(failed_before.saturating_mul(NO_WORSE));
    let share = permille(now);
    if share <= allowed {
        return None;
    }
    let (failed, requests, seconds) = (now.failed, now.requests, window.as_secs());
    let (share, allowed) = (percent(share), percent(allowed));
    let text = format!("{failed} of {requests} requests failed in the last {seconds} s ({share}); {allowed} may");
    let before = before.map(|before| format!("{} did with the version before", percent(permille(before))));
    let hint = before.unwrap_or_else(|| "how many failed with the version before is not known".to_owned());
    Some(Error::new(ErrorKind::Unhealthy, text).with_code("too_many_errors").with_hint(hint))
}

fn too_slow(limits: Limits, before: &Traffic, now: &Traffic, window: Duration) -> Option<Error> {
    let (was, is) = (before.p95?, now.p95?);
    let allowed = (was.saturating_mul(limits.slowdown_percent) / 100).max(was.saturating_add(UNNOTICED));
    if is <= allowed {
        return None;
    }
    let (was, is, allowed, seconds) = (was.as_millis(), is.as_millis(), allowed.as_millis(), window.as_secs());
    let text = format!("95 % of the answers of the last {seconds} s took up to {is} ms; up to {allowed} ms may");
    let hint = format!("with the version before they took up to {was} ms");
    Some(Error::new(ErrorKind::Unhealthy, text).with_code("too_slow").with_hint(hint))
}

/// The requests of a thousand that failed.
fn permille(traffic: &Traffic) -> u64 {
    (traffic.failed.saturating_mul(1000)).checked_div(traffic.requests).unwrap_or(0)
}

fn percent(permille: u64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn traffic(requests: u64, failed: u64, p95: u64) -> Traffic {
        Traffic { requests, failed, p95: Some(Duration::from_millis(p95)) }
    }

    /// The code of what is wrong; none if nothing is.
    fn code(before: Option<Traffic>, now: Traffic) -> String {
        complaint(Limits::from(&BakePolicy::default()), before.as_ref(), &now, MINUTE)
            .map_or_else(String::new, |error| error.code().to_owned())
    }

    #[test]
    fn few_requests_say_nothing() {
        assert_eq!(code(None, traffic(49, 49, 10_000)), "");
        assert_eq!(code(None, traffic(50, 50, 10)), "too_many_errors");
        assert_eq!(code(Some(traffic(10, 0, 1)), traffic(100, 0, 10_000)), "", "of the version before, neither");
    }

    #[test]
    fn errors_count_above_five_percent_and_three_times_what_it_was() {
        assert_eq!(code(None, traffic(1000, 50, 10)), "");
        assert_eq!(code(None, traffic(1000, 51, 10)), "too_many_errors");
        let shaky = Some(traffic(1000, 100, 10));
        assert_eq!(code(shaky, traffic(1000, 300, 10)), "", "what both need may be away");
        assert_eq!(code(shaky, traffic(1000, 301, 10)), "too_many_errors");
    }

    #[test]
    fn slow_is_what_takes_three_times_as_long_and_is_noticed() {
        let before = Some(traffic(1000, 0, 100));
        assert_eq!(code(before, traffic(1000, 0, 300)), "");
        assert_eq!(code(before, traffic(1000, 0, 301)), "too_slow");
        let quick = Some(traffic(1000, 0, 2));
        assert_eq!(code(quick, traffic(1000, 0, 52)), "", "nobody notices that");
        assert_eq!(code(quick, traffic(1000, 0, 53)), "too_slow");
        assert_eq!(code(None, traffic(1000, 0, 60_000)), "", "slow compared with what?");
    }

    #[test]
    fn the_figures_are_told() {
        let (before, now) = (traffic(900, 9, 10), traffic(180, 12, 10));
        let error = complaint(Limits::from(&BakePolicy::default()), Some(&before), &now, MINUTE).unwrap();
        assert_eq!(error.message(), "12 of 180 requests failed in the last 60 s (6.6 %); 5.0 % may");
        assert_eq!(error.hint(), Some("1.0 % did with the version before"));
    }
}
