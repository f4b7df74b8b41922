//! `Source`: where the code or the image comes from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checked::{checked_text, excerpt};
use super::image::ImageRef;
use crate::{Error, Result};

/// What an app is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A git repository, built into an image.
    Git {
        /// Where the repository is.
        repository: RepositoryUrl,
        /// What to take from it when a deployment does not say.
        branch: BranchName,
    },
    /// An image that exists already.
    Image {
        /// Its name.
        image: ImageRef,
    },
}

impl Source {
    /// The branch `branch` of the repository at `url`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if either is not acceptable.
    pub fn git(url: &str, branch: &str) -> Result<Self> {
        Ok(Self::Git { repository: RepositoryUrl::parse(url)?, branch: BranchName::parse(branch)? })
    }

    /// An image by its name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the name is not acceptable.
    pub fn image(name: &str) -> Result<Self> {
        Ok(Self::Image { image: ImageRef::parse(name)? })
    }
}

checked_text! {
    /// Where a git repository is: `https://…`, `ssh://…`, `git@host:path`, or
    /// `file:///…` if the engine allows local repositories.
    ///
    /// Never with a password or token in it: such a URL would end up in the
    /// repository's configuration, in error messages and in the process list.
    RepositoryUrl, check_repository
}

impl RepositoryUrl {
    /// A repository in a folder of this machine. The engine refuses it unless
    /// it was built with [`with_local_repositories`](crate::DeploymentEngineBuilder::with_local_repositories).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the path is not absolute or not plain text.
    pub fn local(path: &Path) -> Result<Self> {
        let text = path.to_str().unwrap_or_default();
        Self::parse(format!("file://{text}"))
    }

    /// Whether two ways to write it mean one repository: `https`, `ssh` and the
    /// short form of one host and path, with or without `.git`. The case of the
    /// host does not matter, that of the path does.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.place() == other.place()
    }

    /// Host (with a port that is not the scheme's own), and path.
    fn place(&self) -> (String, &str) {
        let text = self.as_str();
        let (scheme, rest) = text.split_once("://").unwrap_or(("ssh", text));
        let separator = if text.contains("://") { '/' } else { ':' };
        let (authority, path) = rest.split_once(separator).unwrap_or((rest, ""));
        let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        let usual = match scheme.to_ascii_lowercase().as_str() {
            "https" => ":443",
            "http" => ":80",
            _ => ":22",
        };
        let host = host.strip_suffix(usual).map(str::to_owned).unwrap_or(host);
        let path = path.trim_matches('/');
        (host, path.strip_suffix(".git").unwrap_or(path))
    }

    /// The folder, if the repository is one of this machine.
    #[must_use]
    pub fn as_local_path(&self) -> Option<&Path> {
        self.as_str().strip_prefix("file://").map(Path::new)
    }
}

fn refuse_repository(code: &'static str, text: &str, why: &str) -> Error {
    // A URL with credentials must not be echoed at all.
    let shown = if code == "repo_url_has_credentials" { "the URL".to_owned() } else { format!("`{}`", excerpt(text)) };
    Error::invalid("app.source.repository", code, format!("{shown} is not an acceptable repository: {why}"))
        .with_hint("use `https://host/owner/name` or `git@host:owner/name`, without user, password or options")
}

fn check_repository(text: &str) -> Result<String> {
    let refuse = |code, why: &str| Err(refuse_repository(code, text, why));
    if text.is_empty() || text.len() > 1024 {
        return refuse("invalid_repo_url", "it must have 1 to 1024 characters");
    }
    if text.starts_with('-') {
        return refuse("invalid_repo_url", "it looks like an option");
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:@%+,=".contains(&b);
    if let Some(path) = text.strip_prefix("file://") {
        let climbs = path.split('/').any(|part| part == "..");
        if !path.starts_with('/') || climbs || path.chars().any(char::is_control) {
            return refuse("invalid_repo_url", "a local repository needs an absolute path");
        }
        return Ok(text.to_owned());
    }
    if !text.bytes().all(plain) {
        return refuse("invalid_repo_url", "it holds a character that no repository URL needs");
    }
    if text.contains("::") {
        return refuse("repo_scheme_not_allowed", "remote helpers run programs");
    }
    if text.contains("://") {
        return check_url(text);
    }
    check_scp_form(text)
}

fn check_url(text: &str) -> Result<String> {
    let refuse = |code, why: &str| Err(refuse_repository(code, text, why));
    let Ok(url) = url::Url::parse(text) else {
        return refuse("invalid_repo_url", "it is not a URL");
    };
    let scheme = url.scheme();
    if !matches!(scheme, "https" | "http" | "ssh") {
        return refuse("repo_scheme_not_allowed", "only https, http and ssh are allowed");
    }
    if url.password().is_some() || (scheme != "ssh" && !url.username().is_empty()) {
        return refuse("repo_url_has_credentials", "it carries credentials");
    }
    let host = url.host_str().unwrap_or_default();
    let written = text.split_once("://").map_or("", |(_, rest)| rest);
    if host.is_empty() || host.starts_with('-') || written.starts_with('/') || url.username().starts_with('-') {
        return refuse("invalid_repo_url", "its host is not a host name");
    }
    if url.path().len() < 2 || url.query().is_some() || url.fragment().is_some() {
        return refuse("invalid_repo_url", "it names no repository");
    }
    Ok(text.to_owned())
}

/// `user@host:path`, as git's manual calls it the scp-like syntax.
fn check_scp_form(text: &str) -> Result<String> {
    let refuse = |code, why: &str| Err(refuse_repository(code, text, why));
    let Some((user_host, path)) = text.split_once(':') else {
        return refuse("repo_scheme_not_allowed", "it has no scheme; a local path must be given as file:///…");
    };
    let Some((user, host)) = user_host.split_once('@') else {
        return refuse("repo_scheme_not_allowed", "it has no scheme that is allowed");
    };
    let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !word(user) || !word(host) || user.starts_with('-') || host.starts_with('-') {
        return refuse("invalid_repo_url", "user or host is not plain");
    }
    if path.is_empty() || path.starts_with('-') || path.contains(['@', ':']) {
        return refuse("invalid_repo_url", "its path is not plain");
    }
    Ok(text.to_owned())
}

checked_text! {
    /// The name of a git branch, by the rules of `git check-ref-format` and
    /// without what a shell or an option parser would take for its own.
    BranchName, check_branch
}

fn check_branch(text: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./@#+=".contains(&b);
    let part_ok = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let ok = !text.is_empty()
        && text.len() <= 250
        && text.bytes().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('.')
        && text != "@"
        && !text.contains("..")
        && text.split('/').all(part_ok);
    if ok {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("branch", "invalid_branch", format!("`{}` is not a branch name", excerpt(text)))
        .with_hint("use letters, digits and `-._/@#+=`; see `git help check-ref-format`"))
}

checked_text! {
    /// A whole commit id: 40 hexadecimal digits (or 64 in a SHA-256
    /// repository). Names such as `HEAD` are refused, because they mean
    /// something else tomorrow.
    CommitSha, check_commit
}

impl CommitSha {
    /// The first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.as_str().get(..12).unwrap_or_default()
    }
}

fn check_commit(text: &str) -> Result<String> {
    let lower = text.to_ascii_lowercase();
    if matches!(lower.len(), 40 | 64) && lower.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(lower);
    }
    Err(Error::invalid("commit", "invalid_commit", format!("`{}` is not a whole commit id", excerpt(text)))
        .with_hint("give all 40 hexadecimal digits, as `git rev-parse` prints them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        RepositoryUrl::parse(text).unwrap_err().code().to_owned()
    }

    #[test]
    fn refuses_hostile_repositories() {
        for (bad, expected) in [
            ("ext::sh -c 'touch /tmp/x'", "invalid_repo_url"),
            ("ext::sh", "repo_scheme_not_allowed"),
            ("EXT::x", "repo_scheme_not_allowed"),
            ("--upload-pack=touch", "invalid_repo_url"),
            ("/etc", "repo_scheme_not_allowed"),
            ("../x", "repo_scheme_not_allowed"),
            ("https://user:tok@github.com/o/r", "repo_url_has_credentials"),
            ("https://github.com@evil.test/o/r", "repo_url_has_credentials"),
            ("https://github.com/o/r.git$(whoami)", "invalid_repo_url"),
            ("git@github.com:o/r.git;curl", "invalid_repo_url"),
            ("ssh://-oProxyCommand=id/x", "invalid_repo_url"),
            ("https:///github.com/o/r", "invalid_repo_url"),
            ("https://github.com/o/r\n[core]", "invalid_repo_url"),
            ("ftp://h/x", "repo_scheme_not_allowed"),
            ("file://etc", "invalid_repo_url"),
            ("file:///a/../b", "invalid_repo_url"),
        ] {
            assert_eq!(code(bad), expected, "{bad:?}");
        }
    }

    #[test]
    fn never_echoes_credentials() {
        let error = RepositoryUrl::parse("https://me:hunter2@github.com/o/r").unwrap_err();
        assert!(!error.report().contains("hunter2") && !format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn takes_ordinary_repositories() {
        for good in ["https://github.com/acme/shop", "git@github.com:acme/shop.git", "ssh://git@h.test:22/a/b"] {
            assert!(RepositoryUrl::parse(good).is_ok(), "{good}");
        }
        let local = RepositoryUrl::local(Path::new("/srv/repo")).unwrap();
        assert_eq!(local.as_local_path(), Some(Path::new("/srv/repo")));
    }

    #[test]
    fn one_repository_is_written_in_many_ways() {
        let same = [
            "https://git.test/acme/shop",
            "https://Git.Test/acme/shop.git",
            "https://git.test:443/acme/shop/",
            "ssh://git@git.test/acme/shop.git",
            "ssh://git@GIT.test:22/acme/shop",
            "git@git.test:acme/shop.git",
        ]
        .map(|text| RepositoryUrl::parse(text).unwrap());
        for (one, other) in same.iter().flat_map(|one| same.iter().map(move |other| (one, other))) {
            assert!(one.is_same(other), "{one} {other}");
        }
        let others = [
            "https://git.test/acme/Shop",
            "https://git.test/acme/shop2",
            "https://git.test:8443/acme/shop",
            "https://other.test/acme/shop",
            "git@git.test:other/shop",
            "file:///acme/shop",
        ];
        for other in others {
            assert!(!same[0].is_same(&RepositoryUrl::parse(other).unwrap()), "{other}");
        }
    }

    #[test]
    fn branches_and_commits() {
        for bad in ["$(id)", "-h", "main;id", "main branch", "a..b", "a.lock", "@{-1}", "a//b", ".a", "", "a\0", "@"] {
            assert_eq!(BranchName::parse(bad).unwrap_err().code(), "invalid_branch", "{bad:?}");
        }
        for good in ["feature/safe-branch_1.2.3", "dependabot/npm/@x/y-1.0", "release#1"] {
            assert!(BranchName::parse(good).is_ok(), "{good}");
        }
        for bad in ["HEAD", "main", "abc", "$(id)", "--all", &"a".repeat(41)] {
            assert_eq!(CommitSha::parse(bad).unwrap_err().code(), "invalid_commit", "{bad:?}");
        }
        assert_eq!(CommitSha::parse("A".repeat(40)).unwrap().as_str(), "a".repeat(40));
    }
}
