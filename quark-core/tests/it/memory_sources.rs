//! The memory builder and the memory source as the conformance suites want to
//! have them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use quark_core::backend::{ImageBuilder, SourceFetcher};
use quark_core::conformance::CaseResult;
use quark_core::conformance::image_builder::{BuilderFixture, Sample, SourceKind};
use quark_core::conformance::source_fetcher::FetcherFixture;
use quark_core::memory::{Behaviour, MemoryBuilder, MemoryRuntime, MemorySource, Tree};
use quark_core::{Artifact, BranchName, CommitSha, DeploymentId, RelativePath, RepositoryUrl};

/// A temporary folder with folders in it.
pub(crate) struct Folder {
    root: PathBuf,
    given: AtomicU32,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let root = std::env::temp_dir().join(format!("quark-test-{}", DeploymentId::generate()));
        Self { root, given: AtomicU32::new(0) }
    }

    /// A path that nothing lies at.
    pub(crate) fn next(&self) -> PathBuf {
        std::fs::create_dir_all(&self.root).unwrap();
        self.root.join(self.given.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is not there if no path was asked for.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

pub(crate) struct MemoryBuilderFixture {
    pub(crate) builder: MemoryBuilder,
    made: AtomicU32,
    folder: Folder,
    /// What broken builders put into artifacts, and leave lying about.
    pub(crate) contents: Arc<Mutex<HashMap<String, String>>>,
    pub(crate) leftovers: Arc<Mutex<Vec<String>>>,
}

impl Default for MemoryBuilderFixture {
    fn default() -> Self {
        Self {
            builder: MemoryBuilder::new(&MemoryRuntime::new()),
            made: AtomicU32::new(0),
            folder: Folder::new(),
            contents: Arc::default(),
            leftovers: Arc::default(),
        }
    }
}

#[async_trait]
impl BuilderFixture for MemoryBuilderFixture {
    fn builder(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(self.builder.clone())
    }

    async fn another(&self) -> Arc<dyn ImageBuilder> {
        Arc::new(self.builder.clone())
    }

    async fn sample(&self, kind: SourceKind) -> CaseResult<Option<Sample>> {
        let commit = CommitSha::parse(format!("{:040x}", self.made.fetch_add(1, Ordering::Relaxed))).unwrap();
        let source = self.folder.next();
        std::fs::create_dir(&source).unwrap();
        match kind {
            SourceKind::Builds => self.builder.define(&commit, Behaviour::healthy()),
            SourceKind::Fails => self.builder.fail(&commit, "it does not compile"),
            SourceKind::NeverEnds => self.builder.hold(&commit),
            SourceKind::LinksOutside { text } => {
                let outside = self.folder.next();
                std::fs::write(&outside, text).unwrap();
                std::os::unix::fs::symlink(outside, source.join("leak")).unwrap();
            }
            _ => return Ok(None),
        }
        Ok(Some(Sample { commit, source, dockerfile: RelativePath::dockerfile() }))
    }

    async fn holds(&self, artifact: &Artifact, text: &str) -> CaseResult<bool> {
        Ok(self.contents.lock().unwrap().get(&artifact.id).is_some_and(|content| content.contains(text)))
    }

    async fn leftovers(&self) -> CaseResult<Vec<String>> {
        Ok(self.leftovers.lock().unwrap().clone())
    }
}

pub(crate) struct MemorySourceFixture {
    pub(crate) source: MemorySource,
    pub(crate) folder: Folder,
    /// What the programs of a hostile repository make.
    pub(crate) mark: Arc<Mutex<Option<PathBuf>>>,
}

impl Default for MemorySourceFixture {
    fn default() -> Self {
        Self { source: MemorySource::new(), folder: Folder::new(), mark: Arc::default() }
    }
}

#[async_trait]
impl FetcherFixture for MemorySourceFixture {
    fn fetcher(&self) -> Arc<dyn SourceFetcher> {
        Arc::new(self.source.clone())
    }

    fn repository(&self) -> RepositoryUrl {
        RepositoryUrl::parse("https://git.test/acme/shop").unwrap()
    }

    fn unknown_repository(&self) -> RepositoryUrl {
        RepositoryUrl::parse("https://git.test/acme/none").unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.next()
    }

    async fn push(&self, branch: &BranchName, tree: &Tree) -> CaseResult<CommitSha> {
        self.source.push(&self.repository(), branch, tree.clone()).map_err(|error| error.report())
    }

    async fn push_hostile(&self, branch: &BranchName, mark: &Path) -> CaseResult<Option<CommitSha>> {
        *self.mark.lock().unwrap() = Some(mark.to_owned());
        let program = RelativePath::parse("hooks/post-checkout").unwrap();
        self.push(branch, &Tree::from([(program, b"#!/bin/sh".to_vec())])).await.map(Some)
    }
}
