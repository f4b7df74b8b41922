//! What differs between two releases of an app, in words; never a value of a
//! variable.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{App, EnvKey};

/// One thing that differs between two releases of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
#[non_exhaustive]
pub enum Change {
    /// A variable was not there before.
    VariableAdded {
        /// Its name.
        key: EnvKey,
    },
    /// A variable is not there any more.
    VariableRemoved {
        /// Its name.
        key: EnvKey,
    },
    /// A variable has another value.
    VariableChanged {
        /// Its name.
        key: EnvKey,
    },
    /// Something else that is said about the app is different.
    Field {
        /// Its name, as in the app's JSON.
        field: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VariableAdded { key } => write!(f, "variable `{key}` is new"),
            Self::VariableRemoved { key } => write!(f, "variable `{key}` is gone"),
            Self::VariableChanged { key } => write!(f, "variable `{key}` has another value"),
            Self::Field { field } => write!(f, "`{field}` is different"),
        }
    }
}

impl App {
    /// What is different in this release from `before`, in the order of the fields.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            name: _,
            source,
            domains,
            port,
            env,
            resources,
            health,
            command,
            dockerfile,
            replicas,
            timing,
            supersede,
            approval,
            bake,
            liveness,
            hooks,
            environment,
            canary,
        } = self;
        let mut changes = Vec::new();
        let mut field = |name: &str, differs: bool| {
            if differs {
                changes.push(Change::Field { field: name.to_owned() });
            }
        };
        field("source", *source != before.source);
        field("domains", *domains != before.domains);
        field("port", *port != before.port);
        field("resources", *resources != before.resources);
        field("health", *health != before.health);
        field("command", *command != before.command);
        field("dockerfile", *dockerfile != before.dockerfile);
        field("replicas", *replicas != before.replicas);
        field("timing", *timing != before.timing);
        field("supersede", *supersede != before.supersede);
        field("approval", *approval != before.approval);
        field("bake", *bake != before.bake);
        field("liveness", *liveness != before.liveness);
        field("hooks", *hooks != before.hooks);
        field("environment", *environment != before.environment);
        field("canary", *canary != before.canary);
        let keys: BTreeSet<&EnvKey> = env.iter().chain(before.env.iter()).map(|(key, _)| key).collect();
        for key in keys {
            let find = |app: &Self| app.env.iter().find(|(known, _)| *known == key).map(|(_, value)| value.clone());
            let key = key.clone();
            match (find(before), find(self)) {
                (None, Some(_)) => changes.push(Change::VariableAdded { key }),
                (Some(_), None) => changes.push(Change::VariableRemoved { key }),
                (Some(old), Some(new)) if old != new => changes.push(Change::VariableChanged { key }),
                _ => {}
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn names_what_differs_and_shows_no_value() {
        let before = App::new("shop", Source::image("shop:1").unwrap()).unwrap();
        let before = before.with_env("OLD", "one").unwrap().with_env("KEPT", "secret-a").unwrap();
        let mut after = App::new("shop", Source::image("shop:2").unwrap()).unwrap().with_port(9000);
        after = after.with_env("KEPT", "secret-b").unwrap().with_env("NEW", "two").unwrap();
        let told: Vec<String> = after.changes_since(&before).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`source` is different",
                "`port` is different",
                "variable `KEPT` has another value",
                "variable `NEW` is new",
                "variable `OLD` is gone"
            ]
        );
        assert_eq!(after.changes_since(&after), []);
    }
}
