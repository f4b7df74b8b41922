//! What engines have counted.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::backend::{Metric, MetricsSink};
use crate::simulation::executor::lock;
use crate::simulation::ledger::Ledger;

/// What all engines of a world have counted, by the kind of deployment and
/// what became of it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counted: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

const CREATED: &str = "created";

impl MetricsSink for Counts {
    fn record(&self, metric: Metric) {
        let what = match metric {
            Metric::DeploymentCreated { kind } => (kind, CREATED),
            Metric::DeploymentCompleted { kind, conclusion, .. } => (kind, conclusion.as_str()),
            _ => return,
        };
        *lock(&self.counted).entry(what).or_default() += 1;
    }
}

impl Counts {
    /// Whether what was counted is what happened. An engine that dies between
    /// a write and its count, or gets no answer, has counted less; none counts
    /// anything twice. `all` says that nothing went wrong.
    pub(crate) fn agree(&self, ledger: &Ledger, all: bool) -> Result<(), String> {
        let mut happened: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        for entry in ledger.deployments() {
            *happened.entry((entry.kind.as_str(), CREATED)).or_default() += 1;
            if let Some(conclusion) = entry.conclusion {
                *happened.entry((entry.kind.as_str(), conclusion.as_str())).or_default() += 1;
            }
        }
        let counted = lock(&self.counted).clone();
        let names = happened.keys().chain(counted.keys());
        for name in names {
            let [is, told] = [&happened, &counted].map(|counts| counts.get(name).copied().unwrap_or(0));
            if told > is || (all && told < is) {
                let (kind, what) = name;
                return Err(format!("{told} of kind {kind} were counted as {what}, and {is} are"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{Profile, Simulation};

    #[test]
    fn what_is_counted_twice_or_not_at_all_is_seen() {
        let counts = Counts::default();
        assert_eq!(counts.agree(&Ledger::default(), true), Ok(()));
        counts.record(Metric::DeploymentCreated { kind: "deploy" });
        let told = counts.agree(&Ledger::default(), false).unwrap_err();
        assert_eq!(told, "1 of kind deploy were counted as created, and 0 are");
    }

    /// Without faults nothing may be missing, however much people want.
    #[test]
    fn a_calm_run_counts_everything() {
        let mut ended = 0;
        for seed in 0..20 {
            let report = Simulation::new(seed).with_profile(Profile::calm()).run();
            assert!(report.violation().is_none(), "{report}");
            ended += report.tally().succeeded + report.tally().superseded;
        }
        assert!(ended > 20, "{ended}");
    }
}
