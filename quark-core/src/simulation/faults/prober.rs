//! A prober whose questions get lost.

use std::sync::Arc;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::{Fault, Op};
use crate::backend::{ProbeFailure, ProbeTarget, Prober};
use crate::simulation::change::Change;
use crate::simulation::executor::yield_now;

/// A prober whose questions get lost.
#[derive(Debug)]
pub(crate) struct FaultyProber {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn Prober>,
}

#[async_trait]
impl Prober for FaultyProber {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        let verdict = self.gate.begin(Op::ProberProbe);
        self.gate.travel(verdict.lag.min(target.check.timeout)).await;
        match verdict.fault {
            None => {}
            Some(Fault::Slow) if verdict.delay < target.check.timeout => self.gate.sim.sleep(verdict.delay).await,
            Some(Fault::Slow) => {
                self.gate.sim.sleep(target.check.timeout).await;
                return Err(ProbeFailure::TimedOut);
            }
            Some(_) => return Err(ProbeFailure::Refused),
        }
        let endpoint = target.endpoint.clone();
        let answer = self.inner.probe(target).await;
        if answer.is_ok() {
            self.gate.sim.change(self.gate.process, &Change::FoundWell(&endpoint));
        }
        yield_now().await;
        answer
    }
}
