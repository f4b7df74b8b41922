#![doc = include_str!("../README.md")]

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use quark_core::testing::sample_app;
use tempfile::TempDir;

/// A folder with a git repository in it, whose one commit is an app that is well.
///
/// # Errors
///
/// If git or rustc are missing or fail.
pub fn sample_repository() -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let repository = folder.path().join("repository");
    fs::create_dir(&repository)?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"])?;
    commit(&repository, &[("quark.toml", "[start]\ncommand = [\"./server\"]\n")])?;
    Ok(folder)
}

/// The URL of the repository in a folder made by [`sample_repository`].
#[must_use]
pub fn url_of(folder: &TempDir) -> String {
    format!("file://{}", folder.path().join("repository").display())
}

/// Writes files and the sample program, `server`, into a repository and
/// commits them; returns the commit.
///
/// # Errors
///
/// If git or rustc are missing or fail.
pub fn commit(repository: &Path, files: &[(&str, &str)]) -> io::Result<String> {
    fs::copy(sample_app::build()?, repository.join("server"))?;
    for (name, content) in files {
        fs::write(repository.join(name), content)?;
    }
    git(repository, &["add", "--all"])?;
    git(repository, &["commit", "--quiet", "--allow-empty", "--message", "another version"])?;
    Ok(git(repository, &["rev-parse", "HEAD"])?.trim().to_owned())
}

/// Runs git in a folder, without the configuration of whoever runs the tests.
///
/// # Errors
///
/// If git is missing or fails; its words are in the error.
pub fn git(folder: &Path, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(folder)
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("git {}: {words}", arguments.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
