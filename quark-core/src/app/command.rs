//! Commands and paths that come from users.

use serde::{Deserialize, Serialize};

use super::checked::{checked_text, excerpt};
use crate::{Error, Result};

/// A program and its arguments. Never a line for a shell: nothing is expanded,
/// split or substituted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Argv(Vec<String>);

impl Argv {
    /// Takes the program and its arguments.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`invalid_command`) if there is no
    /// program, a word has a NUL byte, or there are over 1,000 words or 64 KiB.
    pub fn new<I>(words: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let words: Vec<String> = words.into_iter().map(Into::into).collect();
        let refuse = |why: &str| {
            Err(Error::invalid("app.command", "invalid_command", format!("the command {why}"))
                .with_hint("give a list such as [\"./server\", \"--port\", \"8080\"]"))
        };
        if words.first().is_none_or(String::is_empty) {
            return refuse("names no program");
        }
        if words.len() > 1000 || words.iter().map(String::len).sum::<usize>() > 64 * 1024 {
            return refuse("is too long");
        }
        if words.iter().any(|word| word.contains('\0')) {
            return refuse("holds a NUL byte");
        }
        Ok(Self(words))
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// What follows the program.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// All words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = Error;

    fn try_from(words: Vec<String>) -> Result<Self> {
        Self::new(words)
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        argv.0
    }
}

checked_text! {
    /// A path inside a repository: relative, with `/`, without `..`.
    RelativePath, check_path
}

impl RelativePath {
    /// The path of a Dockerfile when nothing else is said.
    #[must_use]
    pub fn dockerfile() -> Self {
        Self("Dockerfile".to_owned())
    }
}

fn check_path(text: &str) -> Result<String> {
    let part_ok = |part: &str| !part.is_empty() && part != ".." && part != "." && part != ".git";
    let ok = !text.is_empty()
        && text.len() <= 1024
        && !text.starts_with('-')
        && !text.contains(['\\', ';', ':'])
        && !text.chars().any(char::is_control)
        && text.split('/').all(part_ok);
    if ok {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("path", "invalid_path", format!("`{}` is not a path inside the repository", excerpt(text)))
        .with_hint("use a relative path with `/` and without `..`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for bad in ["/Dockerfile; echo", "../Dockerfile", "/etc/passwd", "a/../b", "", ".git/config", "-f", "a\nb"] {
            assert_eq!(RelativePath::parse(bad).unwrap_err().code(), "invalid_path", "{bad:?}");
        }
        assert!(RelativePath::parse("deploy/Dockerfile.prod").is_ok());
    }

    #[test]
    fn a_command_needs_a_program() {
        assert_eq!(Argv::new(Vec::<String>::new()).unwrap_err().code(), "invalid_command");
        assert_eq!(Argv::new(["a\0"]).unwrap_err().code(), "invalid_command");
    }
}
