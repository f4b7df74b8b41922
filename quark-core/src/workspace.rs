//! The engine's own folder: checkouts, and a note of how far the store had come.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::deployment::DeploymentId;
use crate::{Error, ErrorKind, Result};

/// The engine's own folder, of which each installation has a part.
#[async_trait]
pub(crate) trait Workspace: fmt::Debug + Send + Sync + 'static {
    /// Makes the part of an installation ready.
    async fn prepare(&self, installation: &str) -> Result<()>;
    /// Where the source of a deployment is checked out.
    fn checkout(&self, installation: &str, id: DeploymentId) -> PathBuf;
    /// Whether there is such a checkout.
    async fn has_checkout(&self, installation: &str, id: DeploymentId) -> bool;
    /// Removes a checkout. Idempotent.
    async fn discard_checkout(&self, installation: &str, id: DeploymentId) -> Result<()>;
    /// The deployments that have a checkout.
    async fn checkouts(&self, installation: &str) -> Result<Vec<DeploymentId>>;
    /// Notes how far the store has come, outside of the store; never less than
    /// was noted before: engines may share the folder, and one may be slow.
    async fn note_position(&self, installation: &str, position: u64) -> Result<()>;
    /// How far the store had come, as far as it was noted.
    async fn noted_position(&self, installation: &str) -> Result<Option<u64>>;
}

/// A folder on disk. Only its owner can read it: sources are nobody else's business.
#[derive(Clone, Debug)]
pub(crate) struct DiskWorkspace {
    root: PathBuf,
}

impl DiskWorkspace {
    /// Below this folder, which need not exist.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn part(&self, installation: &str) -> PathBuf {
        self.root.join(installation)
    }

    fn note(&self, installation: &str) -> PathBuf {
        self.part(installation).join("store-position")
    }
}

#[async_trait]
impl Workspace for DiskWorkspace {
    async fn prepare(&self, installation: &str) -> Result<()> {
        let mut folder = tokio::fs::DirBuilder::new();
        #[cfg(unix)]
        folder.mode(0o700);
        folder.recursive(true).create(self.part(installation)).await.map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("`{}` cannot be made", self.root.display()))
                .with_hint("give the engine a work folder that it may write to")
                .with_source(error)
        })
    }

    fn checkout(&self, installation: &str, id: DeploymentId) -> PathBuf {
        self.part(installation).join(id.to_string())
    }

    async fn has_checkout(&self, installation: &str, id: DeploymentId) -> bool {
        tokio::fs::try_exists(self.checkout(installation, id)).await.unwrap_or(false)
    }

    async fn discard_checkout(&self, installation: &str, id: DeploymentId) -> Result<()> {
        match tokio::fs::remove_dir_all(self.checkout(installation, id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::new(ErrorKind::Unavailable, "the checkout could not be removed").with_source(error))
            }
            _ => Ok(()),
        }
    }

    async fn checkouts(&self, installation: &str) -> Result<Vec<DeploymentId>> {
        let unreadable =
            |error| Error::new(ErrorKind::Unavailable, "the work folder cannot be read").with_source(error);
        let mut entries = tokio::fs::read_dir(self.part(installation)).await.map_err(unreadable)?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
            // Only what carries the name of a deployment is a checkout.
            found.extend(entry.file_name().to_str().and_then(|name| name.parse::<DeploymentId>().ok()));
        }
        Ok(found)
    }

    async fn note_position(&self, installation: &str, position: u64) -> Result<()> {
        let (folder, note) = (self.part(installation), self.note(installation));
        let written = tokio::task::spawn_blocking(move || write_note(&folder, &note, position)).await;
        written.map_err(io::Error::other).flatten().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the position of the store could not be noted").with_source(error)
        })
    }

    async fn noted_position(&self, installation: &str) -> Result<Option<u64>> {
        match tokio::fs::read_to_string(self.note(installation)).await {
            // A note that cannot be understood says nothing.
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::new(ErrorKind::Unavailable, "the work folder cannot be read").with_source(error)),
        }
    }
}

/// Replaces a note by a higher one. Blocks.
fn write_note(folder: &Path, note: &Path, position: u64) -> io::Result<()> {
    // Held until this returns, or the process dies.
    let lock = File::options().create(true).truncate(false).write(true).open(folder.join(".store-position.lock"))?;
    lock.lock()?;
    let noted = fs::read_to_string(note).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if noted.is_some_and(|noted| noted >= position) {
        return Ok(());
    }
    // Written aside and renamed: a note is whole or it is the one before.
    let aside = folder.join(".store-position");
    fs::write(&aside, format!("{position}\n"))?;
    fs::rename(&aside, note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn checkouts_and_the_note_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = DiskWorkspace::new(folder.path().to_owned());
        let id = DeploymentId::generate();
        workspace.prepare("one").await.unwrap();
        assert_eq!(workspace.noted_position("one").await.unwrap(), None);
        workspace.note_position("one", 41).await.unwrap();
        workspace.note_position("one", 42).await.unwrap();
        workspace.note_position("one", 40).await.unwrap();
        assert!(!workspace.has_checkout("one", id).await);
        tokio::fs::create_dir(workspace.checkout("one", id)).await.unwrap();
        assert_eq!(workspace.checkouts("one").await.unwrap(), [id]);
        workspace.discard_checkout("one", id).await.unwrap();
        workspace.discard_checkout("one", id).await.unwrap();
        assert_eq!(workspace.checkouts("one").await.unwrap(), []);
        assert_eq!(workspace.noted_position("one").await.unwrap(), Some(42));
    }
}
