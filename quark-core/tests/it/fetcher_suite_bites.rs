//! Each case of the source fetcher suite finds the fault that it is there for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{Call, LogSink, SourceFetcher};
use quark_core::conformance::CaseResult;
use quark_core::conformance::source_fetcher::{FetcherFixture, cases};
use quark_core::memory::{MemorySource, Tree};
use quark_core::{BranchName, CommitSha, Error, ErrorKind, RepositoryUrl, Result};

use crate::memory_sources::MemorySourceFixture;

/// What is wrong with a fetcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    RemembersBranches,
    FindsBranchesByAPart,
    FetchesTheHead,
    ChangesLineEnds,
    LosesEmptyFiles,
    KeepsWhatLiesThere,
    TellsAnotherCode,
    TakesAnyCommit,
    RunsHooks,
}

#[allow(clippy::enum_glob_use, reason = "a table of names only")]
fn faults(case: &str) -> &'static [Fault] {
    use Fault::*;
    match case {
        "a_branch_is_resolved_to_its_head" => &[RemembersBranches],
        "fetch_yields_exactly_the_commit" => &[FetchesTheHead, ChangesLineEnds, LosesEmptyFiles],
        "fetch_replaces_what_lies_there" => &[KeepsWhatLiesThere],
        "unknown_repositories_and_branches_are_told" => &[TellsAnotherCode, FindsBranchesByAPart],
        "unknown_commits_are_told" => &[TellsAnotherCode, TakesAnyCommit],
        "no_program_of_the_repository_runs" => &[RunsHooks],
        _ => &[],
    }
}

#[tokio::test(start_paused = true)]
async fn each_case_finds_its_faults() {
    for case in cases() {
        let name = case.name();
        assert!(!faults(name).is_empty(), "no fault shows that `{name}` bites");
        assert_eq!(case.run(&MemorySourceFixture::default()).await, Ok(()), "{name}");
        for fault in faults(name) {
            let found = case.run(&BrokenFixture::new(*fault)).await;
            assert!(found.is_err(), "`{name}` does not find {fault:?}");
        }
    }
}

struct BrokenFixture {
    sound: MemorySourceFixture,
    fetcher: Arc<Broken>,
}

impl BrokenFixture {
    fn new(fault: Fault) -> Self {
        let sound = MemorySourceFixture::default();
        let (inner, mark) = (sound.source.clone(), Arc::clone(&sound.mark));
        let fetcher = Broken { inner, fault, head: Mutex::default(), first: Mutex::default(), mark };
        Self { sound, fetcher: Arc::new(fetcher) }
    }
}

#[async_trait]
impl FetcherFixture for BrokenFixture {
    fn fetcher(&self) -> Arc<dyn SourceFetcher> {
        Arc::clone(&self.fetcher) as Arc<dyn SourceFetcher>
    }

    fn repository(&self) -> RepositoryUrl {
        self.sound.repository()
    }

    fn unknown_repository(&self) -> RepositoryUrl {
        self.sound.unknown_repository()
    }

    fn folder(&self) -> PathBuf {
        self.sound.folder()
    }

    async fn push(&self, branch: &BranchName, tree: &Tree) -> CaseResult<CommitSha> {
        let commit = self.sound.push(branch, tree).await?;
        *self.fetcher.head.lock().unwrap() = Some(commit.clone());
        self.fetcher.first.lock().unwrap().get_or_insert(commit.clone());
        Ok(commit)
    }

    async fn push_hostile(&self, branch: &BranchName, mark: &Path) -> CaseResult<Option<CommitSha>> {
        self.sound.push_hostile(branch, mark).await
    }
}

/// A fetcher with one fault.
#[derive(Debug)]
struct Broken {
    inner: MemorySource,
    fault: Fault,
    head: Mutex<Option<CommitSha>>,
    first: Mutex<Option<CommitSha>>,
    mark: Arc<Mutex<Option<PathBuf>>>,
}

impl Broken {
    fn bend<T>(&self, done: Result<T>) -> Result<T> {
        match self.fault {
            Fault::TellsAnotherCode => done.map_err(|_| Error::new(ErrorKind::NotFound, "it is not there")),
            _ => done,
        }
    }
}

#[async_trait]
impl SourceFetcher for Broken {
    async fn resolve(&self, call: &Call, repository: &RepositoryUrl, branch: &BranchName) -> Result<CommitSha> {
        let first = self.first.lock().unwrap().clone();
        let done = self.inner.resolve(call, repository, branch).await;
        match (self.fault, first) {
            (Fault::RemembersBranches, Some(first)) => Ok(first),
            (Fault::FindsBranchesByAPart, Some(first)) if "main".contains(branch.as_str()) => Ok(first),
            _ => self.bend(done),
        }
    }

    async fn fetch(
        &self,
        call: &Call,
        repository: &RepositoryUrl,
        commit: &CommitSha,
        into: &Path,
        log: &dyn LogSink,
    ) -> Result<()> {
        let mut wanted = commit.clone();
        if matches!(self.fault, Fault::FetchesTheHead | Fault::TakesAnyCommit) {
            wanted = self.head.lock().unwrap().clone().unwrap_or(wanted);
        }
        let stale = into.join("stale");
        let before = std::fs::read(&stale).ok();
        let done = self.inner.fetch(call, repository, &wanted, into, log).await;
        match self.fault {
            Fault::ChangesLineEnds if into.join("a/b/c.txt").exists() => {
                std::fs::write(into.join("a/b/c.txt"), "deep\n").unwrap();
            }
            Fault::LosesEmptyFiles if into.join("empty").exists() => std::fs::remove_file(into.join("empty")).unwrap(),
            Fault::KeepsWhatLiesThere => std::fs::write(stale, before.unwrap_or_default()).unwrap(),
            Fault::RunsHooks => {
                if let Some(mark) = self.mark.lock().unwrap().as_ref() {
                    std::fs::write(mark, "it ran").unwrap();
                }
            }
            _ => {}
        }
        self.bend(done)
    }
}
