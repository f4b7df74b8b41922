//! What a source fetcher must come with to be tested.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::{BranchName, CommitSha, RepositoryUrl};
use crate::backend::SourceFetcher;
use crate::conformance::CaseResult;
use crate::memory::Tree;

/// A source fetcher under test, and a repository to fetch from.
#[async_trait]
pub trait FetcherFixture: Send + Sync {
    /// The fetcher. The same object each time.
    fn fetcher(&self) -> Arc<dyn SourceFetcher>;

    /// A repository, the same each time, empty at first.
    fn repository(&self) -> RepositoryUrl;

    /// A repository that is not there.
    fn unknown_repository(&self) -> RepositoryUrl;

    /// A folder of its own for what is fetched, which the fixture removes in
    /// the end.
    fn folder(&self) -> PathBuf;

    /// Makes a commit of exactly these files on top of a branch, which may be new.
    ///
    /// # Errors
    ///
    /// Why it could not be made.
    async fn push(&self, branch: &BranchName, tree: &Tree) -> CaseResult<CommitSha>;

    /// Makes a commit on a new branch whose repository has everything in it
    /// that may run a program: hooks, filters, a remote helper in a submodule.
    /// Each program makes the file `mark` if it is run. `None` if this kind of
    /// source knows no programs.
    ///
    /// # Errors
    ///
    /// Why it could not be made.
    async fn push_hostile(&self, branch: &BranchName, mark: &Path) -> CaseResult<Option<CommitSha>>;
}
