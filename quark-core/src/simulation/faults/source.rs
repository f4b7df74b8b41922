//! A fetcher whose host fails it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::{Fault, Op};
use super::workspace::SimWorkspace;
use crate::Result;
use crate::app::{BranchName, CommitSha, RepositoryUrl};
use crate::backend::{Call, LogSink, SourceFetcher};
use crate::deployment::LogStream;
use crate::simulation::change::Change;
use crate::simulation::executor::yield_now;

/// A fetcher whose host fails it.
#[derive(Debug)]
pub(crate) struct FaultySource {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn SourceFetcher>,
    pub(crate) disk: SimWorkspace,
}

#[async_trait]
impl SourceFetcher for FaultySource {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        let verdict = self.gate.begin(Op::SourceResolve);
        self.gate.travel(verdict.lag).await;
        match verdict.fault {
            None => {}
            Some(Fault::Slow) => self.gate.wait(Op::SourceResolve, Some(call), verdict.delay).await?,
            Some(fault) => return Err(self.gate.failure(Op::SourceResolve, fault, verdict)),
        }
        self.inner.resolve(call, repository, branch).await
    }

    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        let op = Op::SourceFetch;
        self.gate.sim.change(self.gate.process, &Change::Asked { op, call, container: None, route: None });
        let verdict = self.gate.begin(op);
        self.gate.travel(verdict.lag).await;
        match verdict.fault {
            None | Some(Fault::ReplyLost) => {}
            Some(Fault::Slow) => self.gate.wait(op, Some(call), verdict.delay).await?,
            Some(Fault::Partial) => {
                // Half of it is there.
                self.disk.check_out(into);
                log.write(LogStream::Stderr, "Receiving objects:  43% (12");
                return Err(self.gate.failure(op, Fault::Partial, verdict));
            }
            Some(fault) => return Err(self.gate.failure(op, fault, verdict)),
        }
        self.inner.fetch(call, repository, commit, into, log).await?;
        self.disk.check_out(into);
        yield_now().await;
        match verdict.fault {
            Some(Fault::ReplyLost) => Err(self.gate.failure(op, Fault::ReplyLost, verdict)),
            _ => Ok(()),
        }
    }
}
