//! Answers that are older than the question.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use super::gate::Gate;
use super::op::{Fault, Op};
use crate::Result;
use crate::simulation::executor::{lock, yield_now};

/// How old an answer may be: as old as what lies in the caches of the world.
const OLDEST: Duration = Duration::from_secs(10);

/// The last answer to each question, for a fault that gives it once more.
#[derive(Debug)]
pub(crate) struct Answers<K, V> {
    last: Mutex<BTreeMap<K, (Duration, V)>>,
}

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self { last: Mutex::default() }
    }
}

impl<K: Ord + Clone + Sync, V: Clone + Send> Answers<K, V> {
    /// Asks a question through `gate`; the answer may be an older one, and it
    /// is said whether it is.
    pub(crate) async fn ask(
        &self,
        gate: &Gate,
        op: Op,
        question: &K,
        work: impl Future<Output = Result<V>> + Send,
    ) -> Result<(V, bool)> {
        let verdict = gate.begin(op);
        gate.travel(verdict.lag).await;
        match verdict.fault {
            None => {}
            Some(Fault::Slow) => gate.dawdle(verdict.delay).await,
            Some(Fault::Stale) => {
                let now = gate.sim.executor.now();
                let old = lock(&self.last).get(question).filter(|(at, _)| *at + OLDEST >= now).cloned();
                if let Some((_, old)) = old {
                    return Ok((old, true));
                }
            }
            Some(fault) => return Err(gate.failure(op, fault, verdict)),
        }
        let answer = work.await?;
        if gate.sim.with(|state| state.faults.may_be_stale()) {
            lock(&self.last).insert(question.clone(), (gate.sim.executor.now(), answer.clone()));
        }
        yield_now().await;
        Ok((answer, false))
    }
}
