//! Variables on the wire, whose values are never shown.

use std::collections::BTreeMap;
use std::fmt;

use quark_core::{EnvKey, EnvVars, Result, Secret};
use serde::{Deserialize, Serialize};

/// Variables by name. `Debug` shows their names only.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariablesBody(BTreeMap<String, String>);

impl VariablesBody {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The variables that are meant.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](quark_core::ErrorKind::InvalidInput) if a name or a value is not acceptable; the
    /// value is not told.
    pub fn into_vars(self) -> Result<EnvVars> {
        let mut vars = EnvVars::new();
        for (key, value) in self.0 {
            vars.set(EnvKey::parse(&key)?, Secret::new(value))?;
        }
        Ok(vars)
    }
}

impl From<BTreeMap<String, String>> for VariablesBody {
    fn from(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }
}

impl fmt::Debug for VariablesBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_shown() {
        let body: VariablesBody = serde_json::from_str(r#"{"TOKEN": "hunter2"}"#).unwrap();
        assert_eq!(format!("{body:?}"), r#"{"TOKEN"}"#);
        assert_eq!(serde_json::to_string(&body).unwrap(), r#"{"TOKEN":"hunter2"}"#);
    }
}
