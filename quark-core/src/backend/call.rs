//! What every effect is told about who wants it and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::deployment::Fence;
use crate::{Error, ErrorKind, Result};

/// The circumstances of one call to a backend.
///
/// Dropping the future of a call does not undo its effect: the engine runs
/// each call to its end and tells it to hurry by `cancel` and `timeout`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same for every attempt at the same effect.
    pub key: String,
    /// The lease under which the effect is wanted.
    pub fence: Fence,
    /// How long the whole call may take.
    pub timeout: Duration,
    /// Set when the effect is no longer wanted.
    pub cancel: CancellationToken,
    /// What `timeout` is measured with.
    pub clock: Arc<dyn Clock>,
}

impl Call {
    /// A call that nobody cancels.
    #[must_use]
    pub fn new(key: impl Into<String>, fence: Fence, timeout: Duration) -> Self {
        Self { key: key.into(), fence, timeout, cancel: CancellationToken::new(), clock: Arc::new(SystemClock::new()) }
    }

    /// Measures the timeout with this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Waits for `work`, but no longer than the call may take, and not after it
    /// was cancelled. `work` is dropped then, so it must be safe to drop.
    ///
    /// # Errors
    ///
    /// What `work` returns; [`ErrorKind::Timeout`] and [`ErrorKind::Cancelled`].
    pub async fn bound<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                Err(Error::new(ErrorKind::Cancelled, "no longer wanted").with_operation(operation))
            }
            done = work => done,
            () = self.clock.sleep(self.timeout) => {
                Err(Error::new(ErrorKind::Timeout, format!("not done within {:?}", self.timeout))
                    .with_operation(operation))
            }
        }
    }
}
