//! How a SQLite store is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quark_core::{Clock, SystemClock};

/// How long to wait for another process that writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// When a write counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// When the disk has confirmed it: it survives a power cut.
    #[default]
    Full,
    /// When the operating system has it: it survives the end of this process,
    /// but a power cut may lose the last writes. The file stays sound. Faster,
    /// but an intent that is lost may leave a container that nobody knows of.
    /// Small writes are then done on the thread of the caller, see the
    /// [module](super).
    Normal,
}

/// How a SQLite store is opened.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    pub(super) path: PathBuf,
    pub(super) synchronous: Synchronous,
    pub(super) shared_file: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl SqliteConfig {
    /// The file at `path`. If it is missing it is made, readable by its owner
    /// only, and so is its folder.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            synchronous: Synchronous::default(),
            shared_file: false,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Sets when a write counts as stored; [`Synchronous::Full`] by default.
    #[must_use]
    pub fn with_synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// Accepts a file in which the host application already has tables of its
    /// own. Without this such a file is refused, since it is most often a
    /// mistake in the path. The file is switched to write-ahead mode.
    #[must_use]
    pub fn with_shared_file(mut self) -> Self {
        self.shared_file = true;
        self
    }

    /// Sets the clock that decides about leases, claims and delays; the
    /// machine's by default. All processes that open the file must agree.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
