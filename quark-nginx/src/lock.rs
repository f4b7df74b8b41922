//! Locks between processes and between routers of one process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use quark_core::backend::Call;
use quark_core::{Error, ErrorKind, Result};
use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

use crate::error;

/// A lock of flock(2), held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct FileLock(#[allow(dead_code, reason = "the lock ends with the file")] File);

impl FileLock {
    /// Takes the lock if nobody has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        // Created once and never removed: removing the file of a lock lets two
        // holders in.
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = open.map_err(|cause| error::file("opened", path, cause))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(cause) => Err(error::file("locked", path, cause.into())),
        }
    }

    /// Waits for the lock. It asks again and again instead of blocking in the
    /// kernel, so that the wait can end by a cancel or by its deadline.
    pub(crate) async fn take(path: &Path, call: &Call, deadline: Instant) -> Result<Self> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(lock) = Self::try_take(path)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::Timeout, format!("`{}` stayed locked", path.display()))
                    .with_code("locked")
                    .with_class(quark_core::ErrorClass::Retryable)
                    .with_hint("another process changes the same nginx; see who holds the file open"));
            }
            tokio::select! {
                biased;
                () = call.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "no longer wanted")),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use quark_core::deployment::Fence;

    use super::*;

    #[tokio::test]
    async fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let held = FileLock::try_take(&path).unwrap().unwrap();
        assert!(FileLock::try_take(&path).unwrap().is_none());
        let call = Call::new("test", Fence(1), Duration::from_secs(10));
        let late = FileLock::take(&path, &call, Instant::now()).await.unwrap_err();
        assert_eq!(late.code(), "locked");
        call.cancel.cancel();
        let cancelled = FileLock::take(&path, &call, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
        drop(held);
        assert!(FileLock::try_take(&path).unwrap().is_some());
    }
}
