//! What an engine can be asked for.

use serde::{Deserialize, Serialize};

use crate::app::{BranchName, CommitSha, ImageRef};
use crate::deployment::DeploymentId;

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
}

impl DeployRequest {
    /// A deployment of this very commit.
    #[must_use]
    pub fn commit(commit: CommitSha) -> Self {
        Self { commit: Some(commit), ..Self::default() }
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
}
