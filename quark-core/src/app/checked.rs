//! The shape that all checked text types share.

use crate::{Error, Result};

/// Defines a text type whose values are always checked.
///
/// `$check` gets the text and returns `Result<String>`: the canonical form, or
/// an `InvalidInput` error that names the field. The value is refused in the
/// same way wherever it comes from: Rust, JSON, HTTP or Python.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) with
            /// field and hint if the text is not acceptable.
            pub fn parse(text: impl AsRef<str>) -> crate::Result<Self> {
                $check(text.as_ref()).map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::Error;

            fn from_str(text: &str) -> crate::Result<Self> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = crate::Error;

            fn try_from(text: &str) -> crate::Result<Self> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = crate::Error;

            fn try_from(text: String) -> crate::Result<Self> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

pub(crate) use checked_text;

/// How much of a refused value an error may show: enough to find it, never
/// control characters, never the whole of something huge.
pub(crate) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 48;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Checks what a person says beside the point: no control characters but line
/// ends, at most so many characters.
pub(crate) fn check_note(field: &'static str, text: &str, most: usize) -> Result<()> {
    if text.chars().count() > most {
        return Err(Error::invalid(field, "too_long", format!("at most {most} characters are allowed")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Error::invalid(field, "control_character", "control characters are not allowed"));
    }
    Ok(())
}

/// Checks the name of somebody who wants or answers something. Without spaces
/// around it: two spellings of one person must not pass for two people.
pub(crate) fn check_person(text: &str) -> Result<()> {
    check_note("by", text, 100)?;
    if text.is_empty() || text.trim() != text || text.contains('\n') {
        return Err(Error::invalid("by", "invalid_name", "it must be said who wants this")
            .with_hint("a name of 1 to 100 characters, on one line, without spaces around it"));
    }
    Ok(())
}
