//! The one place where an engine changes the store: a draft, in one transaction.

use super::draft::Draft;
use super::shared::Shared;
use crate::backend::{Commit, Lease, Metric};
use crate::deployment::{Deployment, EventKind, State, Version};
use crate::error::{ErrorClass, ErrorKind};
use crate::{Error, Result};

/// Whether a commit ends its deployment, and gives the lease back with that.
/// What is written after the end, a retirement for instance, may be written by
/// any engine: that somebody wrote it does not say that it was this commit.
fn ends(commit: &Commit) -> bool {
    commit.hand_back.is_some() && commit.events.iter().any(|event| matches!(event, EventKind::Completed { .. }))
}

impl Shared {
    /// Writes a draft under a lease, and tells those who wait for a change.
    pub(super) async fn write(&self, draft: &mut Draft, lease: &Lease) -> Result<()> {
        let at = self.now();
        let commit = draft.commit(lease, at);
        let deployment = &commit.deployment;
        let completed = commit.events.iter().any(|event| matches!(event, EventKind::Completed { .. }));
        let metric = deployment.conclusion.filter(|_| completed).map(|conclusion| Metric::DeploymentCompleted {
            kind: deployment.kind.as_str(),
            conclusion,
            took: at.since(deployment.created_at),
        });
        let (id, state, jobs) = (deployment.id, deployment.state, commit.jobs.clone());
        let version = self.commit(commit).await?;
        draft.written(lease, version);
        if !self.store.queues_jobs() {
            for job in jobs {
                self.enqueue(job).await;
            }
        }
        if let Some(metric) = metric {
            self.metrics.record(metric);
        }
        self.announce();
        if state.is_terminal() || state == State::Stuck {
            self.settle(id);
        }
        Ok(())
    }

    /// Commits; where the answer was lost, looks whether it happened.
    async fn commit(&self, commit: Commit) -> Result<Version> {
        let (id, lease, before) = (commit.deployment.id, commit.guard.lease.clone(), commit.guard.version);
        let last = ends(&commit).then(|| commit.deployment.clone());
        let unknown = match self.store.commit(commit).await {
            Err(error) if error.class() == ErrorClass::Unknown => error,
            // It may have happened at an earlier try, whose answer was lost: then
            // the lease went back with it, and somebody else may write by now.
            Err(error) if error.kind() == ErrorKind::Fenced => {
                return match last {
                    Some(last) => self.if_it_ended_so(last, before, error).await,
                    None => Err(error),
                };
            }
            known => return known,
        };
        if let Some(last) = last {
            let unknown = unknown.with_class(ErrorClass::Retryable);
            return self.if_it_ended_so(last, before, unknown).await;
        }
        match self.store.deployment(id).await? {
            // Nobody else writes under this fence, so the next version is ours.
            Some(now) if now.version == before.next() && now.fence == lease.fence => Ok(now.version),
            Some(now) if now.version == before => Err(unknown.with_class(ErrorClass::Retryable)),
            _ => Err(unknown),
        }
    }

    /// Counts a deployment's last commit as done if the deployment has ended as
    /// that says: nobody else ends it at the same moment.
    async fn if_it_ended_so(&self, last: Deployment, before: Version, error: Error) -> Result<Version> {
        let end = |it: &Deployment| (it.state, it.conclusion, it.finished_at);
        match self.store.deployment(last.id).await? {
            Some(now) if now.state.is_terminal() && now.version > before && end(&now) == end(&last) => Ok(now.version),
            _ => Err(error),
        }
    }

    /// What it means that a backend refused a fence. If the lease is lost, it is
    /// as it should be. If it is not, the world has seen a later fence than the
    /// store has given: the store went back in time.
    pub(super) async fn doubt_if_held(&self, lease: &Lease, error: &Error) -> Error {
        if self.store.renew_lease(lease, self.config.lease).await.is_ok() {
            let what = format!("{} although the store says that this engine has the right to", error.message());
            self.enter_safe_mode(&what);
        }
        Error::new(ErrorKind::Fenced, error.message().to_owned())
    }
}
