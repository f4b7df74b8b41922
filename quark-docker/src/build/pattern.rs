//! One pattern of a `.dockerignore` file.
//!
//! The meaning is the one that Docker gives it: `*` and `?` match anything but
//! `/`, `**` any number of folders, `[a-z]` and `[^a-z]` one character, and `\`
//! takes the next character as it is.

use std::iter::Peekable;
use std::str::Chars;

/// A pattern that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// `**` and then plain text: any path that ends with the text.
    Suffix(String),
    /// All else.
    Pieces(Vec<Piece>),
}

/// What one piece of a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// This character.
    Char(char),
    /// One character but `/`.
    One,
    /// Any number of characters but `/`.
    Many,
    /// Nothing, or anything that ends with `/`.
    Folders,
    /// Anything.
    Rest,
    /// One character that is, or is not, in one of these ranges.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A pattern that means nothing, such as `[` without `]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Pattern {
    /// Reads a pattern that has neither `!` nor surplus slashes any more.
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(rest) = text.strip_prefix("**")
            && !rest.contains(['*', '?', '[', ']', '\\'])
        {
            return Ok(Self(Shape::Suffix(rest.to_owned())));
        }
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            pieces.push(match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() { Piece::Rest } else { Piece::Folders }
                }
                '*' => Piece::Many,
                '?' => Piece::One,
                '[' => class(&mut chars)?,
                '\\' => Piece::Char(chars.next().ok_or(Malformed)?),
                c => Piece::Char(c),
            });
        }
        Ok(Self(Shape::Pieces(pieces)))
    }

    /// Whether the whole of `path` matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        match &self.0 {
            Shape::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Shape::Pieces(pieces) => matches(pieces, path),
        }
    }
}

/// Reads the inside of `[…]`. `-` and `]` stand for themselves only after `\`.
fn class(chars: &mut Peekable<Chars<'_>>) -> Result<Piece, Malformed> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Ok(Piece::Class { negated, ranges });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if low > high {
            return Err(Malformed);
        }
        ranges.push((low, high));
    }
}

fn member(chars: &mut Peekable<Chars<'_>>) -> Result<char, Malformed> {
    match chars.next() {
        None | Some('-' | ']') => Err(Malformed),
        Some('\\') => chars.next().ok_or(Malformed),
        Some(c) => Ok(c),
    }
}

/// Works from the end of the pattern to its start, so that no pattern takes
/// longer than the product of both lengths.
fn matches(pieces: &[Piece], path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    // `rest[at]`: the pieces seen so far match the path from `at` to its end.
    let mut rest = vec![false; path.len()];
    rest.push(true);
    for piece in pieces.iter().rev() {
        rest = piece.before(&path, &rest);
    }
    rest.first().copied().unwrap_or_default()
}

impl Piece {
    /// Where this piece, followed by what matches at `rest`, matches.
    fn before(&self, path: &[char], rest: &[bool]) -> Vec<bool> {
        let matches_at = |at: usize| rest.get(at).copied().unwrap_or_default();
        let mut found = vec![false; rest.len()];
        // Whether it goes on matching when it takes the character there.
        let mut further = false;
        for (at, slot) in found.iter_mut().enumerate().rev() {
            let c = path.get(at).copied();
            let after = c.is_some() && matches_at(at + 1);
            *slot = match self {
                Self::Char(wanted) => after && c == Some(*wanted),
                Self::One => after && c != Some('/'),
                Self::Class { negated, ranges } => {
                    after && c.is_some_and(|c| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated)
                }
                Self::Many => {
                    further = matches_at(at) || (further && c.is_some() && c != Some('/'));
                    further
                }
                Self::Rest => {
                    further |= matches_at(at);
                    further
                }
                Self::Folders => {
                    further |= after && c == Some('/');
                    further || matches_at(at)
                }
            };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn wildcards_mean_what_docker_says() {
        for (pattern, yes, no) in [
            ("target", &["target"][..], &["targets", "a/target", "target/x"][..]),
            ("*", &["a", ".a", ""], &["a/b"]),
            ("*.md", &["README.md", ".md"], &["docs/a.md", "a.mdx"]),
            ("a*/b", &["a/b", "abc/b"], &["a/c/b", "b"]),
            ("a*b*c*d*e*/f", &["axbxcxdxexxx/f"], &["axbxcxdxe/xxx/f", "axbxcxdxexxx/fff"]),
            ("a?c", &["abc", "a☺c"], &["a/c", "ac", "abbc"]),
            ("a.c", &["a.c"], &["abc"]),
            ("a(b)|{c}+$", &["a(b)|{c}+$"], &["ab"]),
            ("**", &["a", "a/b", "a/b/c"], &[]),
            ("**/**", &["a", "a/b/c"], &[]),
            ("**/x", &["x", "a/x", "a/b/x"], &["ax", "a/bx", "x/a"]),
            ("**x", &["x", "ax", "a/bx"], &["xa"]),
            ("**/*.md", &["a.md", "d/a.md", "d/e/a.md"], &["a.md/b"]),
            ("**/d/*", &["d/f", "a/d/f"], &["d/e/f", "d"]),
            ("**/d/**", &["d/e/f", "a/d/f"], &["d", "ad/f"]),
            ("d/**", &["d/f", "d/e/f"], &["d", "de/f"]),
            ("d**", &["d", "de/f"], &["a/d"]),
            ("a**/*.txt", &["a/f.txt", "a/b/f.txt"], &["b/f.txt"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab"]),
            ("**/**/*.txt", &["f.txt", "a/b/f.txt"], &["f.txt2"]),
            ("a[b-d]e", &["ace"], &["ae", "aae"]),
            ("a[^b-d]e", &["aze"], &["ace"]),
            ("[a-ζ]*", &["α"], &[]),
            (r"a\*b", &["a*b"], &["axb"]),
            (r"[\]a]", &["]", "a"], &["b"]),
            (r"[x\-]", &["x", "-"], &["z"]),
            ("a]", &["a]"], &["a"]),
        ] {
            for path in yes {
                assert!(matches(pattern, path), "`{pattern}` must match `{path}`");
            }
            for path in no {
                assert!(!matches(pattern, path), "`{pattern}` must not match `{path}`");
            }
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for bad in ["[", "[^", "[^bc", "a[", "[]a]", "[-x]", "[x-]", "[a-b-c]", "[z-a]", r"a\"] {
            assert_eq!(Pattern::parse(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(!matches(&format!("{}b", "**/a".repeat(100)), &"a/".repeat(500)));
    }
}
