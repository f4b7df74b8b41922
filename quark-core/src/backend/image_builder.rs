//! `ImageBuilder`: turns a source tree into something a runtime can run.

use std::path::Path;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::call::Call;
use super::log_sink::LogSink;
use crate::Result;
use crate::app::{AppName, Artifact, CommitSha, RelativePath};

/// Names the inputs of a build: the same key, the same image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BuildKey(String);

impl BuildKey {
    /// The key of an app's commit, built by one Dockerfile.
    #[must_use]
    pub fn of(app: &AppName, commit: &CommitSha, dockerfile: &RelativePath) -> Self {
        let mut hash = Sha256::new();
        for part in ["quark build 1", app.as_str(), commit.as_str(), dockerfile.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(hex::encode(hash.finalize()))
    }

    /// The key as 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What to build.
#[derive(Clone, Copy, Debug)]
pub struct BuildRequest<'a> {
    /// For which app.
    pub app: &'a AppName,
    /// The inputs, by name.
    pub key: &'a BuildKey,
    /// From which commit.
    pub commit: &'a CommitSha,
    /// The tree, checked out.
    pub source: &'a Path,
    /// The Dockerfile in it, for builders that use one.
    pub dockerfile: &'a RelativePath,
}

/// Turns a source tree into something a runtime can run.
///
/// # Contract
///
/// - After a successful `build`, `find` with the same key yields the same artifact.
/// - `find` of an unknown key, or after a failed build, is `None`.
/// - A failed build is `BuildFailed` and leaves nothing behind.
/// - A cancelled build ends within a second or two and leaves no process behind.
/// - What a build has left whose engine has died is gone after `discard`, also if
///   another engine asks for it.
/// - Nothing outside the source tree is read, also not through symbolic links.
#[async_trait]
pub trait ImageBuilder: std::fmt::Debug + Send + Sync + 'static {
    /// The artifact of an earlier build with the same inputs, if it is still there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>>;

    /// Builds. What an interrupted build with the same key has left is cleared
    /// first. Obeys `call.cancel` and `call.timeout`; must not be dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::BuildFailed`](crate::ErrorKind::BuildFailed) with what went wrong,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the tree says nothing that can be built,
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact>;

    /// Ends what a build with this key, interrupted by the death of its engine,
    /// may have left running or lying about.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
    async fn discard(&self, key: &BuildKey) -> Result<()>;
}
