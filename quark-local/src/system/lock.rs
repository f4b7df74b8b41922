//! `FolderLock`: one at a time, also across engines.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quark_core::Result;

use super::blocking;
use super::files::{failed, is_absent};

/// How long to wait before a lock is tried again: there is no event for it.
const PAUSE: Duration = Duration::from_millis(10);

/// The right to change what is in a folder, held until the last copy is
/// dropped. The operating system takes it back when an engine dies.
#[derive(Clone, Debug)]
pub(crate) struct FolderLock {
    // Kept for its lock only.
    _folder: Arc<File>,
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    Make,
    Leave,
}

impl FolderLock {
    /// Takes the lock if it is free. `Ok(None)` if it is not.
    fn try_take(path: &Path, absent: Absent) -> Result<Option<Attempt>> {
        if absent == Absent::Make {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("made", path, error)),
                _ => {}
            }
        }
        let opened = File::open(path);
        let folder = match opened {
            Ok(folder) => folder,
            Err(error) if is_absent(&error) => {
                return Ok((absent == Absent::Leave).then_some(Attempt::Absent));
            }
            Err(error) => return Err(failed("opened", path, error)),
        };
        match folder.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("locked", path, error)),
        }
        // Whoever had the lock before may have removed the folder: then this
        // is the lock of something that has no name any more.
        let same = |one: &fs::Metadata, other: &fs::Metadata| one.ino() == other.ino() && one.dev() == other.dev();
        match (folder.metadata(), fs::metadata(path)) {
            (Ok(locked), Ok(named)) if same(&locked, &named) => {
                Ok(Some(Attempt::Taken(Self { _folder: Arc::new(folder) })))
            }
            _ => Ok(None),
        }
    }

    /// Takes the lock of a folder, waiting for it. `None` if there is no such
    /// folder and none is to be made. Safe to drop.
    pub(crate) async fn take(path: PathBuf, absent: Absent) -> Result<Option<Self>> {
        loop {
            let path = path.clone();
            match blocking(move || Self::try_take(&path, absent)).await? {
                Some(Attempt::Taken(lock)) => return Ok(Some(lock)),
                Some(Attempt::Absent) => return Ok(None),
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Takes the lock of a folder, made if need be, unless somebody has it.
    pub(crate) async fn take_if_free(path: PathBuf) -> Result<Option<Self>> {
        let attempt = blocking(move || Self::try_take(&path, Absent::Make)).await?;
        Ok(attempt.and_then(|attempt| match attempt {
            Attempt::Taken(lock) => Some(lock),
            Attempt::Absent => None,
        }))
    }
}

enum Attempt {
    Taken(FolderLock),
    Absent,
}
