//! `MemorySource`: repositories that are records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::app::{BranchName, CommitSha, RelativePath, RepositoryUrl};
use crate::backend::{Call, LogSink, SourceFetcher};
use crate::deployment::LogStream;
use crate::{Error, ErrorKind, Result};

/// The files of a commit.
pub type Tree = BTreeMap<RelativePath, Vec<u8>>;

/// Repositories that are records. Clones share them.
#[derive(Clone, Default)]
pub struct MemorySource {
    repositories: Arc<Mutex<HashMap<RepositoryUrl, Repository>>>,
    without_files: bool,
}

#[derive(Default)]
struct Repository {
    branches: BTreeMap<BranchName, CommitSha>,
    commits: HashMap<CommitSha, Tree>,
    refuses: bool,
    unavailable: BTreeSet<&'static str>,
}

impl MemorySource {
    /// No repositories.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No repositories; a fetch writes no files, for builders that read none.
    #[must_use]
    pub fn without_files() -> Self {
        Self { without_files: true, ..Self::default() }
    }

    /// Makes a commit of these files and points the branch at it.
    ///
    /// # Errors
    ///
    /// None that can happen: a hash is always a commit id.
    pub fn push(&self, repository: &RepositoryUrl, branch: &BranchName, tree: Tree) -> Result<CommitSha> {
        let mut repositories = self.repositories();
        let repository = repositories.entry(repository.clone()).or_default();
        let mut hash = Sha256::new();
        hash.update(repository.commits.len().to_be_bytes());
        hash.update(branch.as_str());
        for (path, content) in &tree {
            hash.update(path.as_str());
            hash.update([0]);
            hash.update(content);
        }
        let digits = hex::encode(hash.finalize());
        let commit = CommitSha::parse(digits.get(..40).unwrap_or_default())?;
        repository.branches.insert(branch.clone(), commit.clone());
        repository.commits.insert(commit.clone(), tree);
        Ok(commit)
    }

    /// Points a branch at a commit, which has no files if it is new.
    pub fn set_branch(&self, repository: &RepositoryUrl, branch: &BranchName, commit: &CommitSha) {
        let mut repositories = self.repositories();
        let repository = repositories.entry(repository.clone()).or_default();
        repository.branches.insert(branch.clone(), commit.clone());
        repository.commits.entry(commit.clone()).or_default();
    }

    /// Takes a branch away.
    pub fn forget_branch(&self, repository: &RepositoryUrl, branch: &BranchName) {
        if let Some(repository) = self.repositories().get_mut(repository) {
            repository.branches.remove(branch);
        }
    }

    /// Takes a commit away, as a forced push and a clean-up do.
    pub fn forget_commit(&self, repository: &RepositoryUrl, commit: &CommitSha) {
        if let Some(repository) = self.repositories().get_mut(repository) {
            repository.commits.remove(commit);
        }
    }

    /// Takes a repository away.
    pub fn forget(&self, repository: &RepositoryUrl) {
        self.repositories().remove(repository);
    }

    /// Makes a repository refuse everybody.
    pub fn refuse(&self, repository: &RepositoryUrl) {
        self.repositories().entry(repository.clone()).or_default().refuses = true;
    }

    /// Makes the next `resolve` or `fetch` fail as if the host were away.
    pub fn interrupt_next(&self, repository: &RepositoryUrl, operation: &'static str) {
        self.repositories().entry(repository.clone()).or_default().unavailable.insert(operation);
    }

    fn repositories(&self) -> MutexGuard<'_, HashMap<RepositoryUrl, Repository>> {
        // A test that panicked while it held the lock has left whole records.
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        url: &RepositoryUrl,
        operation: &'static str,
        read: impl FnOnce(&Repository) -> Result<T>,
    ) -> Result<T> {
        let mut repositories = self.repositories();
        let repository = repositories.get_mut(url).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no repository `{url}`")).with_code("repository_not_found")
        })?;
        if repository.unavailable.remove(operation) {
            return Err(Error::new(ErrorKind::Unavailable, format!("the host of `{url}` does not answer")));
        }
        if repository.refuses {
            return Err(Error::new(ErrorKind::PermissionDenied, format!("`{url}` may not be read")));
        }
        read(repository)
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySource").field("repositories", &self.repositories().len()).finish()
    }
}

#[async_trait]
impl SourceFetcher for MemorySource {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        let work = async {
            self.read(repository, "resolve", |found| {
                found.branches.get(branch).cloned().ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("`{repository}` has no branch `{branch}`"))
                        .with_code("branch_not_found")
                })
            })
        };
        call.bound("source.resolve", work).await
    }

    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        let work = async {
            let tree = self.read(repository, "fetch", |found| {
                found.commits.get(commit).cloned().ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("`{repository}` has no commit `{commit}`"))
                        .with_code("commit_not_found")
                })
            })?;
            if self.without_files {
                return Ok(());
            }
            let into = into.to_owned();
            let written = tokio::task::spawn_blocking(move || write(&into, &tree)).await;
            let written = written.map_err(std::io::Error::other).flatten();
            written.map_err(|error| {
                Error::new(ErrorKind::Internal, "the source could not be written").with_source(error)
            })?;
            log.write(LogStream::System, &format!("fetched {}", commit.short()));
            Ok(())
        };
        call.bound("source.fetch", work).await
    }
}

/// Replaces what lies at `into` by the tree.
fn write(into: &Path, tree: &Tree) -> std::io::Result<()> {
    match std::fs::remove_dir_all(into) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(into)?,
    }
    for (path, content) in tree {
        let path = into.join(path.as_str());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, content)?;
    }
    Ok(())
}
