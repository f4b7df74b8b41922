//! Fetching sources with the `git` program.
//!
//! What a repository says is data: git runs with an empty environment and a
//! configuration written here, so that no hook, filter, helper or submodule of
//! a repository, and no setting of the machine, takes part.

mod failure;
mod limit;
mod run;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tokio::fs;

use self::limit::PackWatch;
use self::run::{Git, end_leftovers};
use crate::app::{BranchName, CommitSha, RepositoryUrl};
use crate::backend::{Call, LogSink, NoLog, SourceFetcher};
use crate::{Error, ErrorKind, Result};

/// The variable that marks the processes of a fetch; its value is the call's key.
pub const FETCH_MARK: &str = "QUARK_FETCH";

/// How far back branches are searched for a commit on servers that do not hand
/// out a commit by its id.
const SEARCHED_DEPTH: u32 = 500;

/// A [`SourceFetcher`] that runs the `git` program.
///
/// Needs git 2.36 or newer and, for `ssh://` and `git@…`, the `ssh` program
/// with a key that asks for no password. Repositories on this machine are
/// fetched too: whether an app may name one is for the engine to decide.
///
/// ```
/// use quark_core::git::GitFetcher;
///
/// let fetcher = GitFetcher::new().with_max_bytes(200 << 20).with_max_files(20_000);
/// ```
#[derive(Clone, Debug)]
pub struct GitFetcher {
    program: PathBuf,
    max_bytes: u64,
    max_files: u64,
}

impl Default for GitFetcher {
    fn default() -> Self {
        Self::new()
    }
}

impl GitFetcher {
    /// Runs `git` as found by `PATH`; a tree may hold 2 GiB in 200,000 files.
    #[must_use]
    pub fn new() -> Self {
        Self { program: PathBuf::from("git"), max_bytes: 2 << 30, max_files: 200_000 }
    }

    /// Sets which git to run.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Sets how many bytes a tree may hold, and a transfer may take.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many files a tree may hold.
    #[must_use]
    pub fn with_max_files(mut self, files: u64) -> Self {
        self.max_files = files;
        self
    }

    /// Downloads the commit, and as little else as the server allows.
    async fn download(
        &self,
        git: &Git,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        let url = address(repository);
        let packs = into.join(".git/objects/pack");
        let fetch = |depth: u32, wanted: &str| {
            git.command(into)
                .args(["fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force"])
                .arg(format!("--depth={depth}"))
                .args(["--", &url, wanted])
        };
        let watch = PackWatch { packs: &packs, max_bytes: self.max_bytes };

        let done = watch.run(&fetch(1, commit.as_str()), git, log).await?;
        if done.succeeded() {
            return Ok(());
        }
        if !failure::needs_search(&done) {
            return Err(failure::of_fetch(&done, repository, commit));
        }
        let heads = "refs/heads/*:refs/remotes/origin/*";
        let done = watch.run(&fetch(SEARCHED_DEPTH, heads), git, log).await?;
        if !done.succeeded() {
            return Err(failure::of_fetch(&done, repository, commit));
        }
        let object = format!("{commit}^{{commit}}");
        let found = git.run(&git.command(into).args(["cat-file", "-e", &object]), &NoLog).await?;
        if found.succeeded() {
            return Ok(());
        }
        Err(failure::commit_not_found(repository, commit)
            .with_hint(format!("this server only hands out branches, and none has it in its last {SEARCHED_DEPTH}")))
    }

    async fn check_out(&self, git: &Git, commit: &CommitSha, into: &Path, log: &dyn LogSink) -> Result<()> {
        limit::check_tree(git, commit, into, self.max_bytes, self.max_files).await?;
        let checkout = git.command(into).args(["checkout", "--quiet", "--force", "--detach", commit.as_str()]);
        let done = git.run(&checkout, log).await?;
        if !done.succeeded() {
            return Err(failure::of_checkout(&done, commit));
        }
        let head = git.run(&git.command(into).args(["rev-parse", "--verify", "HEAD"]), &NoLog).await?;
        if head.stdout.trim() != commit.as_str() {
            return Err(Error::new(ErrorKind::NotFound, format!("`{commit}` is not the id of a commit"))
                .with_code("commit_not_found")
                .with_hint("give the id of a commit, not of a tag or a tree"));
        }
        fs::remove_dir_all(into.join(".git")).await.map_err(|error| failure::of_disk(into, error))
    }
}

#[async_trait]
impl SourceFetcher for GitFetcher {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        let git = Git::prepare(&self.program, call, repository)?;
        let reference = format!("refs/heads/{branch}");
        let list = git.program().args(["ls-remote", "--exit-code", "--", &address(repository), &reference]);
        let done = git.run(&list, &NoLog).await?;
        // git takes the name for a pattern that may match in the middle.
        let exact =
            |line: &str| line.split_once('\t').filter(|(_, name)| *name == reference).map(|(sha, _)| sha.to_owned());
        match (done.code, done.stdout.lines().find_map(exact)) {
            (Some(0), Some(sha)) => CommitSha::parse(sha),
            (Some(0 | 2), _) => Err(failure::branch_not_found(repository, branch)),
            _ => Err(failure::of_remote(&done, repository)),
        }
        .map_err(|error| error.with_operation("source.resolve"))
    }

    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        let into = &std::path::absolute(into).map_err(|error| failure::of_disk(into, error))?;
        let work = async {
            // An engine that died may have left a git that still writes here.
            end_leftovers(call).await?;
            clear(into).await?;
            let git = Git::prepare(&self.program, call, repository)?;
            git.init(into, commit).await?;
            self.download(&git, repository, commit, into, log).await?;
            self.check_out(&git, commit, into, log).await
        };
        let done = work.await;
        if done.is_err() {
            // Half a tree must not be taken for a whole one; the first error
            // says more than one about the clearing.
            let _ = clear(into).await;
        }
        done.map_err(|error| error.with_operation("source.fetch"))
    }
}

/// The repository as git's command line wants it.
fn address(repository: &RepositoryUrl) -> String {
    match repository.as_local_path() {
        // git decodes percent signs, and a path has none that are meant so.
        Some(_) => repository.as_str().replace('%', "%25"),
        None => repository.as_str().to_owned(),
    }
}

/// Removes what is at `path`, without following a link.
async fn clear(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path).await {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).await,
        Ok(_) => fs::remove_file(path).await,
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failure::of_disk(path, error)),
        _ => Ok(()),
    }
}
