//! One case for each bullet of the contract, except the one about credentials,
//! which each kind of source has in a form of its own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::fixture::FetcherFixture;
use crate::app::{BranchName, CommitSha, RelativePath};
use crate::backend::{Call, NoLog};
use crate::conformance::outcome::{PATIENCE, ensure, refused, within, worked};
use crate::conformance::{CaseResult, outcome};
use crate::deployment::Fence;
use crate::memory::Tree;
use crate::{ErrorKind, Result};

/// "The commit that a branch points at now."
pub async fn a_branch_is_resolved_to_its_head(fixture: &dyn FetcherFixture) -> CaseResult {
    let (main, other) = (branch("main")?, branch("feature/other")?);
    let mut commits = Vec::new();
    for (branch, content) in [(&main, "1"), (&other, "2"), (&main, "3")] {
        commits.push((branch, fixture.push(branch, &tree(&[("file", content)])?).await?));
        for branch in [&main, &other] {
            let Some((_, head)) = commits.iter().rev().find(|(of, _)| *of == branch) else { continue };
            let found = worked("resolve", resolve(fixture, branch).await?)?;
            ensure!(found == *head, "`{branch}` is resolved to {found} instead of {head}");
        }
    }
    Ok(())
}

/// "`fetch` yields exactly the tree of the commit, whatever the branch points at by then."
pub async fn fetch_yields_exactly_the_commit(fixture: &dyn FetcherFixture) -> CaseResult {
    let main = branch("main")?;
    let first =
        tree(&[("file", "first"), ("gone", "x"), ("a/b/c.txt", "deep\r\n"), ("empty", ""), ("ünicode ✓", "é")])?;
    let second = tree(&[("file", "second"), ("new/file", "y")])?;
    let (old, new) = (fixture.push(&main, &first).await?, fixture.push(&main, &second).await?);
    for (commit, wanted) in [(&old, &first), (&new, &second), (&old, &first)] {
        let into = fixture.folder();
        worked("fetch", fetch(fixture, commit, &into).await?)?;
        lies_there(&into, wanted)?;
    }
    Ok(())
}

/// "What lies at the destination is replaced."
pub async fn fetch_replaces_what_lies_there(fixture: &dyn FetcherFixture) -> CaseResult {
    let wanted = tree(&[("file", "wanted"), ("folder/file", "wanted")])?;
    let commit = fixture.push(&branch("main")?, &wanted).await?;
    let into = fixture.folder();
    let before = [("file", "before"), ("stale", "before"), ("folder/stale", "before"), ("old/deep/stale", "before")];
    for (path, content) in before {
        write(&into.join(path), content).map_err(|error| format!("a file could not be written: {error}"))?;
    }
    for _ in 0..2 {
        worked("fetch", fetch(fixture, &commit, &into).await?)?;
        lies_there(&into, &wanted)?;
    }
    Ok(())
}

/// "`NotFound` with code `repository_not_found` or `branch_not_found`."
pub async fn unknown_repositories_and_branches_are_told(fixture: &dyn FetcherFixture) -> CaseResult {
    let main = branch("main")?;
    fixture.push(&main, &tree(&[("file", "1")])?).await?;
    // A part of a branch's name is another name.
    for unknown in ["mai", "main2", "x/main"] {
        let done = resolve(fixture, &branch(unknown)?).await?;
        refused("resolve of an unknown branch", done, ErrorKind::NotFound, Some("branch_not_found"))?;
    }
    let (fetcher, unknown) = (fixture.fetcher(), fixture.unknown_repository());
    let done = within("resolve", fetcher.resolve(&call(), &unknown, &main)).await?;
    refused("resolve of an unknown repository", done, ErrorKind::NotFound, Some("repository_not_found"))?;
    Ok(())
}

/// "As `resolve`, with `commit_not_found`."
pub async fn unknown_commits_are_told(fixture: &dyn FetcherFixture) -> CaseResult {
    let commit = fixture.push(&branch("main")?, &tree(&[("file", "1")])?).await?;
    let unknown = worked("making a commit id", CommitSha::parse("0123456789".repeat(4)))?;
    let done = fetch(fixture, &unknown, &fixture.folder()).await?;
    refused("fetch of an unknown commit", done, ErrorKind::NotFound, Some("commit_not_found"))?;
    let (fetcher, repository) = (fixture.fetcher(), fixture.unknown_repository());
    let into = fixture.folder();
    let done = within("fetch", fetcher.fetch(&call(), &repository, &commit, &into, &NoLog)).await?;
    refused("fetch from an unknown repository", done, ErrorKind::NotFound, Some("repository_not_found"))?;
    Ok(())
}

/// "No program of the repository runs: no hooks, no filters, no remote helpers."
pub async fn no_program_of_the_repository_runs(fixture: &dyn FetcherFixture) -> CaseResult {
    let main = branch("main")?;
    let mark = fixture.folder();
    let Some(commit) = fixture.push_hostile(&main, &mark).await? else { return Ok(()) };
    let found = worked("resolve", resolve(fixture, &main).await?)?;
    ensure!(found == commit, "`{main}` is resolved to {found} instead of {commit}");
    // It may be refused; running something is what must not be.
    let done = fetch(fixture, &commit, &fixture.folder()).await?;
    ensure!(!mark.exists(), "a program of the repository ran; fetch yielded {done:?}");
    Ok(())
}

async fn resolve(fixture: &dyn FetcherFixture, branch: &BranchName) -> CaseResult<Result<CommitSha>> {
    let (fetcher, repository) = (fixture.fetcher(), fixture.repository());
    within("resolve", fetcher.resolve(&call(), &repository, branch)).await
}

async fn fetch(fixture: &dyn FetcherFixture, commit: &CommitSha, into: &Path) -> CaseResult<Result<()>> {
    let (fetcher, repository) = (fixture.fetcher(), fixture.repository());
    within("fetch", fetcher.fetch(&call(), &repository, commit, into, &NoLog)).await
}

fn branch(name: &str) -> CaseResult<BranchName> {
    worked("naming a branch", BranchName::parse(name))
}

fn tree(files: &[(&str, &str)]) -> CaseResult<Tree> {
    let file = |(path, content): &(&str, &str)| {
        Ok((worked("naming a file", RelativePath::parse(path))?, content.as_bytes().to_vec()))
    };
    files.iter().map(file).collect()
}

fn call() -> Call {
    outcome::call(Fence(1), PATIENCE)
}

/// Checks that a folder holds exactly these files. What the fetcher keeps for
/// itself (`.git`) is none of the tree.
fn lies_there(folder: &Path, wanted: &Tree) -> CaseResult {
    let mut seen = BTreeMap::new();
    read(folder, "", &mut seen).map_err(|error| format!("what was fetched cannot be read: {error}"))?;
    let wanted: BTreeMap<_, _> = wanted.iter().map(|(path, content)| (path.to_string(), content.clone())).collect();
    ensure!(seen == wanted, "what was fetched is {:?} instead of {:?}", shown(&seen), shown(&wanted));
    Ok(())
}

fn shown(tree: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, String> {
    tree.iter().map(|(path, content)| (path.as_str(), String::from_utf8_lossy(content).into_owned())).collect()
}

fn read(folder: &Path, below: &str, seen: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}{name}");
        if entry.file_type()?.is_dir() {
            if path != ".git" {
                read(&entry.path(), &format!("{path}/"), seen)?;
            }
        } else {
            seen.insert(path, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, content)
}
