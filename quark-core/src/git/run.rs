//! `Git`: how git is run, so that nothing but our own configuration counts.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{FETCH_MARK, failure};
use crate::app::{CommitSha, RepositoryUrl};
use crate::backend::{Call, LogSink, NoLog};
use crate::process::{Finished, Program, Signal, find};
use crate::{Error, ErrorKind, Result};

/// All of git's settings. They are in a file and not on the command line,
/// because for a repository on this machine git starts a second git, which
/// reads the file but is not told what the command line said.
const CONFIG: &str = "\
[advice]
	detachedHead = false
[core]
	hooksPath = /dev/null
	attributesFile = /dev/null
	excludesFile = /dev/null
	fsmonitor = false
	symlinks = true
	autocrlf = false
	protectHFS = true
	protectNTFS = true
[credential]
	helper =
[fetch]
	recurseSubmodules = false
	unpackLimit = 1
	writeCommitGraph = false
[gc]
	auto = 0
[init]
	defaultBranch = main
[maintenance]
	auto = false
[safe]
	directory = *
[submodule]
	recurse = false
[transfer]
	fsckObjects = true
	bundleURI = false
";

/// What an operator's network may need; it does not reach the repository.
const INHERITED: [&str; 12] = [
    "PATH",
    "HTTPS_PROXY",
    "https_proxy",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "SSH_AUTH_SOCK",
];

/// Runs git for one call and one repository.
#[derive(Debug)]
pub(super) struct Git {
    program: PathBuf,
    home: Home,
    transports: &'static str,
    key: String,
    call: Call,
    until: Instant,
}

impl Git {
    /// Sets up for `call`, whose time starts to count here.
    pub(super) fn prepare(program: &Path, call: &Call, repository: &RepositoryUrl) -> Result<Self> {
        let until = Instant::now() + call.timeout;
        let transports = match repository.as_str() {
            url if url.starts_with("file://") => "file",
            url if url.starts_with("https://") => "https",
            url if url.starts_with("http://") => "http:https",
            _ => "ssh",
        };
        Ok(Self {
            program: program.to_owned(),
            home: Home::create()?,
            transports,
            key: call.key.clone(),
            call: call.clone(),
            until,
        })
    }

    /// A git without arguments yet.
    pub(super) fn program(&self) -> Program {
        Program::new(&self.program)
            .inherit(&INHERITED)
            .env("HOME", &self.home.0)
            .env("GIT_CONFIG_GLOBAL", self.home.0.join(".gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.transports)
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oClearAllForwardings=yes -oConnectTimeout=30")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("LC_ALL", "C")
            .env(FETCH_MARK, &self.key)
    }

    /// A git that works in `folder`.
    pub(super) fn command(&self, folder: &Path) -> Program {
        // Both are named, or git would look for a repository in the parents.
        self.program().env("GIT_DIR", folder.join(".git")).env("GIT_WORK_TREE", folder).directory(folder)
    }

    /// Runs `program` in what is left of the call's time.
    pub(super) async fn run(&self, program: &Program, log: &dyn LogSink) -> Result<Finished> {
        self.run_until(self.call.cancel.clone(), program, log).await
    }

    /// Like [`run`](Self::run), also ended by `stop`.
    pub(super) async fn run_until(
        &self,
        stop: CancellationToken,
        program: &Program,
        log: &dyn LogSink,
    ) -> Result<Finished> {
        let timeout = self.until.saturating_duration_since(Instant::now());
        let call = Call { timeout, cancel: stop, ..self.call.clone() };
        program.run(&call, log).await.map_err(|error| match error.code() {
            "command_not_found" => {
                error.with_hint("fetching sources needs git: install it, or name it by `GitFetcher::with_program`")
            }
            _ => error,
        })
    }

    /// A token that is cancelled with the call, or alone.
    pub(super) fn stop_token(&self) -> CancellationToken {
        self.call.cancel.child_token()
    }

    /// Makes the empty repository that a commit is fetched into.
    pub(super) async fn init(&self, into: &Path, commit: &CommitSha) -> Result<()> {
        let made = tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(into).await;
        made.map_err(|error| failure::of_disk(into, error))?;
        let format = if commit.as_str().len() == 64 { "sha256" } else { "sha1" };
        let init = self.command(into).args(["init", "--quiet", "--template="]).arg(format!("--object-format={format}"));
        let done = self.run(&init, &NoLog).await?;
        if done.succeeded() { Ok(()) } else { Err(failure::of_checkout(&done, commit)) }
    }
}

/// A folder with git's configuration that only this user can read.
#[derive(Debug)]
struct Home(PathBuf);

impl Home {
    fn create() -> Result<Self> {
        let home = Self(std::env::temp_dir().join(format!("quark-git-{}", Uuid::new_v4().simple())));
        DirBuilder::new()
            .mode(0o700)
            .create(&home.0)
            .and_then(|()| fs::write(home.0.join(".gitconfig"), CONFIG))
            .map_err(|error| failure::of_disk(&home.0, error))?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a temporary folder could not be removed");
        }
    }
}

/// Ends the processes of an earlier attempt at the same call, whose engine died.
pub(super) async fn end_leftovers(call: &Call) -> Result<()> {
    const POLL: Duration = Duration::from_millis(10);
    let key = call.key.clone();
    let search = move || match find(FETCH_MARK, &key) {
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Vec::new()),
        found => found,
    };
    let left = tokio::task::spawn_blocking(search).await.map_err(|error| {
        Error::new(ErrorKind::Internal, "the search for leftover processes broke off").with_source(error)
    })??;
    for process in &left {
        process.signal_group(Signal::Kill);
    }
    let gone = async {
        while left.iter().any(crate::process::ProcessRef::is_alive) {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    };
    call.bound("source.fetch", gone).await
}
