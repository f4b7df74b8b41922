//! `Plan`: what a source tree says about how it is built and started.

use std::path::Path;

use quark_core::{Argv, Error, Result};
use serde::Deserialize;

use super::procfile;
use crate::system::command::with_placeholder;
use crate::system::files::read_text;

/// How long `quark.toml` and `Procfile` may be, in bytes.
const LONGEST: u64 = 64 * 1024;
const FILE: &str = "quark.toml";
const EXAMPLE: &str = "such as [start] command = [\"./server\", \"--port\", \"$PORT\"]";

/// What a source tree says about how it is built and started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to run, one after the other.
    pub(crate) build: Vec<Argv>,
    /// What to start, with a placeholder for the port.
    pub(crate) start: Argv,
    /// What people should know about how the tree was read.
    pub(crate) remarks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    build: Build,
    start: Option<Start>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    command: Option<Vec<String>>,
    commands: Option<Vec<Vec<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    command: Vec<String>,
}

impl Plan {
    /// Reads `quark.toml`, or else `Procfile`.
    pub(crate) fn read(tree: &Path) -> Result<Self> {
        if let Some(text) = read_text(&tree.join(FILE), LONGEST)? {
            return Self::from_toml(&text);
        }
        if let Some(text) = read_text(&tree.join("Procfile"), LONGEST)? {
            return procfile::parse(&text);
        }
        Err(no_start_command("the source has neither `quark.toml` nor `Procfile`"))
    }

    fn from_toml(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            refused(format!("line {line}: {}", error.message().trim_end().replace('\n', ", ")))
        })?;
        let build = match (file.build.command, file.build.commands) {
            (Some(_), Some(_)) => return Err(refused("`build` has both `command` and `commands`".to_owned())),
            (Some(command), None) => vec![argv(command, "build.command")?],
            (None, Some(commands)) => {
                commands.into_iter().map(|words| argv(words, "build.commands")).collect::<Result<_>>()?
            }
            (None, None) => Vec::new(),
        };
        let Some(start) = file.start else {
            return Err(no_start_command("`quark.toml` has no `[start]`"));
        };
        let words = start.command.iter().map(|word| with_placeholder(word)).collect();
        Ok(Self { build, start: argv(words, "start.command")?, remarks: Vec::new() })
    }
}

/// The error for a tree that does not say what to start.
pub(super) fn no_start_command(why: &str) -> Error {
    Error::invalid("source", "no_start_command", format!("{why}, so it is not known what to start"))
        .with_hint(format!("add a `quark.toml` to the repository, {EXAMPLE}"))
}

fn refused(why: String) -> Error {
    Error::invalid(FILE, "invalid_quark_toml", format!("`quark.toml` cannot be used: {why}"))
        .with_hint(format!("commands are lists of words, {EXAMPLE}"))
}

fn argv(words: Vec<String>, key: &str) -> Result<Argv> {
    Argv::new(words).map_err(|error| refused(format!("`{key}`: {}", error.message())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(text: &str) -> Vec<String> {
        Plan::from_toml(text).unwrap().start.words().to_vec()
    }

    #[test]
    fn takes_one_command_or_several() {
        let one = Plan::from_toml("[build]\ncommand = ['a', 'b c']\n[start]\ncommand = ['./x']").unwrap();
        assert_eq!(one.build, [Argv::new(["a", "b c"]).unwrap()]);
        let several = Plan::from_toml("[build]\ncommands = [['a'], ['b']]\n[start]\ncommand = ['./x']").unwrap();
        assert_eq!(several.build.len(), 2);
        assert_eq!(start("[start]\ncommand = ['u', '--bind=:$PORT', '$HOME']"), ["u", "--bind=:${PORT}", "$HOME"]);
    }

    #[test]
    fn refuses_what_it_does_not_understand_and_names_it() {
        for (text, named) in [
            ("[start]\ncommand = ['./x']\nworkers = 3", "line 3: unknown field `workers`"),
            ("[deploy]\n", "unknown field `deploy`"),
            ("[build]\nshell = 'make'\n[start]\ncommand = ['./x']", "unknown field `shell`"),
            ("[start]\ncommand = './x; rm -rf /'", "line 2: invalid type: string"),
            ("[start]\ncommand = []", "names no program"),
            ("[start]\ncommand = ['']", "names no program"),
            ("[start]\ncommand = [\"a\\u0000\"]", "NUL"),
            ("[start]\ncommand = ['a']\ncommand = ['b']", "duplicate key"),
            ("[build]\ncommand = ['a']\ncommands = [['b']]\n[start]\ncommand = ['c']", "both"),
            ("start = [", "line 1"),
        ] {
            let error = Plan::from_toml(text).unwrap_err();
            assert_eq!(error.code(), "invalid_quark_toml", "{text}");
            assert!(error.message().contains(named), "{text}: {}", error.message());
            assert!(!error.message().contains('\n'));
        }
        assert_eq!(Plan::from_toml("[build]\ncommand = ['a']").unwrap_err().code(), "no_start_command");
        assert_eq!(Plan::from_toml("").unwrap_err().code(), "no_start_command");
    }
}
