//! `Trace`: what happened, line by line, and a hash of all of it.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Lines that are kept for the report of a run that failed.
const KEPT: usize = 200;

/// What happened, line by line. All lines go into the hash, the last ones are kept.
pub(crate) struct Trace {
    hash: Sha256,
    lines: VecDeque<String>,
    kept: usize,
    /// The line that is being written, and those that wait to be hashed at once.
    line: String,
    unhashed: String,
}

impl Trace {
    /// An empty trace; with `all` every line is kept.
    pub(crate) fn new(all: bool) -> Self {
        Self {
            hash: Sha256::new(),
            lines: VecDeque::new(),
            kept: if all { usize::MAX } else { KEPT },
            line: String::new(),
            unhashed: String::new(),
        }
    }

    /// Writes a line about `who`. `polls` is part of the hash: two runs that
    /// did the same in another order are not the same.
    pub(crate) fn write(&mut self, at: Duration, polls: u64, who: &str, what: fmt::Arguments<'_>) {
        self.format(at, polls, who, what);
        self.unhashed.push_str(&self.line);
        self.unhashed.push('\n');
        if self.unhashed.len() > 8192 {
            self.hash.update(self.unhashed.as_bytes());
            self.unhashed.clear();
        }
        self.keep();
    }

    /// Writes a line that is no part of the hash, where every line is kept.
    pub(crate) fn remark(&mut self, at: Duration, polls: u64, who: &str, what: fmt::Arguments<'_>) {
        if self.kept == usize::MAX {
            self.format(at, polls, who, what);
            self.keep();
        }
    }

    fn format(&mut self, at: Duration, polls: u64, who: &str, what: fmt::Arguments<'_>) {
        self.line.clear();
        let (seconds, micros) = (at.as_secs(), at.subsec_micros());
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{seconds:>5}.{micros:06} {polls:>6} {who:<6} {what}");
    }

    fn keep(&mut self) {
        // The string of the oldest line is used again.
        let mut kept = if self.lines.len() >= self.kept { self.lines.pop_front() } else { None }.unwrap_or_default();
        kept.clone_from(&self.line);
        self.lines.push_back(kept);
    }

    /// The hash of all lines, and the lines that were kept.
    pub(crate) fn finish(&mut self) -> ([u8; 32], Vec<String>) {
        self.hash.update(self.unhashed.as_bytes());
        self.unhashed.clear();
        (self.hash.clone().finalize().into(), std::mem::take(&mut self.lines).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_of_all_lines_also_of_those_that_were_not_kept() {
        let written = |first: u32| {
            let mut trace = Trace::new(false);
            for number in first..first + 300 {
                trace.write(Duration::from_millis(1500), 7, "e1", format_args!("line {}", number.max(2)));
            }
            trace.finish()
        };
        let (hash, lines) = written(1);
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines.last().map(String::as_str), Some("    1.500000      7 e1     line 300"));
        assert_eq!(hash, written(1).0);
        assert_ne!(hash, written(3).0);
    }
}
