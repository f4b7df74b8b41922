//! What an image builder must come with to be tested.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::app::{Artifact, CommitSha, RelativePath};
use crate::backend::ImageBuilder;
use crate::conformance::CaseResult;

/// An image builder under test, and the world around it.
#[async_trait]
pub trait BuilderFixture: Send + Sync {
    /// The builder. The same object each time.
    fn builder(&self) -> Arc<dyn ImageBuilder>;

    /// Another object for the same artifacts, as another engine would have it.
    async fn another(&self) -> Arc<dyn ImageBuilder>;

    /// A source tree to build, each time another commit. `None` if this builder
    /// cannot meet one of that kind, and the fixture says why.
    ///
    /// # Errors
    ///
    /// Why it could not be made.
    async fn sample(&self, kind: SourceKind) -> CaseResult<Option<Sample>>;

    /// Whether an artifact holds this text somewhere.
    ///
    /// # Errors
    ///
    /// Why it could not be looked into.
    async fn holds(&self, artifact: &Artifact, text: &str) -> CaseResult<bool>;

    /// What builds have left lying about: processes, containers, folders,
    /// images without a name. Artifacts of successful builds are none.
    ///
    /// # Errors
    ///
    /// Why it could not be found out.
    async fn leftovers(&self) -> CaseResult<Vec<String>>;
}

/// A source tree to build.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its commit.
    pub commit: CommitSha,
    /// Where it lies.
    pub source: PathBuf,
    /// The Dockerfile in it, for builders that use one.
    pub dockerfile: RelativePath,
}

/// What happens when a tree is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// It becomes an artifact.
    Builds,
    /// The build fails by the fault of the source.
    Fails,
    /// The build prints a line, starts further processes, and never ends.
    NeverEnds,
    /// A symbolic link `leak` in the tree points to a file outside that holds
    /// this text. The build copies what `leak` names into the artifact and
    /// prints it.
    LinksOutside {
        /// What must not be read.
        text: String,
    },
}
