//! The fetcher that runs `git` keeps the contract of `SourceFetcher`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use quark_core::backend::SourceFetcher;
use quark_core::conformance::CaseResult;
use quark_core::conformance::source_fetcher::FetcherFixture;
use quark_core::git::GitFetcher;
use quark_core::memory::Tree;
use quark_core::{BranchName, CommitSha, RelativePath, RepositoryUrl};

use crate::memory_sources::Folder;

quark_core::source_fetcher_conformance!(async { GitFixture::new() });

struct GitFixture {
    folder: Folder,
    origin: PathBuf,
}

impl GitFixture {
    fn new() -> Self {
        let folder = Folder::new();
        let origin = folder.next();
        std::fs::create_dir(&origin).unwrap();
        let fixture = Self { folder, origin };
        // The branch that is there before the first commit is none of the tests'.
        fixture.git(&["init", "--quiet", "--initial-branch=unborn"]).unwrap();
        fixture
    }

    fn git(&self, arguments: &[&str]) -> CaseResult<String> {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "core.hooksPath=/dev/null"])
            .args(["-c", "core.autocrlf=false"])
            .args(arguments)
            .current_dir(&self.origin)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .map_err(|error| format!("git: {error}"))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
        }
        Err(format!("git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr)))
    }
}

#[async_trait]
impl FetcherFixture for GitFixture {
    fn fetcher(&self) -> Arc<dyn SourceFetcher> {
        Arc::new(GitFetcher::new())
    }

    fn repository(&self) -> RepositoryUrl {
        RepositoryUrl::local(&self.origin).unwrap()
    }

    fn unknown_repository(&self) -> RepositoryUrl {
        RepositoryUrl::local(&self.origin.with_file_name("none")).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.next()
    }

    async fn push(&self, branch: &BranchName, tree: &Tree) -> CaseResult<CommitSha> {
        let known = self.git(&["rev-parse", "--verify", "--quiet", branch.as_str(), "--"]).is_ok();
        self.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")])?;
        if known {
            self.git(&["reset", "--quiet", "--hard"])?;
        }
        self.git(&["rm", "-r", "--quiet", "--force", "--ignore-unmatch", "."])?;
        for (path, content) in tree {
            let path = self.origin.join(path.as_str());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "--all", "--force"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "change"])?;
        CommitSha::parse(self.git(&["rev-parse", "HEAD"])?).map_err(|error| error.report())
    }

    async fn push_hostile(&self, branch: &BranchName, mark: &Path) -> CaseResult<Option<CommitSha>> {
        let evil = self.folder.next();
        std::fs::write(&evil, format!("#!/bin/sh\ntouch '{}'\ncat\n", mark.display())).unwrap();
        std::fs::set_permissions(&evil, std::fs::Permissions::from_mode(0o700)).unwrap();
        let submodule = format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::{}\n", evil.display());
        let files = [
            (".gitattributes", "data filter=evil diff=evil merge=evil\n"),
            (".gitmodules", submodule.as_str()),
            ("data", "as it was\n"),
        ];
        let tree = files.map(|(path, text)| (RelativePath::parse(path).unwrap(), text.as_bytes().to_vec()));
        let commit = self.push(branch, &Tree::from(tree)).await?;
        let hooks = self.origin.join(".git/hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        for hook in ["post-checkout", "reference-transaction", "pre-auto-gc", "post-merge"] {
            std::fs::copy(&evil, hooks.join(hook)).unwrap();
        }
        for key in ["filter.evil.smudge", "filter.evil.clean", "core.fsmonitor", "uploadpack.packObjectsHook"] {
            self.git(&["config", key, evil.to_str().unwrap()])?;
        }
        Ok(Some(commit))
    }
}
