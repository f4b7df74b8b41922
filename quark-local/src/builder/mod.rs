//! `LocalBuilder`: turns a source tree into a folder that can be started.

mod plan;
mod procfile;
mod run;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quark_core::app::Artifact;
use quark_core::backend::{BuildKey, BuildRequest, Call, ImageBuilder, LogSink};
use quark_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::config::LocalConfig;
use crate::image::{ImageFolder, Images};
use crate::system::family::Family;
use crate::system::files::{private_dir, remove_dir, remove_file};
use crate::system::lock::FolderLock;
use crate::system::mark::{self, Mark};
use crate::system::{blocking, require_proc};

/// From the polite signal to the kill for what a build has started.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for another engine that is at the same build.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often to look whether it has gone away: there is no event for it.
const PAUSE: Duration = Duration::from_millis(20);

/// Builds images in folders of this machine, by what `quark.toml` or
/// `Procfile` of the source says; the front page of this crate describes both.
///
/// A build runs where the image will lie, so that paths which it writes into
/// files (as Python's virtual environments do) stay right. Until the build has
/// succeeded the folder is not an image.
///
/// Build commands run as the user of the engine and can do what this user can:
/// build only sources that you trust.
#[derive(Clone, Debug)]
pub struct LocalBuilder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: LocalConfig,
    images: Images,
}

impl LocalBuilder {
    /// Opens the images of an installation, making the folders for them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] without `/proc`, [`ErrorKind::InvalidConfig`],
    /// [`ErrorKind::PermissionDenied`] and [`ErrorKind::Unavailable`] if a folder cannot be made.
    pub fn open(config: LocalConfig) -> Result<Self> {
        require_proc()?;
        let config = config.prepared()?;
        let images = Images::in_state(config.state_dir());
        private_dir(images.folder())?;
        Ok(Self { inner: Arc::new(Inner { config, images }) })
    }

    fn family(&self, key: &BuildKey) -> Family {
        let mark = Mark::new(mark::BUILD, key.as_str(), self.inner.config.state_dir());
        Family { mark, leader: None, output: Vec::new() }
    }

    /// Ends what an interrupted build has left and takes its place. `None` if
    /// there is a finished image.
    async fn clear(&self, key: &BuildKey) -> Result<Option<FolderLock>> {
        let family = self.family(key);
        let folder = self.inner.images.of_key(key);
        let deadline = Instant::now() + LONGEST_WAIT;
        loop {
            // An engine that was taken over may be at it still. Its build fails
            // when its processes are ended, and it gives the folder back.
            family.end(PATIENCE).await?;
            if read(&folder).await?.is_some() {
                return Ok(None);
            }
            if let Some(lock) = FolderLock::take_if_free(folder.path().to_owned()).await? {
                if read(&folder).await?.is_some() {
                    return Ok(None);
                }
                let tree = folder.tree();
                blocking(move || remove_dir(&tree)).await?;
                return Ok(Some(lock));
            }
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::Unavailable, "another engine is building the same image")
                    .with_code("build_in_progress"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn read(folder: &ImageFolder) -> Result<Option<Artifact>> {
    let folder = folder.clone();
    blocking(move || Ok(folder.read()?.map(|image| image.artifact()))).await
}

/// Removes the folder of a build that has not succeeded. `_lock` is its lock.
async fn remove(folder: &ImageFolder, _lock: &FolderLock) -> Result<()> {
    let folder = folder.clone();
    blocking(move || {
        remove_file(&folder.note())?;
        remove_dir(folder.path())
    })
    .await
}

#[async_trait]
impl ImageBuilder for LocalBuilder {
    async fn find(&self, key: &BuildKey) -> Result<Option<Artifact>> {
        read(&self.inner.images.of_key(key)).await
    }

    async fn build(&self, call: &Call, request: BuildRequest<'_>, log: &dyn LogSink) -> Result<Artifact> {
        let begun = Instant::now();
        let folder = self.inner.images.of_key(request.key);
        let cleared = call.bound("builder.build", self.clear(request.key)).await?;
        let Some(lock) = cleared else {
            // Somebody else has built it meanwhile.
            let built = read(&folder).await?;
            return built.ok_or_else(|| Error::new(ErrorKind::Unavailable, "the image was removed while it was used"));
        };
        let family = self.family(request.key);
        let built = run::Build { config: &self.inner.config, folder: &folder, family: &family, call, log, begun }
            .run(&request)
            .await;
        // Also what has left the group of its command, such as a daemon that a
        // build tool keeps for the next time.
        let ended = family.end(PATIENCE).await;
        match built {
            Ok(artifact) => ended.map(|_| artifact),
            Err(error) => {
                if let Err(left) = ended.and(remove(&folder, &lock).await) {
                    // The failure of the build is what matters; the next build
                    // or `discard` clears what is left.
                    tracing::warn!(key = request.key.as_str(), error = %left, "a failed build has left something");
                }
                Err(error)
            }
        }
    }

    async fn discard(&self, key: &BuildKey) -> Result<()> {
        match self.clear(key).await? {
            Some(lock) => remove(&self.inner.images.of_key(key), &lock).await,
            None => Ok(()),
        }
    }
}
