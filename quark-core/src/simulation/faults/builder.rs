//! A builder whose machine fails it.

use std::sync::Arc;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::{Fault, Op};
use crate::Result;
use crate::app::Artifact;
use crate::backend::{BuildKey, BuildRequest, Call, ImageBuilder, LogSink};
use crate::deployment::LogStream;
use crate::simulation::change::Change;
use crate::simulation::executor::yield_now;

/// A builder whose machine fails it.
#[derive(Debug)]
pub(crate) struct FaultyBuilder {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn ImageBuilder>,
}

#[async_trait]
impl ImageBuilder for FaultyBuilder {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        self.gate.read(Op::BuilderFind, self.inner.find(key)).await
    }

    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        let op = Op::BuilderBuild;
        self.gate.sim.change(self.gate.process, &Change::Asked { op, call, container: None, route: None });
        let verdict = self.gate.begin(op);
        self.gate.travel(verdict.lag).await;
        match verdict.fault {
            None | Some(Fault::ReplyLost) => {}
            Some(Fault::Slow) => {
                log.write(LogStream::Stdout, "Step 1/7 : this takes a while");
                self.gate.wait(op, Some(call), verdict.delay).await?;
            }
            Some(Fault::Partial) => {
                log.write(LogStream::Stdout, "Step 3/7 : RUN mak");
                return Err(self.gate.failure(op, Fault::Partial, verdict));
            }
            Some(fault) => return Err(self.gate.failure(op, fault, verdict)),
        }
        let built = self.inner.build(call, request, log).await?;
        yield_now().await;
        match verdict.fault {
            Some(Fault::ReplyLost) => Err(self.gate.failure(op, Fault::ReplyLost, verdict)),
            _ => Ok(built),
        }
    }

    async fn discard(&self, key: &BuildKey) -> Result<()> {
        let op = Op::BuilderDiscard;
        let verdict = self.gate.begin(op);
        self.gate.travel(verdict.lag).await;
        if let Some(fault) = verdict.fault {
            return Err(self.gate.failure(op, fault, verdict));
        }
        self.inner.discard(key).await
    }
}
