//! Variables as the text of a `.env` file, and back.

use super::env::{EnvKey, EnvVars, Secret};
use crate::{Error, Result};

impl EnvVars {
    /// The variables as a `.env` file, one `NAME=value` each, in the order of
    /// their names. A file of it needs the mode 0600.
    ///
    /// What is not plain is quoted as a POSIX shell quotes: in single quotes,
    /// between which nothing means anything; in double quotes, with `\`
    /// before `\`, `"`, `$` and `` ` ``, if the value has a `'` or a `\` in it. A
    /// value of several lines is written over several lines. So a shell that reads
    /// the file has what the app gets, letter by letter.
    ///
    /// ```
    /// use quark_core::EnvVars;
    /// let vars = EnvVars::from_dotenv("export NAME=shop  # a comment\nMOTTO='a $5 bill'\n")?;
    /// assert_eq!(vars.to_dotenv().expose(), "MOTTO='a $5 bill'\nNAME=shop\n");
    /// # Ok::<(), quark_core::Error>(())
    /// ```
    #[must_use]
    pub fn to_dotenv(&self) -> Secret {
        let lines = self.iter().map(|(key, value)| key.as_str().len() + value.expose().len() + 8);
        // As large as it usually gets: a text that moves leaves a copy behind that nobody wipes.
        let mut text = String::with_capacity(lines.sum::<usize>() * 2);
        for (key, value) in self.iter() {
            text.push_str(key.as_str());
            text.push('=');
            quote(&mut text, value.expose());
            text.push('\n');
        }
        Secret::new(text)
    }

    /// Reads a `.env` file: lines `NAME=value`, with or without `export`
    /// before them; empty lines and `#` comments. A value without quotes is
    /// trimmed and ends at ` #`. In single quotes everything is what it is. In
    /// double quotes `\n`, `\r` and `\t` are the characters of that name, and
    /// `\` before `\`, `"`, `$` or `` ` `` makes it plain. Quoted values may
    /// have several lines. Nothing is ever replaced: `$HOME` is these five letters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) with the number of the line, and never with
    /// a value: `invalid_dotenv`, `duplicate_env_key`, or as [`set`](Self::set).
    pub fn from_dotenv(text: &str) -> Result<Self> {
        let mut vars = Self::new();
        let mut reader = Reader { rest: text, line: 1 };
        while let Some((key, value)) = reader.next_variable()? {
            if vars.keys().any(|known| *known == key) {
                return Err(reader.refuse("duplicate_env_key", &format!("`{key}` is there a second time")));
            }
            vars.set(key, value)?;
        }
        Ok(vars)
    }
}

fn quote(text: &mut String, value: &str) {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_./:@%+,-".contains(letter);
    if value.chars().all(is_plain) {
        text.push_str(value);
    } else if !value.contains(['\'', '\\']) {
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    } else {
        text.push('"');
        for letter in value.chars() {
            if matches!(letter, '\\' | '"' | '$' | '`') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push('"');
    }
}

/// What is left of a file.
struct Reader<'a> {
    rest: &'a str,
    /// From 1.
    line: usize,
}

impl Reader<'_> {
    fn next_variable(&mut self) -> Result<Option<(EnvKey, Secret)>> {
        loop {
            self.skip(|letter| letter.is_ascii_whitespace());
            if self.rest.is_empty() {
                return Ok(None);
            }
            if !self.rest.starts_with('#') {
                break;
            }
            self.skip(|letter| letter != '\n');
        }
        let line = self.rest.split('\n').next().unwrap_or_default();
        let Some((name, _)) = line.split_once('=') else {
            return Err(self.refuse("invalid_dotenv", "it has no `=`"));
        };
        let (length, name) = (name.len() + 1, name.trim());
        let exported = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
        let Ok(key) = EnvKey::parse(exported.unwrap_or(name).trim()) else {
            // What stands there may be a part of a value whose quotes are wrong.
            return Err(self.refuse("invalid_dotenv", "what stands before `=` is not a variable name"));
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        let before = self.rest.len();
        self.skip(|letter| matches!(letter, ' ' | '\t'));
        let blank = self.rest.len() < before;
        let value = match self.rest.chars().next() {
            Some('\'') => self.quoted('\'')?,
            Some('"') => self.quoted('"')?,
            _ => self.plain(blank),
        };
        Ok(Some((key, value)))
    }

    /// A value without quotes: up to the end of its line, or to a comment, which
    /// has a blank before it; `blank` says that one is before the value.
    fn plain(&mut self, blank: bool) -> Secret {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let mut before = if blank { ' ' } else { '=' };
        let comment = line.char_indices().find(|(_, letter)| {
            let begins = *letter == '#' && matches!(before, ' ' | '\t');
            before = *letter;
            begins
        });
        let value = line.get(..comment.map_or(line.len(), |(at, _)| at)).unwrap_or_default().trim();
        let value = Secret::new(value);
        self.skip(|letter| letter != '\n');
        value
    }

    /// A value in quotes, and the rest of the line after it.
    fn quoted(&mut self, quote: char) -> Result<Secret> {
        let began = self.line;
        // At most all that is left: a text that moves leaves a copy behind that nobody wipes.
        let mut value = zeroize::Zeroizing::new(String::with_capacity(self.rest.len()));
        let mut letters = self.rest.char_indices().skip(1);
        let mut lines = 0;
        let end = loop {
            let Some((at, letter)) = letters.next() else {
                return Err(Self::refused(began, "invalid_dotenv", "its quotes are never closed"));
            };
            lines += usize::from(letter == '\n');
            match letter {
                _ if letter == quote => break at + 1,
                '\\' if quote == '"' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, plain @ ('\\' | '"' | '$' | '`'))) => value.push(plain),
                    Some((_, other)) => {
                        lines += usize::from(other == '\n');
                        value.push('\\');
                        value.push(other);
                    }
                    None => {}
                },
                _ => value.push(letter),
            }
        };
        self.rest = self.rest.get(end..).unwrap_or_default();
        self.line += lines;
        self.skip(|letter| letter != '\n' && letter.is_ascii_whitespace());
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '#']) {
            return Err(self.refuse("invalid_dotenv", "something follows what is in quotes"));
        }
        self.skip(|letter| letter != '\n');
        Ok(Secret::new(value.as_str()))
    }

    fn skip(&mut self, which: impl Fn(char) -> bool) {
        let rest = self.rest.trim_start_matches(which);
        let skipped = self.rest.len() - rest.len();
        self.line += self.rest.get(..skipped).unwrap_or_default().matches('\n').count();
        self.rest = rest;
    }

    fn refuse(&self, code: &'static str, why: &str) -> Error {
        Self::refused(self.line, code, why)
    }

    fn refused(line: usize, code: &'static str, why: &str) -> Error {
        Error::invalid("env", code, format!("line {line} of the variables is not acceptable: {why}"))
            .with_hint("write `NAME=value`; put a value with spaces, quotes or `#` into single quotes")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let vars = EnvVars::from_dotenv(text).unwrap();
        vars.iter().map(|(key, value)| (key.to_string(), value.expose().to_owned())).collect()
    }

    fn only(text: &str) -> String {
        let mut read = read(text);
        assert_eq!(read.len(), 1, "{text:?}");
        read.remove(0).1
    }

    #[test]
    fn reads_what_people_write() {
        for (text, value) in [
            ("A=1", "1"),
            ("  export   A = one two \r\n", "one two"),
            ("A=", ""),
            ("# c\n\n A=x # comment", "x"),
            ("A=a#b", "a#b"),
            ("A=#b", "#b"),
            ("A= #b", ""),
            ("A= # nothing", ""),
            ("A='it # is $5' # c", "it # is $5"),
            ("A=\"two\\nlines \\\"q\\\" \\$x \\\\ \\z\"", "two\nlines \"q\" $x \\ \\z"),
            ("A='one\ntwo'\n", "one\ntwo"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A=$HOME/x=y", "$HOME/x=y"),
            ("export=1", "1"),
        ] {
            assert_eq!(only(text), value, "{text:?}");
        }
        assert_eq!(read("B=2\nA=1\n").len(), 2);
    }

    #[test]
    fn refuses_the_rest_by_line_and_shows_no_value() {
        for (text, code, line) in [
            ("A=1\nhunter2", "invalid_dotenv", "line 2"),
            ("A='x\ny'\nB='hunter2", "invalid_dotenv", "line 3"),
            ("\n1A=hunter2", "invalid_dotenv", "line 2"),
            ("A='hunter2'x", "invalid_dotenv", "line 1"),
            ("A=1\nA=hunter2", "duplicate_env_key", "line 2"),
            ("A=\"hunter2\\", "invalid_dotenv", "line 1"),
        ] {
            let error = EnvVars::from_dotenv(text).unwrap_err();
            assert_eq!(error.code(), code, "{text:?}");
            let said = format!("{error:?} {}", error.report());
            assert!(said.contains(line) && !said.contains("hunter2"), "{said}");
        }
    }

    /// By somebody else's reader of the language that shells have in common.
    #[test]
    fn a_shell_reads_what_the_app_gets() {
        let nasty = " it's \\ \"$HOME\" `id` $(id) #x\n\\n end\t!* ~ ";
        let mut vars = EnvVars::new();
        for (name, value) in [("NASTY", nasty), ("PLAIN", "a/b:c@d"), ("EMPTY", ""), ("LINES", "a $b\nc")] {
            vars.set(EnvKey::parse(name).unwrap(), Secret::new(value)).unwrap();
        }
        let mut words = shlex::split(vars.to_dotenv().expose()).unwrap();
        words.sort();
        let nasty = format!("NASTY={nasty}");
        assert_eq!(words, ["EMPTY=", "LINES=a $b\nc", nasty.as_str(), "PLAIN=a/b:c@d"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            values in proptest::collection::btree_map("[A-Za-z_][A-Za-z0-9_]{0,8}", "[ -~\\n\\r\\té🦀'\"\\\\$#=]{0,40}", 0..8),
        ) {
            let mut vars = EnvVars::new();
            for (key, value) in &values {
                vars.set(EnvKey::parse(key).unwrap(), Secret::new(value.as_str())).unwrap();
            }
            let text = vars.to_dotenv();
            prop_assert_eq!(EnvVars::from_dotenv(text.expose()).unwrap(), vars);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[ -~\\n\\r\\t'\"\\\\$#=AB]{0,60}") {
            let _ = EnvVars::from_dotenv(&text);
        }
    }
}
