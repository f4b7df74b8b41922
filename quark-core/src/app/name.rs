//! `AppName`: what an app is called everywhere.

use super::checked::{checked_text, excerpt};
use crate::{Error, Result};

checked_text! {
    /// The name of an app: a DNS label of at most 40 characters.
    ///
    /// It becomes part of container names, host names, file names and log
    /// lines; a DNS label (RFC 1123, section 2.1) is safe in all of them.
    ///
    /// ```
    /// use quark_core::AppName;
    /// assert!(AppName::parse("shop").is_ok());
    /// assert_eq!(AppName::parse("../../etc").unwrap_err().code(), "invalid_app_name");
    /// ```
    AppName, check
}

const LONGEST: usize = 40;

fn check(text: &str) -> Result<String> {
    let inner_ok = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let starts_ok = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if inner_ok && starts_ok && !text.ends_with('-') && text.len() <= LONGEST {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("app.name", "invalid_app_name", format!("`{}` is not an app name", excerpt(text)))
        .with_hint("use 1 to 40 of a-z, 0-9 and `-`, starting with a letter and not ending with `-`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_label() {
        for bad in ["", "-rf", "A", "a b", "$(id)", "a|b", "../x", "аpp", "app\u{200b}", "a-", "1a", "a.b", "a\n"] {
            let error = AppName::parse(bad).unwrap_err();
            assert_eq!((error.code(), error.field()), ("invalid_app_name", Some("app.name")), "{bad:?}");
        }
        assert!(AppName::parse("a".repeat(41)).is_err());
        assert!(AppName::parse("a".repeat(40)).is_ok());
    }

    #[test]
    fn json_is_checked_too() {
        assert!(serde_json::from_str::<AppName>("\"shop\"").is_ok());
        assert!(serde_json::from_str::<AppName>("\"a;b\"").is_err());
    }
}
