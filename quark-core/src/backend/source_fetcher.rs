//! `SourceFetcher`: brings source code to this machine.

use std::path::Path;

use async_trait::async_trait;

use super::call::Call;
use super::log_sink::LogSink;
use crate::Result;
use crate::app::{BranchName, CommitSha, RepositoryUrl};

/// Brings source code to this machine.
///
/// # Contract
///
/// - `fetch` yields exactly the tree of the commit, whatever the branch points at by then.
/// - What lies at the destination is replaced.
/// - No program of the repository runs: no hooks, no filters, no remote helpers.
/// - No credentials appear in arguments, logs, errors or the checked-out tree.
#[async_trait]
pub trait SourceFetcher: std::fmt::Debug + Send + Sync + 'static {
    /// The commit that a branch points at now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) with code `repository_not_found` or
    /// `branch_not_found`, [`ErrorKind::PermissionDenied`](crate::ErrorKind::PermissionDenied),
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha>;

    /// Puts the tree of a commit into the folder `into`.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve), with `commit_not_found`.
    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()>;
}
