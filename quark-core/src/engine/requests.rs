//! What an engine can be asked for.

use serde::{Deserialize, Serialize};

use crate::app::{BranchName, CommitSha, EnvKey, EnvVars, ImageRef, Secret};
use crate::deployment::{DeploymentId, IdempotencyKey, Trigger};
use crate::{Error, Result};

/// Which version of an app to deploy: the head of its branch or its image
/// unless something else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployRequest {
    /// Another branch than the app's.
    pub branch: Option<BranchName>,
    /// This very commit.
    pub commit: Option<CommitSha>,
    /// Another image than the app's.
    pub image: Option<ImageRef>,
    /// Who wants it, for the record; `engine` if nobody is named.
    pub by: Option<String>,
    /// What made them want it.
    pub trigger: Trigger,
    /// Names the wish, so that it can be repeated: the same key of the same app
    /// gets the deployment that it got the first time.
    pub key: Option<IdempotencyKey>,
    /// Variables of this deployment alone, besides and instead of the app's. A
    /// rollback to it brings them back.
    #[serde(skip_serializing_if = "EnvVars::is_empty")]
    pub env: EnvVars,
}

impl DeployRequest {
    /// A deployment of this very commit.
    #[must_use]
    pub fn commit(commit: CommitSha) -> Self {
        Self { commit: Some(commit), ..Self::default() }
    }

    /// A deployment of a commit that was pushed. `key` names the push: the hash
    /// of what was delivered, say, so that a second delivery changes nothing. It
    /// deploys the head of its branch, if that is newer; it fails
    /// (`rolled_back`) if people have gone back from that commit with the
    /// settings that the app has.
    #[must_use]
    pub fn push(commit: CommitSha, key: IdempotencyKey) -> Self {
        Self { trigger: Trigger::Push, key: Some(key), ..Self::commit(commit) }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.trigger == Trigger::Unwell {
            let text = "only the engine itself wants something because what is live is not well";
            return Err(Error::invalid("trigger", "invalid_trigger", text));
        }
        Ok(())
    }

    /// The same wish with a variable of its own, besides and instead of the app's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if name or value are not acceptable.
    pub fn with_env(mut self, key: &str, value: impl Into<String>) -> Result<Self> {
        self.env.set(EnvKey::parse(key)?, Secret::new(value))?;
        Ok(self)
    }

    /// The same wish under a key.
    #[must_use]
    pub fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.key = Some(key);
        self
    }
}

/// Which earlier deployment to bring back: the one before the live one unless
/// another is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackRequest {
    /// This deployment.
    pub to: Option<DeploymentId>,
    /// Who wants it, for the record; `engine` if nobody is named.
    pub by: Option<String>,
    /// Names the wish, as in [`DeployRequest::key`].
    pub key: Option<IdempotencyKey>,
}
