//! `BranchPattern`: which branches an environment is for.

use crate::app::{BranchName, checked_text, excerpt};
use crate::{Error, Result};

checked_text! {
    /// A branch's name, or one with one `*` in it, which stands for any number
    /// of any characters, `/` among them: `main`, `release/*`, `*-rc`, `fix/*-v2`, `*`.
    ///
    /// ```
    /// use quark_core::project::BranchPattern;
    /// let releases = BranchPattern::parse("release/*")?;
    /// assert!(releases.matches(&"release/1.2".parse()?));
    /// assert!(!releases.matches(&"main".parse()?));
    /// # Ok::<(), quark_core::Error>(())
    /// ```
    BranchPattern, check
}

fn check(text: &str) -> Result<String> {
    let stars = text.bytes().filter(|b| *b == b'*').count();
    // `*` may be nothing or anything: what stands beside it must be able to be a branch's.
    let can_match = stars <= 1 && BranchName::parse(text.replace('*', "x")).is_ok();
    if can_match && !text.starts_with("*.lock") {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("branches", "invalid_branch_pattern", format!("`{}` is no pattern of branches", excerpt(text)))
        .with_hint("give a branch's name, or one with one `*`, such as `release/*`"))
}

impl BranchPattern {
    /// What stands before and after the `*`; `None` if it is one branch.
    fn parts(&self) -> Option<(&str, &str)> {
        self.as_str().split_once('*')
    }

    /// The one branch that it is, if it is one.
    #[must_use]
    pub fn exact(&self) -> Option<BranchName> {
        if self.parts().is_some() {
            return None;
        }
        BranchName::parse(self.as_str()).ok()
    }

    /// Whether it is for this branch.
    #[must_use]
    pub fn matches(&self, branch: &BranchName) -> bool {
        self.matches_text(branch.as_str())
    }

    fn matches_text(&self, text: &str) -> bool {
        let Some((before, after)) = self.parts() else { return self.as_str() == text };
        // The two must not share letters.
        text.len() >= before.len() + after.len() && text.starts_with(before) && text.ends_with(after)
    }

    /// Whether it is for every branch that `other` is for.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self.parts(), other.parts()) {
            (Some((before, after)), Some((other_before, other_after))) => {
                other_before.starts_with(before) && other_after.ends_with(after)
            }
            // Any number of branches is more than one.
            (None, Some(_)) => false,
            (_, None) => self.matches_text(other.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> BranchPattern {
        BranchPattern::parse(text).unwrap()
    }

    fn branch(text: &str) -> BranchName {
        BranchName::parse(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (text, yes, no) in [
            ("main", "main", "mainx"),
            ("*", "a/b/c", ""),
            ("release/*", "release/1.x", "release"),
            ("*-rc", "v2/a-rc", "a-rc2"),
            ("fix/*-v2", "fix/a/b-v2", "fix/a-v1"),
        ] {
            assert!(pattern(text).matches(&branch(yes)), "{text} {yes}");
            assert!(no.is_empty() || !pattern(text).matches(&branch(no)), "{text} {no}");
        }
        // Before and after must not overlap.
        assert!(!pattern("ab*ba").matches(&branch("aba")));
    }

    #[test]
    fn refuses_what_no_branch_can_match() {
        for bad in ["", "**", "a*b*", "-a", "a b", "a..*", "/*", "*/", "$(id)", "[a]*", "a?"] {
            let error = BranchPattern::parse(bad).unwrap_err();
            assert_eq!((error.code(), error.field()), ("invalid_branch_pattern", Some("branches")), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_covers_matches_at_least_as_much(
            one in "[ab]{0,2}\\*?[ab]{0,2}", other in "[ab]{0,2}\\*?[ab]{0,2}", text in "[ab]{1,6}",
        ) {
            let (Ok(one), Ok(other)) = (BranchPattern::parse(one), BranchPattern::parse(other)) else { return Ok(()) };
            if one.covers(&other) && other.matches(&branch(&text)) {
                prop_assert!(one.matches(&branch(&text)), "{one} {other} {text}");
            }
        }
    }
}
