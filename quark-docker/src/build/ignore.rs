//! `Ignore`: which files of a source tree a build does not get.

use quark_core::{Error, Result};

use super::pattern::Pattern;

/// The most patterns that a file may have, and the longest one in bytes: a
/// tree could otherwise keep this machine busy for hours.
const MOST_RULES: usize = 1000;
const LONGEST_RULE: usize = 512;

/// The lines of a `.dockerignore` file. The last line that matches a path or
/// one of the folders it is in decides.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Written with `!`: takes back what earlier lines said.
    exception: bool,
    pattern: Pattern,
}

impl Ignore {
    /// Reads the text of a `.dockerignore` file.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut rules = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (exception, written) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            let refuse = |why: &str| {
                let message = format!("line {} of `.dockerignore` {why}", at + 1);
                Err(Error::invalid("app.source", "invalid_dockerignore", message)
                    .with_hint("`[` needs a `]`, `\\` and `!` something that follows"))
            };
            if rules.len() == MOST_RULES {
                return refuse("is one pattern too many");
            }
            if written.len() > LONGEST_RULE {
                return refuse("is too long");
            }
            match Pattern::parse(&clean(written)) {
                Ok(pattern) if !written.is_empty() => rules.push(Rule { exception, pattern }),
                _ => return refuse("is no pattern"),
            }
        }
        Ok(Self { rules })
    }

    /// Whether there may be something in an ignored folder that is not ignored.
    pub(super) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// Whether the build does not get `path`, which is relative, with `/`.
    pub(super) fn covers(&self, path: &str) -> bool {
        let mut ignored = false;
        for rule in &self.rules {
            // A line that would change nothing need not be looked at.
            if rule.exception == ignored && with_folders(path).any(|part| rule.pattern.matches(part)) {
                ignored = !rule.exception;
            }
        }
        ignored
    }
}

/// The path and the folders it is in.
fn with_folders(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
    std::iter::once(path).chain(folders)
}

/// The shortest way to write the same path: no `.`, no surplus `/`, no `..`
/// but at the start, and no leading `/`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_matches_decides() {
        for (text, ignored, kept) in [
            ("", &[][..], &["a", "a/b"][..]),
            ("target\n", &["target", "target/debug/x"], &["a/target", "targets"]),
            ("/target/", &["target", "target/x"], &["a/target"]),
            ("./a/../b", &["b", "b/c"], &["a"]),
            ("# target\n\n  *.md  \r\n", &["a.md", "b.md"], &["target", "d/a.md", "# target"]),
            ("*.md\n!README.md", &["a.md"], &["README.md"]),
            ("**/", &["a", "a/b"], &[]),
            ("!README.md\n*.md", &["README.md"], &["a.rs"]),
            ("*.md\n!README*.md\nREADME-secret.md", &["README-secret.md", "a.md"], &["README.md"]),
            ("docs\n!docs/a.md", &["docs/b.md", "docs"], &["docs/a.md"]),
            ("**\n!src\n!Cargo.toml", &["a", "docs/x"], &["src", "src/a/b.rs", "Cargo.toml"]),
            ("*\n!**/*.rs", &["a.md", "d/b.md"], &["a.rs", "d/e/a.rs"]),
            ("**/node_modules", &["node_modules/x", "a/b/node_modules/c/d"], &["node_modules_x"]),
            ("a/*/c", &["a/b/c", "a/b/c/d"], &["a/c", "a/b/d"]),
            ("temp?", &["temp1", "tempa/x"], &["temp", "temp12"]),
            ("! a", &[], &["a"]),
            ("a\n! a", &[], &["a"]),
            ("\u{feff}a", &["a"], &["b"]),
            (".", &[], &["a"]),
        ] {
            let ignore = Ignore::parse(text).unwrap();
            for path in ignored {
                assert!(ignore.covers(path), "{text:?} must ignore `{path}`");
            }
            for path in kept {
                assert!(!ignore.covers(path), "{text:?} must keep `{path}`");
            }
        }
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for text in ["a\n[", "a\n!", "a\nb\\"] {
            let error = Ignore::parse(text).unwrap_err();
            assert_eq!(error.code(), "invalid_dockerignore");
            assert!(error.message().contains("line 2"), "{error}");
        }
    }

    #[test]
    fn there_is_an_end_to_what_is_read() {
        assert!(Ignore::parse(&"a\n".repeat(MOST_RULES)).is_ok());
        assert!(Ignore::parse(&"a\n".repeat(MOST_RULES + 1)).is_err());
        assert!(Ignore::parse(&"*".repeat(LONGEST_RULE + 1)).is_err());
    }

    #[test]
    fn only_exceptions_make_it_worth_to_look_into_ignored_folders() {
        assert!(!Ignore::parse("a\nb/**").unwrap().has_exceptions());
        assert!(Ignore::parse("a\n!a/b").unwrap().has_exceptions());
    }
}
