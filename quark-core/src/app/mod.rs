//! What is deployed: the checked words that people use to describe an app.
//!
//! Every text that comes from outside has a type of its own here. A value of
//! such a type has been checked, so no backend checks again and none forgets.

mod approval;
mod bake;
mod canary;
mod changes;
mod checked;
mod command;
mod domain;
mod dotenv;
mod env;
mod health;
mod hooks;
mod image;
mod liveness;
mod name;
mod resources;
mod source;
mod spec;
mod watch;

pub use approval::ApprovalPolicy;
pub use bake::BakePolicy;
pub use canary::{CanaryPolicy, CanaryStep};
pub use changes::Change;
pub use command::{Argv, RelativePath};
pub use domain::Domain;
pub use env::{EnvKey, EnvVars, Secret};
pub use health::{HealthCheck, HealthPath};
pub use hooks::{Hook, HookPoint, Hooks};
pub use image::{Artifact, ImageRef};
pub use liveness::{LivenessAction, LivenessPolicy};
pub use name::AppName;
pub use resources::Resources;
pub use source::{BranchName, CommitSha, RepositoryUrl, Source};
pub use spec::{App, Timing};

pub(crate) use checked::{check_note, check_person, checked_text, excerpt};

/// Durations as whole milliseconds, under field names that end in `_ms`.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_millis() as u64)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// The same for one that may be left out.
    pub(crate) mod optional {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer};

        #[allow(clippy::ref_option, reason = "serde asks for this signature")]
        pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => super::serialize(duration, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
        }
    }
}
