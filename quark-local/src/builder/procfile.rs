//! `Procfile`: a line of words for each kind of process; `web` is started.
//!
//! The format was made for a shell. There is none here, so a line is taken
//! only if it means the same without one: words, quotes, and `$PORT`.

use std::iter::Peekable;
use std::str::Chars;

use quark_core::{Argv, Error, Result};

use super::plan::{Plan, no_start_command};
use crate::system::command::PORT;

/// What a shell would take for its own when it is not quoted.
const SPECIAL: &str = ";|&<>()`\\*?[]{}~#";

/// Reads the text of a `Procfile`.
pub(super) fn parse(text: &str) -> Result<Plan> {
    let mut web = None;
    let mut remarks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let (kind, command) = line
            .split_once(':')
            .filter(|(kind, _)| !kind.is_empty() && kind.bytes().all(is_name))
            .ok_or_else(|| refused(number, "is not of the form `web: command`"))?;
        if kind != "web" {
            remarks.push(format!("`{kind}` of the Procfile is not run: only `web` is"));
        } else if web.is_some() {
            return Err(refused(number, "is a second `web`"));
        } else {
            web = Some(command_of(number, command)?);
        }
    }
    let start = web.ok_or_else(|| no_start_command("the `Procfile` has no line `web: command`"))?;
    Ok(Plan { build: Vec::new(), start, remarks })
}

fn command_of(number: usize, command: &str) -> Result<Argv> {
    let words = split(command).map_err(|why| refused(number, &why))?;
    let first = words.first().map_or("", String::as_str);
    if first.split_once('=').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(is_name)) {
        return Err(refused(number, "sets a variable; set it as a variable of the app"));
    }
    Argv::new(words).map_err(|error| refused(number, &error.message().replace("the command ", "")))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn refused(number: usize, why: &str) -> Error {
    Error::invalid("Procfile", "invalid_procfile", format!("line {number} of the `Procfile` {why}")).with_hint(
        "no shell runs the line; for anything but words and $PORT put the command as a list into `quark.toml`: \
         [start] command = [\"./server\"]",
    )
}

/// Splits a line into words as a shell would, or says why it cannot be.
fn split(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // `None` between words: a pair of quotes makes a word, also an empty one.
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = command.chars().peekable();
    while let Some(next) = rest.next() {
        match (quote, next) {
            (Some(open), next) if next == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None | Some('"'), '$') => {
                port(&mut rest)?;
                word.get_or_insert_default().push_str(PORT);
            }
            (None, next) if next.is_ascii_whitespace() => words.extend(word.take()),
            // A variable is not replaced in single quotes; whoever wrote it
            // there probably meant it to be.
            (Some('\''), '$') => return Err("holds `$` in single quotes".to_owned()),
            (Some('"'), '`' | '\\') => return Err(format!("holds `{next}`, which only a shell understands")),
            (None, next) if SPECIAL.contains(next) => {
                return Err(format!("holds `{next}`, which only a shell understands"));
            }
            (_, next) => word.get_or_insert_default().push(next),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

/// Takes what follows a `$` if it is the port.
fn port(rest: &mut Peekable<Chars<'_>>) -> Result<(), String> {
    let name_char = |next: &char| next.is_ascii_alphanumeric() || *next == '_';
    let braced = rest.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(next) = rest.next_if(name_char) {
        name.push(next);
    }
    if name == "PORT" && (!braced || rest.next_if_eq(&'}').is_some()) {
        return Ok(());
    }
    Err(if name.is_empty() {
        "holds `$`, which only a shell understands".to_owned()
    } else {
        format!("uses `${name}`; only `$PORT` can be used")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(command: &str) -> Result<Vec<String>> {
        parse(&format!("web: {command}")).map(|plan| plan.start.words().to_vec())
    }

    #[test]
    fn takes_words_quotes_and_the_port() {
        for (command, words) in [
            ("./server --port $PORT", vec!["./server", "--port", "${PORT}"]),
            ("gunicorn -b 0.0.0.0:$PORT 'app:make()'", vec!["gunicorn", "-b", "0.0.0.0:${PORT}", "app:make()"]),
            ("  a\t\"b c\"d  '' ", vec!["a", "b cd", ""]),
            ("a \"x:${PORT}y\" ${PORT}z", vec!["a", "x:${PORT}y", "${PORT}z"]),
            ("a --opt=b=c 'd;e|f' \"g&h\"", vec!["a", "--opt=b=c", "d;e|f", "g&h"]),
            ("a 'it is \"so\"' \"it's\"", vec!["a", "it is \"so\"", "it's"]),
        ] {
            assert_eq!(web(command).unwrap(), words, "{command}");
        }
    }

    #[test]
    fn refuses_what_only_a_shell_understands() {
        for command in [
            "a; b",
            "a | b",
            "a && b",
            "a & b",
            "a > b",
            "a < b",
            "`a`",
            "$(a)",
            "a $HOME",
            "a ${HOME}",
            "a $PORTS",
            "a ${PORT",
            "a ${PORT:-80}",
            "a $",
            "a $1",
            "a \"$(b)\"",
            "a \"`b`\"",
            "a '$PORT'",
            "a \\; b",
            "a *",
            "a ?",
            "~/a",
            "a {b,c}",
            "a [b]",
            "(a)",
            "a # b",
            "A=1 a",
            "a 'b",
            "a \"b",
            "",
            "''",
        ] {
            let error = web(command).unwrap_err();
            assert_eq!(error.code(), "invalid_procfile", "{command}");
            assert!(error.hint().unwrap().contains("quark.toml"), "{command}");
        }
    }

    #[test]
    fn only_web_is_started() {
        let plan = parse("# comment\n\nrelease: ./migrate\nweb: ./a\nworker: ./b | c\n").unwrap();
        assert_eq!(plan.start.words(), ["./a"]);
        assert_eq!(plan.remarks.len(), 2);
        assert_eq!(parse("worker: ./a").unwrap_err().code(), "no_start_command");
        assert_eq!(parse("").unwrap_err().code(), "no_start_command");
        for bad in ["web ./a", "web: a\nweb: b", ": a", "w b: a"] {
            assert_eq!(parse(bad).unwrap_err().code(), "invalid_procfile", "{bad}");
        }
    }
}
