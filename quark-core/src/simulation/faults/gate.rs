//! `Gate`: what every call of an engine goes through.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::op::{Fault, Op};
use super::plan::Verdict;
use crate::backend::Call;
use crate::simulation::clock::SimClock;
use crate::simulation::executor::{ProcessId, yield_now};
use crate::simulation::sim::Sim;
use crate::{Error, ErrorClass, ErrorKind, Result};

/// How long a caller that names no time waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every call of a process goes through.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) sim: Arc<Sim>,
    pub(crate) process: ProcessId,
    /// The world's time, for effects whose caller is gone.
    pub(crate) clock: SimClock,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Gate {
    /// A question. Others may act before it is asked and after it is answered.
    pub(crate) async fn read<T>(&self, op: Op, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let verdict = self.begin(op);
        self.travel(verdict.lag).await;
        match verdict.fault {
            Some(Fault::Slow) => self.dawdle(verdict.delay).await,
            None => {}
            Some(fault) => return Err(self.failure(op, fault, verdict)),
        }
        let answer = work.await;
        yield_now().await;
        answer
    }

    /// An effect whose caller names no time. `make` yields the effect, as often as it is wanted.
    pub(crate) async fn effect<T: Send + 'static>(
        &self,
        op: Op,
        make: impl Fn() -> BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.run(op, None, |_| make()).await
    }

    /// An effect in the circumstances of `call`.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        op: Op,
        call: &Call,
        make: impl Fn(Call) -> BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.run(op, Some(call), |detached| {
            make(if detached {
                // Nobody can take back what was sent.
                let clock = Arc::new(self.clock.clone());
                Call::new(call.key.clone(), call.fence, call.timeout).with_clock(clock)
            } else {
                call.clone()
            })
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        op: Op,
        call: Option<&Call>,
        make: impl Fn(bool) -> BoxFuture<'static, Result<T>> + Send + Sync,
    ) -> Result<T> {
        let verdict = self.begin(op);
        self.travel(verdict.lag).await;
        let outcome = match verdict.fault {
            None => make(false).await,
            Some(Fault::Slow) => match self.wait(op, call, verdict.delay).await {
                Ok(()) => make(false).await,
                Err(error) => Err(error),
            },
            Some(Fault::ReplyLost) => match make(false).await {
                Ok(_) => Err(self.failure(op, Fault::ReplyLost, verdict)),
                Err(error) => Err(error),
            },
            Some(Fault::Late) => {
                self.detach(op, verdict.delay, make(true));
                let waited = self.wait(op, call, call.map_or(PATIENCE, |call| call.timeout)).await;
                waited.and(Err(self.failure(op, Fault::Late, verdict)))
            }
            Some(Fault::Twice) => {
                let first = make(false).await;
                self.detach(op, verdict.delay, make(true));
                first
            }
            Some(fault) => Err(self.failure(op, fault, verdict)),
        };
        yield_now().await;
        outcome
    }

    /// Decides what becomes of a call, and writes down what is unusual.
    pub(crate) fn begin(&self, op: Op) -> Verdict {
        let now = self.sim.executor.now();
        let verdict = self.sim.with(|state| state.faults.decide(op, now));
        self.sim.remark(self.process, format_args!("  {op}"));
        if let Some(fault) = verdict.fault {
            let away = if verdict.away { " (away)" } else { "" };
            self.sim.tell(self.process, format_args!("{op} meets {fault}{away}"));
        }
        verdict
    }

    /// Lets others go first, and time pass if the way is long.
    pub(crate) async fn travel(&self, lag: Duration) {
        if lag.is_zero() {
            yield_now().await;
        } else {
            self.sim.sleep(lag).await;
        }
    }

    /// Takes long, but no longer than a caller who names no time waits.
    pub(crate) async fn dawdle(&self, delay: Duration) {
        self.sim.sleep(delay.min(PATIENCE)).await;
    }

    /// Waits as long as the caller does.
    pub(crate) async fn wait(&self, op: Op, call: Option<&Call>, delay: Duration) -> Result<()> {
        match call {
            Some(call) => {
                let sleep = async {
                    self.sim.sleep(delay).await;
                    Ok(())
                };
                call.bound(op.as_str(), sleep).await
            }
            None => {
                self.sim.sleep(delay.min(PATIENCE)).await;
                Ok(())
            }
        }
    }

    /// Does something later, whatever becomes of the process that wanted it.
    fn detach<T: Send + 'static>(&self, op: Op, delay: Duration, effect: BoxFuture<'static, Result<T>>) {
        let (sim, process) = (Arc::clone(&self.sim), self.process);
        let underway = Underway::begin(&sim);
        let restores = sim.with(|state| state.restores);
        let task = async move {
            sim.sleep(delay).await;
            if matches!(op.backend(), super::Backend::Store) && sim.with(|state| state.restores) != restores {
                // Nothing gets through from before: who restores a database closes it first.
                drop(underway);
                return sim.tell(process, format_args!("{op} is cut off"));
            }
            let done = effect.await;
            drop(underway);
            match done {
                Ok(_) => sim.tell(process, format_args!("{op} done late or again")),
                Err(error) => sim.tell(process, format_args!("{op} late or again: {}", error.code())),
            }
        };
        self.sim.executor.spawn(ProcessId::WORLD, Box::pin(task));
    }

    /// What the caller of a call that met this fault is told.
    pub(crate) fn failure(&self, op: Op, fault: Fault, verdict: Verdict) -> Error {
        let error = match fault {
            Fault::Late | Fault::Slow => Error::new(ErrorKind::Timeout, "no answer came in time"),
            Fault::ReplyLost => Error::new(ErrorKind::Unavailable, "the connection was cut before the answer came")
                .with_class(ErrorClass::Unknown),
            // A store that cannot write now can later; a build cannot be made smaller.
            Fault::NoSpace if matches!(op.backend(), super::Backend::Store) => {
                Error::new(ErrorKind::Unavailable, "the disk is full")
            }
            Fault::NoSpace => {
                Error::new(ErrorKind::ResourceExhausted, "no space is left on the disk").with_code("no_space")
            }
            Fault::Ignored => Error::new(ErrorKind::Internal, "it was not done").with_code(Fault::Ignored.as_str()),
            _ if verdict.away => Error::new(ErrorKind::Unavailable, "nothing answers"),
            _ => Error::new(ErrorKind::Unavailable, "the connection was refused"),
        };
        error.with_operation(op.as_str())
    }
}

/// Counts what is still on its way, until it is dropped.
struct Underway(Arc<Sim>);

impl Underway {
    fn begin(sim: &Arc<Sim>) -> Self {
        sim.with(|state| state.underway += 1);
        Self(Arc::clone(sim))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.with(|state| state.underway = state.underway.saturating_sub(1));
    }
}
