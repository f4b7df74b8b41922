//! `Domain`: a host name that an app answers to.

use super::checked::{checked_text, excerpt};
use super::name::AppName;
use crate::{Error, Result};

checked_text! {
    /// A host name in lower case, without port, scheme or trailing dot.
    ///
    /// Letters, digits and `-` in labels of at most 63 characters, 253 in all
    /// (RFC 1123 section 2.1, RFC 1035 section 2.3.4). Names in other scripts
    /// are given in their `xn--` form. It is written into proxy configurations,
    /// so nothing else is let through.
    Domain, check
}

impl Domain {
    /// The name that every machine gives to itself (RFC 6761, section 6.3).
    #[must_use]
    pub fn localhost() -> Self {
        Self("localhost".to_owned())
    }

    /// The name of an app below this one.
    #[must_use]
    pub fn subdomain(&self, app: &AppName) -> Self {
        Self(format!("{app}.{}", self.0))
    }

    /// Whether this name lies below `base`.
    #[must_use]
    pub fn is_below(&self, base: &Self) -> bool {
        self.0.strip_suffix(base.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

fn check(text: &str) -> Result<String> {
    let refuse = |why: &str| {
        Err(Error::invalid("app.domains", "invalid_domain", format!("`{}` is not a host name: {why}", excerpt(text)))
            .with_hint("give a plain name such as `shop.example.com`, without scheme, port, path or wildcard"))
    };
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() || name.len() > 253 {
        return refuse("it must have 1 to 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return refuse("each part between dots must have 1 to 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse("a part must not start or end with `-`");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return refuse("only letters, digits, `-` and `.` are allowed");
        }
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return refuse("an address is not a name");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_break_out_of_a_configuration() {
        for bad in [
            "evil.test; } server { listen 81;",
            "a.test\n  return 200",
            "a.test#",
            "a.test\"",
            "$host",
            "~.*",
            "_",
            "a..b",
            "-a.test",
            "*.test",
            "http://x.test",
            "a.test:80",
            "127.0.0.1",
            "",
            ".",
        ] {
            assert_eq!(Domain::parse(bad).unwrap_err().code(), "invalid_domain", "{bad:?}");
        }
        assert!(Domain::parse("a.".repeat(130)).is_err());
    }

    #[test]
    fn one_name_has_one_form() {
        assert_eq!(Domain::parse("A.Test.").unwrap().as_str(), "a.test");
    }
}
