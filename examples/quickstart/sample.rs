//! The git repository that the quickstart deploys: it makes it itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use quark_core::CommitSha;

/// A small web server without dependencies.
const PROGRAM: &str = include_str!("../../quark-core/src/testing/sample_app/main.rs");
const QUARK_TOML: &str = include_str!("sample/quark.toml");
const DOCKERFILE: &str = include_str!("sample/Dockerfile");

/// A repository with two good commits and two bad ones.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) folder: PathBuf,
    pub(crate) first: CommitSha,
    pub(crate) second: CommitSha,
    pub(crate) bad: CommitSha,
    /// It is healthy, and fails users once there are some.
    pub(crate) sick: CommitSha,
}

/// Makes the repository. With `docker` it holds the compiled program too, so
/// that its image needs no base image from a registry.
pub(crate) fn create(folder: &Path, docker: bool) -> Result<Repository> {
    fs::create_dir_all(folder)?;
    git(folder, &["init", "--quiet", "--initial-branch=main"])?;
    fs::write(folder.join("quark.toml"), QUARK_TOML)?;
    if docker {
        compile(folder)?;
    }
    Ok(Repository {
        first: commit(folder, "1", true, 0)?,
        second: commit(folder, "2", true, 0)?,
        bad: commit(folder, "3", false, 0)?,
        sick: commit(folder, "4", true, 300)?,
        folder: folder.to_owned(),
    })
}

fn commit(folder: &Path, version: &str, healthy: bool, sick_after: u64) -> Result<CommitSha> {
    let program = PROGRAM
        .replace("const VERSION: &str = \"1\";", &format!("const VERSION: &str = \"{version}\";"))
        .replace("const HEALTHY: bool = true;", &format!("const HEALTHY: bool = {healthy};"))
        .replace("const SICK_AFTER: u64 = 0;", &format!("const SICK_AFTER: u64 = {sick_after};"));
    fs::write(folder.join("main.rs"), program)?;
    let dockerfile = DOCKERFILE.replace("@version@", version).replace("@healthy@", &healthy.to_string());
    let dockerfile = dockerfile.replace("@sick_after@", &sick_after.to_string());
    fs::write(folder.join("Dockerfile"), dockerfile)?;
    git(folder, &["add", "--all"])?;
    git(folder, &["commit", "--quiet", "--message", &format!("Version {version}")])?;
    let head = git(folder, &["rev-parse", "HEAD"])?;
    Ok(CommitSha::parse(String::from_utf8_lossy(&head.stdout).trim())?)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let identity =
        ["-c", "user.name=quickstart", "-c", "user.email=quickstart@localhost", "-c", "commit.gpgsign=false"];
    let output = Command::new("git")
        .args(identity)
        .args(arguments)
        .current_dir(folder)
        .output()
        .context("the quickstart needs git")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// A static executable, for an image that holds nothing else.
fn compile(folder: &Path) -> Result<()> {
    let source = folder.join("main.rs");
    fs::write(&source, PROGRAM)?;
    let output = Command::new("rustc")
        .args(["--edition=2024", "-O", "-Cstrip=symbols", "-Ctarget-feature=+crt-static", "-o"])
        .arg(folder.join("server"))
        .arg(&source)
        .output()
        .context("the quickstart needs rustc")?;
    if !output.status.success() {
        bail!("rustc: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
