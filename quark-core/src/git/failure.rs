//! What git's words mean, as errors that a caller can branch on.

use std::path::Path;

use crate::app::{BranchName, CommitSha, RepositoryUrl};
use crate::process::Finished;
use crate::{Error, ErrorKind};

/// The longest excerpt of git's words in an error.
const EXCERPT: usize = 300;

/// What git says, in the C locale, and what it means. The first that fits counts.
const SIGNS: [(&[&str], Meaning); 6] = [
    (
        &[
            "Permission denied",
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "Host key verification failed",
            "returned error: 401",
            "returned error: 403",
            "detected dubious ownership",
        ],
        Meaning::Denied,
    ),
    (&["No space left on device", "Disk quota exceeded"], Meaning::DiskFull),
    (&["not our ref", "couldn't find remote ref", "unadvertised object"], Meaning::NoCommit),
    (
        &["does not appear to be a git repository", "Repository not found", "returned error: 404", "' not found"],
        Meaning::NoRepository,
    ),
    (&["fsck error", "unpack-objects abnormal exit", "invalid index-pack output"], Meaning::Corrupt),
    (&["transport '", "unable to find remote helper"], Meaning::NoTransport),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Denied,
    DiskFull,
    NoCommit,
    NoRepository,
    Corrupt,
    NoTransport,
    Unreachable,
}

fn meaning(done: &Finished) -> Meaning {
    let said = |signs: &[&str]| signs.iter().any(|sign| done.stderr.contains(sign));
    SIGNS.iter().find(|(signs, _)| said(signs)).map_or(Meaning::Unreachable, |(_, meaning)| *meaning)
}

/// Whether the server refuses to hand out a commit by its id: then it may be
/// found by way of a branch.
pub(super) fn needs_search(done: &Finished) -> bool {
    ["Server does not allow request for unadvertised object", "dumb http transport does not support shallow"]
        .iter()
        .any(|sign| done.stderr.contains(sign))
}

/// Why a repository could not be asked.
pub(super) fn of_remote(done: &Finished, repository: &RepositoryUrl) -> Error {
    match meaning(done) {
        Meaning::Denied => {
            Error::new(ErrorKind::PermissionDenied, format!("`{repository}` may not be read, or does not exist"))
                .with_hint(
                    "check the name; a private repository needs an SSH key of this user, and its host a known key",
                )
        }
        Meaning::DiskFull => Error::new(ErrorKind::ResourceExhausted, "the disk is full").with_code("disk_full"),
        Meaning::NoRepository | Meaning::NoCommit => {
            Error::new(ErrorKind::NotFound, format!("there is no repository at `{repository}`"))
                .with_code("repository_not_found")
                .with_hint("check the address, and that the repository is not private")
        }
        Meaning::Corrupt => {
            Error::new(ErrorKind::BuildFailed, format!("`{repository}` holds an object that git refuses"))
                .with_code("source_corrupt")
                .with_hint("run `git fsck` in the repository and repair what it names")
        }
        Meaning::NoTransport => {
            Error::new(ErrorKind::Unsupported, format!("`{repository}` leads to a transport that is not allowed here"))
                .with_hint("use an address that is not redirected")
        }
        Meaning::Unreachable => {
            Error::new(ErrorKind::Unavailable, format!("`{repository}` cannot be reached at present"))
        }
    }
    .with_source(Said::by(done))
}

/// Why a commit could not be fetched.
pub(super) fn of_fetch(done: &Finished, repository: &RepositoryUrl, commit: &CommitSha) -> Error {
    match meaning(done) {
        Meaning::NoCommit => commit_not_found(repository, commit).with_source(Said::by(done)),
        _ => of_remote(done, repository),
    }
}

/// Why git failed at what needs no network.
pub(super) fn of_checkout(done: &Finished, commit: &CommitSha) -> Error {
    match meaning(done) {
        Meaning::DiskFull => Error::new(ErrorKind::ResourceExhausted, "the disk is full").with_code("disk_full"),
        _ => Error::new(ErrorKind::BuildFailed, format!("the tree of `{commit}` cannot be unpacked"))
            .with_code("checkout_failed"),
    }
    .with_source(Said::by(done))
}

pub(super) fn commit_not_found(repository: &RepositoryUrl, commit: &CommitSha) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{repository}` has no commit `{commit}`"))
        .with_code("commit_not_found")
        .with_hint("was it pushed, and is it still on a branch?")
}

pub(super) fn branch_not_found(repository: &RepositoryUrl, branch: &BranchName) -> Error {
    Error::new(ErrorKind::NotFound, format!("`{repository}` has no branch `{branch}`"))
        .with_code("branch_not_found")
        .with_hint("was it pushed, and is it spelled like this?")
}

pub(super) fn of_disk(path: &Path, error: std::io::Error) -> Error {
    let (kind, code) = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            (ErrorKind::ResourceExhausted, "disk_full")
        }
        std::io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, "permission_denied"),
        _ => (ErrorKind::Internal, "internal"),
    };
    Error::new(kind, format!("`{}` cannot be written", path.display())).with_code(code).with_source(error)
}

/// The one line of git's words that says why.
#[derive(Debug)]
struct Said(String);

impl Said {
    fn by(done: &Finished) -> Self {
        let lines = || done.stderr.lines().filter(|line| !line.trim().is_empty());
        // The general complaint about rights comes after the line that matters.
        let general = |line: &&str| !line.contains("Could not read from remote repository");
        let starts =
            |line: &&str| ["fatal: ", "error: ", "ERROR: ", "ssh: "].iter().any(|start| line.starts_with(start));
        let line = lines().filter(general).find(starts).or_else(|| lines().next_back());
        match (line, done.code) {
            (Some(line), _) => Self(without_credentials(line)),
            (None, Some(code)) => Self(format!("git ended with code {code}")),
            (None, None) => Self("git was killed".to_owned()),
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

/// Drops control characters, and what stands before `@` in a URL: ours have no
/// credentials, but a server may redirect to one that has.
fn without_credentials(line: &str) -> String {
    let plain: String = line.chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    let mut words = Vec::new();
    for word in plain.split(' ') {
        words.push(match word.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, place)) => format!("{scheme}://***@{place}"),
                None => word.to_owned(),
            },
            None => word.to_owned(),
        });
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stderr: &str) -> Error {
        let done = Finished { code: Some(128), stdout: String::new(), stderr: stderr.to_owned() };
        let repository = RepositoryUrl::parse("https://git.test/acme/shop").unwrap();
        of_fetch(&done, &repository, &CommitSha::parse("a".repeat(40)).unwrap())
    }

    #[test]
    fn words_of_real_servers_are_understood() {
        let rights = "\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.";
        for (stderr, kind, code) in [
            (
                "fatal: could not read Username for 'https://git.test': terminal prompts disabled",
                ErrorKind::PermissionDenied,
                "permission_denied",
            ),
            (
                &format!("git@git.test: Permission denied (publickey).{rights}"),
                ErrorKind::PermissionDenied,
                "permission_denied",
            ),
            (&format!("Host key verification failed.{rights}"), ErrorKind::PermissionDenied, "permission_denied"),
            (
                "fatal: unable to access 'https://git.test/acme/shop/': The requested URL returned error: 403",
                ErrorKind::PermissionDenied,
                "permission_denied",
            ),
            (&format!("ERROR: Repository not found.{rights}"), ErrorKind::NotFound, "repository_not_found"),
            ("fatal: repository 'https://git.test/acme/shop/' not found", ErrorKind::NotFound, "repository_not_found"),
            (
                &format!("fatal: '/x' does not appear to be a git repository{rights}"),
                ErrorKind::NotFound,
                "repository_not_found",
            ),
            ("fatal: remote error: upload-pack: not our ref aaaa", ErrorKind::NotFound, "commit_not_found"),
            (
                "fatal: unable to access 'https://git.test/': Could not resolve host: git.test",
                ErrorKind::Unavailable,
                "unavailable",
            ),
            (
                "fatal: unable to access 'https://git.test/': The requested URL returned error: 502",
                ErrorKind::Unavailable,
                "unavailable",
            ),
            (
                &format!("ssh: connect to host git.test port 22: Connection refused{rights}"),
                ErrorKind::Unavailable,
                "unavailable",
            ),
            ("fatal: transport 'file' not allowed", ErrorKind::Unsupported, "unsupported"),
            (
                "error: object 1234: hasDotgit: contains '.git'\nfatal: fsck error in packed object\nfatal: fetch-pack: invalid index-pack output",
                ErrorKind::BuildFailed,
                "source_corrupt",
            ),
            (
                "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output",
                ErrorKind::ResourceExhausted,
                "disk_full",
            ),
        ] {
            let error = said(stderr);
            assert_eq!((error.kind(), error.code()), (kind, code), "{stderr}");
        }
    }

    #[test]
    fn the_line_that_matters_is_kept_and_credentials_are_not() {
        let report =
            said("remote: hello\nfatal: unable to access 'https://me:hunter2@git.test/': \x1b[31mbad\n").report();
        assert!(report.contains("caused by: fatal: unable to access 'https://***@git.test/': [31mbad"), "{report}");
        assert!(!report.contains("hunter2"));
        let report =
            said("ssh: connect to host h port 1: Connection refused\nfatal: Could not read from remote repository.")
                .report();
        assert!(report.contains("caused by: ssh: connect to host h port 1: Connection refused"), "{report}");
    }
}
