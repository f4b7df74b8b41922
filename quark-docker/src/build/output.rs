//! `Output`: what a build says, as lines, and what of it explains a failure.

use std::collections::VecDeque;

use quark_core::LogStream;
use quark_core::backend::LogSink;

/// How the daemon marks what a step wrote to standard error.
const RED: &str = "\u{1b}[91m";
const PLAIN: &str = "\u{1b}[0m";
/// A line longer than this is cut in pieces.
const LONGEST_LINE: usize = 16 * 1024;
/// How many lines are kept to explain a failure.
const KEPT: usize = 3;
/// How much of each is kept.
const LONGEST_KEPT: usize = 200;

/// Cuts what a build says into lines and hands them on.
pub(super) struct Output<'a> {
    log: &'a dyn LogSink,
    /// What has come of a line so far, of either stream.
    stdout: String,
    stderr: String,
    /// The instruction that is being executed, as the Dockerfile has it.
    step: String,
    last: VecDeque<String>,
}

impl<'a> Output<'a> {
    pub(super) fn new(log: &'a dyn LogSink) -> Self {
        let (stdout, stderr, step) = Default::default();
        Self { log, stdout, stderr, step, last: VecDeque::new() }
    }

    /// Takes a piece: as much as was written at once, with or without a line end.
    pub(super) fn push(&mut self, piece: &str) {
        let marked = piece.strip_prefix(RED).map(|rest| rest.strip_suffix(PLAIN).unwrap_or(rest));
        let (stream, text) = marked.map_or((LogStream::Stdout, piece), |text| (LogStream::Stderr, text));
        let line = match stream {
            LogStream::Stderr => &mut self.stderr,
            _ => &mut self.stdout,
        };
        line.push_str(text);
        let mut rest = std::mem::take(line);
        while let Some(at) = line_end(&rest) {
            let next = rest.split_off(at);
            self.line(stream, &rest);
            rest = next;
        }
        match stream {
            LogStream::Stderr => self.stderr = rest,
            _ => self.stdout = rest,
        }
    }

    /// Hands on what has come of unfinished lines.
    pub(super) fn finish(&mut self) {
        for (stream, rest) in [
            (LogStream::Stdout, std::mem::take(&mut self.stdout)),
            (LogStream::Stderr, std::mem::take(&mut self.stderr)),
        ] {
            if !rest.is_empty() {
                self.line(stream, &rest);
            }
        }
    }

    /// Hands on a line that the daemon says about itself.
    pub(super) fn say(&self, text: &str) {
        self.log.write(LogStream::System, text);
    }

    /// The instruction that is being executed, such as `RUN make`.
    pub(super) fn step(&self) -> &str {
        &self.step
    }

    /// The last lines that the step wrote, on one line.
    pub(super) fn last_lines(&self) -> Option<String> {
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join(" / "))
    }

    fn line(&mut self, stream: LogStream, line: &str) {
        let line = strip_escapes(line.trim_end_matches(['\n', '\r']));
        if let Some(step) = instruction(&line) {
            self.step = step.to_owned();
            self.last.clear();
        } else if !line.trim().is_empty() && !line.starts_with(" --->") && !line.starts_with("Removing intermediate") {
            if self.last.len() == KEPT {
                self.last.pop_front();
            }
            self.last.push_back(line.trim().chars().take(LONGEST_KEPT).collect());
        }
        self.log.write(stream, &line);
    }
}

/// Where the first line of the text ends, with its line end.
fn line_end(text: &str) -> Option<usize> {
    let end = text.find('\n').map(|at| at + 1);
    if end.unwrap_or(text.len()) <= LONGEST_LINE {
        return end;
    }
    (0..=LONGEST_LINE).rev().find(|at| text.is_char_boundary(*at))
}

/// The instruction in a line such as `Step 2/5 : RUN make`.
fn instruction(line: &str) -> Option<&str> {
    let (numbers, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (number, count) = numbers.split_once('/')?;
    (number.parse::<u32>().is_ok() && count.parse::<u32>().is_ok()).then_some(instruction)
}

/// The text without what moves a terminal's cursor, colours or renames it.
fn strip_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // A control sequence ends with the first character from `@` to `~`.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // A command for the terminal ends with a bell or with `ESC \`.
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(LogStream, String)>>);

    impl LogSink for Lines {
        fn write(&self, stream: LogStream, text: &str) {
            self.0.lock().unwrap().push((stream, text.to_owned()));
        }
    }

    fn lines(pieces: &[&str]) -> Vec<(LogStream, String)> {
        let lines = Lines::default();
        let mut output = Output::new(&lines);
        pieces.iter().for_each(|piece| output.push(piece));
        output.finish();
        lines.0.into_inner().unwrap()
    }

    #[test]
    fn pieces_become_lines_of_their_stream() {
        let (out, err) = (LogStream::Stdout, LogStream::Stderr);
        let said = lines(&["a", "b\nc\n", "\u{1b}[91mwrong\u{1b}[0m", "d", "\u{1b}[91m here\n\u{1b}[0m", "e\r\n"]);
        let expected = [(out, "ab"), (out, "c"), (err, "wrong here"), (out, "de")];
        assert_eq!(said, expected.map(|(stream, text)| (stream, text.to_owned())));
    }

    #[test]
    fn no_escape_sequence_is_left() {
        let said = lines(&["\u{1b}[1;32mok\u{1b}[0m\t\u{1b}]0;title\u{7}x\u{8}\u{1b}\n"]);
        assert_eq!(said[0].1, "ok\tx");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let said = lines(&["é".repeat(LONGEST_LINE).as_str()]);
        assert_eq!(said.iter().map(|(_, text)| text.len()).sum::<usize>(), 2 * LONGEST_LINE);
        assert!(said.iter().all(|(_, text)| text.len() <= LONGEST_LINE));
    }

    #[test]
    fn the_step_and_its_last_words_are_known() {
        let lines = Lines::default();
        let mut output = Output::new(&lines);
        for piece in [
            "Step 1/2 : FROM scratch\n",
            " ---> \n",
            "Step 2/2 : RUN make\n",
            " ---> Running in 0123456789ab\n",
            "one\ntwo\n\nthree\n",
            "\u{1b}[91mmake: *** [all] Error 1\n\u{1b}[0m",
        ] {
            output.push(piece);
        }
        assert_eq!(output.step(), "RUN make");
        assert_eq!(output.last_lines().as_deref(), Some("two / three / make: *** [all] Error 1"));
        output.push("Step x/y : RUN fake\n ---> Running in ../../etc\n");
        assert_eq!(output.step(), "RUN make");
    }
}
