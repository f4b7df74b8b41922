//! Environment variables and secrets.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::checked::{checked_text, excerpt};
use crate::{Error, Result};

checked_text! {
    /// The name of an environment variable: a letter or `_`, then letters,
    /// digits and `_` (POSIX.1-2017 XBD 8.1), at most 256 characters.
    EnvKey, check_key
}

fn check_key(text: &str) -> Result<String> {
    let mut bytes = text.bytes();
    let first_ok = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first_ok && text.len() <= 256 && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(text.to_owned());
    }
    Err(Error::invalid("app.env", "invalid_env_key", format!("`{}` is not a variable name", excerpt(text)))
        .with_hint("use letters, digits and `_`, not starting with a digit"))
}

/// Text that must not be seen: it has no `Display`, its `Debug` is `***`, it
/// cannot be serialised by itself, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The variables that an app gets, by name. Values are treated as secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvVars(BTreeMap<EnvKey, Secret>);

impl EnvVars {
    /// The most variables an app may have.
    pub const MOST: usize = 500;
    /// The longest value, in bytes.
    pub const LONGEST_VALUE: usize = 64 * 1024;

    /// No variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one variable; a second value for a name replaces the first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the value has a NUL byte or is too
    /// long, or if there are too many variables. The value is not echoed.
    pub fn set(&mut self, key: EnvKey, value: Secret) -> Result<()> {
        let refuse = |code, why: &str| Err(Error::invalid("app.env", code, format!("the value of `{key}` {why}")));
        if value.expose().contains('\0') {
            return refuse("invalid_env_value", "holds a NUL byte");
        }
        if value.expose().len() > Self::LONGEST_VALUE {
            return refuse("env_too_large", "is longer than 64 KiB");
        }
        if self.0.len() >= Self::MOST && !self.0.contains_key(&key) {
            return refuse("too_many_env", "would be one variable too many (500 are allowed)");
        }
        self.0.insert(key, value);
        Ok(())
    }

    /// Sets a variable that nobody has set, however many there are.
    pub(crate) fn set_default(&mut self, key: EnvKey, value: Secret) {
        self.0.entry(key).or_insert(value);
    }

    /// The variables in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&EnvKey, &Secret)> {
        self.0.iter()
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &EnvKey> {
        self.0.keys()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// Stores keep the variables with the release that they belong to, so that a
// rollback gets the values of then. This is the only way a value is written.
impl Serialize for EnvVars {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value.expose())))
    }
}

impl<'de> Deserialize<'de> for EnvVars {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = BTreeMap::<EnvKey, String>::deserialize(deserializer)?;
        let mut vars = Self::new();
        for (key, value) in raw {
            vars.set(key, Secret::new(value)).map_err(serde::de::Error::custom)?;
        }
        Ok(vars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_keys_that_are_not_names() {
        for bad in ["A=B", "A\nB", "1A", "", "A-B", "A B"] {
            assert_eq!(EnvKey::parse(bad).unwrap_err().code(), "invalid_env_key", "{bad:?}");
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let mut vars = EnvVars::new();
        vars.set(EnvKey::parse("TOKEN").unwrap(), Secret::new("hunter2")).unwrap();
        assert!(!format!("{vars:?}").contains("hunter2"));
        let error = vars.set(EnvKey::parse("T").unwrap(), Secret::new("hunter2\0")).unwrap_err();
        assert!(!format!("{error:?}{}", error.report()).contains("hunter2"));
    }

    #[test]
    fn a_newline_in_a_value_makes_no_second_variable() {
        let mut vars = EnvVars::new();
        vars.set(EnvKey::parse("A").unwrap(), Secret::new("x\nADMIN=1")).unwrap();
        assert_eq!(vars.keys().count(), 1);
    }
}
