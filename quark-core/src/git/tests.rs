//! Fetching from real repositories, honest and hostile ones.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::deployment::Fence;

/// A folder with a repository in it and room for a checkout.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let place = Self(std::env::temp_dir().join(format!("quark-test-{}", uuid::Uuid::new_v4().simple())));
        fs::create_dir(&place.0).unwrap();
        fs::create_dir(place.origin()).unwrap();
        place.git(&["init", "--quiet", "--initial-branch=main"]);
        place
    }

    fn origin(&self) -> PathBuf {
        self.0.join("origin repo 100%41")
    }

    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    fn url(&self) -> RepositoryUrl {
        RepositoryUrl::local(&self.origin()).unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .current_dir(self.origin())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.origin().join(name), text).unwrap();
    }

    fn commit(&self, message: &str) -> CommitSha {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        CommitSha::parse(self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    /// A commit of a tree that `git add` would not make.
    fn commit_tree(&self, tree: &str) -> CommitSha {
        let commit = CommitSha::parse(self.git(&["commit-tree", "-m", "odd", tree])).unwrap();
        self.git(&["update-ref", "refs/heads/main", commit.as_str()]);
        commit
    }

    /// A git that speaks the protocol of servers that only hand out branches.
    fn old_git(&self) -> GitFetcher {
        let path = self.0.join("old-git");
        // Written by another process: a program cannot be run while a child
        // that another test is just starting still has it open for writing.
        let write = r#"printf '#!/bin/sh\nexec git -c protocol.version=0 "$@"\n' >"$0" && chmod 700 "$0""#;
        assert!(Command::new("sh").arg("-c").arg(write).arg(&path).status().unwrap().success());
        GitFetcher::new().with_program(path)
    }

    async fn fetch(&self, fetcher: &GitFetcher, commit: &CommitSha) -> Result<()> {
        fetcher.fetch(&call(), &self.url(), commit, &self.tree(), &NoLog).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn call() -> Call {
    Call::new(uuid::Uuid::new_v4().to_string(), Fence(1), Duration::from_secs(60))
}

fn branch(name: &str) -> BranchName {
    BranchName::parse(name).unwrap()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_branch_resolves_to_its_own_commit() {
    let place = Place::new();
    let first = place.commit("one");
    // git would take `refs/heads/main` for the end of this name, too.
    place.git(&["branch", "refs/heads/main"]);
    let second = place.commit("two");
    let resolve = async |name: &str| GitFetcher::new().resolve(&call(), &place.url(), &branch(name)).await;
    assert_eq!(resolve("main").await.unwrap(), second);
    assert_eq!(resolve("refs/heads/main").await.unwrap(), first);
    assert_eq!(resolve("mai").await.unwrap_err().code(), "branch_not_found");
}

#[tokio::test]
async fn exactly_the_commit_is_fetched_after_the_branch_has_moved() {
    let place = Place::new();
    place.write("version", "1");
    let first = place.commit("one");
    place.write("version", "2");
    place.write("new", "");
    place.commit("two");
    fs::create_dir(place.tree()).unwrap();
    fs::write(place.tree().join("old"), "").unwrap();

    place.fetch(&GitFetcher::new(), &first).await.unwrap();

    let names: Vec<_> = fs::read_dir(place.tree()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["version"], "neither `.git` nor what was there before");
    assert_eq!(read(&place.tree().join("version")), "1");
}

#[tokio::test]
async fn what_does_not_exist_has_codes_of_its_own() {
    let place = Place::new();
    place.commit("one");
    let unknown = CommitSha::parse("1".repeat(40)).unwrap();
    let nowhere = RepositoryUrl::local(&place.0.join("nowhere")).unwrap();
    let fetcher = GitFetcher::new();

    assert_eq!(place.fetch(&fetcher, &unknown).await.unwrap_err().code(), "commit_not_found");
    assert!(!place.tree().exists(), "nothing is left of a fetch that failed");
    let error = fetcher.resolve(&call(), &nowhere, &branch("main")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "repository_not_found"), "{}", error.report());
    let error = fetcher.fetch(&call(), &nowhere, &unknown, &place.tree(), &NoLog).await.unwrap_err();
    assert_eq!(error.code(), "repository_not_found");
}

#[tokio::test]
async fn a_tree_is_not_a_commit() {
    let place = Place::new();
    place.commit("one");
    place.git(&["tag", "-a", "-m", "tag", "v1"]);
    let tag = CommitSha::parse(place.git(&["rev-parse", "v1"])).unwrap();
    assert_eq!(place.fetch(&GitFetcher::new(), &tag).await.unwrap_err().code(), "commit_not_found");
    assert!(!place.tree().exists());
}

#[tokio::test]
async fn servers_that_only_hand_out_branches_are_searched() {
    let place = Place::new();
    place.write("version", "1");
    let first = place.commit("one");
    place.write("version", "2");
    place.commit("two");
    place.fetch(&place.old_git(), &first).await.unwrap();
    assert_eq!(read(&place.tree().join("version")), "1");

    let unknown = CommitSha::parse("1".repeat(40)).unwrap();
    assert_eq!(place.fetch(&place.old_git(), &unknown).await.unwrap_err().code(), "commit_not_found");
}

#[tokio::test]
async fn no_program_of_the_repository_runs() {
    let place = Place::new();
    let marker = place.0.join("ran");
    let script = format!("#!/bin/sh\ntouch '{}'\ncat\n", marker.display());
    let evil = place.origin().join("evil");
    fs::write(&evil, &script).unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    place.write(".gitattributes", "data filter=evil diff=evil\n");
    place.write("data", "as it was\n");
    place.write(".lfsconfig", "[lfs]\n\turl = file:///dev/null\n");
    let commit = place.commit("one");
    for hook in ["post-checkout", "reference-transaction", "pre-auto-gc", "post-merge"] {
        fs::create_dir_all(place.origin().join(".git/hooks")).unwrap();
        fs::copy(&evil, place.origin().join(".git/hooks").join(hook)).unwrap();
    }
    let program = evil.to_str().unwrap();
    for key in ["filter.evil.smudge", "core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand"] {
        place.git(&["config", key, program]);
    }
    place.fetch(&GitFetcher::new(), &commit).await.unwrap();
    assert_eq!(read(&place.tree().join("data")), "as it was\n");
    assert!(!marker.exists());
}

#[tokio::test]
async fn links_stay_links_and_submodules_stay_away() {
    let place = Place::new();
    symlink("/etc/passwd", place.origin().join("Dockerfile")).unwrap();
    place.write(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = ../elsewhere\n");
    let first = place.commit("one");
    place.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},sub")]);
    place.git(&["commit", "--quiet", "-m", "two"]);
    let second = CommitSha::parse(place.git(&["rev-parse", "HEAD"])).unwrap();
    place.fetch(&GitFetcher::new(), &second).await.unwrap();
    assert_eq!(fs::read_link(place.tree().join("Dockerfile")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read_dir(place.tree().join("sub")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_tree_with_a_repository_inside_is_refused() {
    let place = Place::new();
    place.write("config", "[core]\n\tfsmonitor = touch /tmp/ran\n");
    place.commit("one");
    let inner = place.git(&["rev-parse", "HEAD^{tree}"]);
    place.write(".git/entry", &format!("040000 tree {inner}\t.GIT\n"));
    let entry = fs::File::open(place.origin().join(".git/entry")).unwrap();
    let made = Command::new("git").arg("mktree").stdin(entry).current_dir(place.origin()).output().unwrap();
    let commit = place.commit_tree(String::from_utf8(made.stdout).unwrap().trim());
    let error = place.fetch(&GitFetcher::new(), &commit).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::BuildFailed, "source_corrupt"), "{}", error.report());
    assert!(!place.tree().exists());
}

#[tokio::test]
async fn a_small_pack_that_stands_for_millions_of_files_is_refused_unpacked() {
    let place = Place::new();
    place.write("x", "0123456789");
    place.commit("one");
    let mut tree = place.git(&["rev-parse", "HEAD^{tree}"]);
    for _ in 0..7 {
        let list: String = ('a'..='j').map(|name| format!("040000 tree {tree}\t{name}\n")).collect();
        place.write(".git/entries", &list);
        let entries = fs::File::open(place.origin().join(".git/entries")).unwrap();
        let made = Command::new("git").arg("mktree").stdin(entries).current_dir(place.origin()).output().unwrap();
        tree = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    }
    let commit = place.commit_tree(&tree);
    for fetcher in [GitFetcher::new(), GitFetcher::new().with_max_files(u64::MAX).with_max_bytes(1 << 20)] {
        let error = place.fetch(&fetcher, &commit).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::ResourceExhausted, "source_too_large"));
        assert!(!place.tree().exists());
    }
}

#[tokio::test]
async fn a_transfer_that_is_too_large_is_refused() {
    let place = Place::new();
    let mut noise = vec![0; 200_000];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut noise).unwrap();
    fs::write(place.origin().join("noise"), noise).unwrap();
    let commit = place.commit("one");
    let error = place.fetch(&GitFetcher::new().with_max_bytes(100_000), &commit).await.unwrap_err();
    assert_eq!(error.code(), "source_too_large");
    assert!(error.message().starts_with("the transfer"), "{error}");
    place.fetch(&GitFetcher::new().with_max_bytes(300_000), &commit).await.unwrap();
}

#[tokio::test]
async fn a_repository_of_another_user_can_be_fetched() {
    let place = Place::new();
    let commit = place.commit("one");
    let owned = [place.origin(), place.origin().join(".git")];
    if owned.iter().any(|path| std::os::unix::fs::chown(path, Some(65_534), None).is_err()) {
        eprintln!("skipped: foreign-owner (only root can give files away)");
        return;
    }
    place.fetch(&GitFetcher::new(), &commit).await.unwrap();
}

#[tokio::test]
async fn what_a_dead_engine_left_is_ended_first() {
    let place = Place::new();
    let commit = place.commit("one");
    let call = call();
    let mut left =
        Command::new("sleep").arg("600").env_clear().env(FETCH_MARK, &call.key).process_group(0).spawn().unwrap();
    GitFetcher::new().fetch(&call, &place.url(), &commit, &place.tree(), &NoLog).await.unwrap();
    assert!(left.try_wait().unwrap().is_some(), "it was killed before the fetch began");
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing() {
    let place = Place::new();
    let commit = place.commit("one");
    let call = call();
    call.cancel.cancel();
    let error = GitFetcher::new().fetch(&call, &place.url(), &commit, &place.tree(), &NoLog).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!place.tree().exists());
}

#[tokio::test]
async fn a_missing_git_is_said_to_be_missing() {
    let fetcher = GitFetcher::new().with_program("/no/such/git");
    let place = Place::new();
    let error = fetcher.resolve(&call(), &place.url(), &branch("main")).await.unwrap_err();
    assert_eq!(error.code(), "command_not_found");
    assert!(error.hint().unwrap().contains("with_program"));
}

/// Answers each HTTP request with `answer`; the URL of a repository there.
async fn http_server(answer: &'static str) -> (RepositoryUrl, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = RepositoryUrl::parse(format!("http://{}/acme/shop", listener.local_addr().unwrap())).unwrap();
    let serve = async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(answer.as_bytes()).await;
        }
    };
    (url, tokio::spawn(serve))
}

#[tokio::test]
async fn answers_of_web_servers_become_codes() {
    for (answer, kind, code) in [
        (
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n",
            ErrorKind::PermissionDenied,
            "permission_denied",
        ),
        ("HTTP/1.1 403 Forbidden\r\n", ErrorKind::PermissionDenied, "permission_denied"),
        ("HTTP/1.1 404 Not Found\r\n", ErrorKind::NotFound, "repository_not_found"),
        ("HTTP/1.1 503 Service Unavailable\r\n", ErrorKind::Unavailable, "unavailable"),
        ("HTTP/1.1 302 Found\r\nLocation: file:///etc\r\n", ErrorKind::Unavailable, "unavailable"),
    ] {
        let answer = format!("{answer}Content-Length: 0\r\nConnection: close\r\n\r\n").leak();
        let (url, server) = http_server(answer).await;
        let error = GitFetcher::new().resolve(&call(), &url, &branch("main")).await.unwrap_err();
        server.abort();
        assert_eq!((error.kind(), error.code()), (kind, code), "{answer}: {}", error.report());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let (url, server) = http_server("").await;
    server.abort();
    let _ = server.await;
    let error = GitFetcher::new().resolve(&call(), &url, &branch("main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = RepositoryUrl::parse(format!("http://{}/acme/shop", listener.local_addr().unwrap())).unwrap();
    let call = Call { timeout: Duration::from_millis(300), ..call() };
    let error = GitFetcher::new().resolve(&call, &url, &branch("main")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}
