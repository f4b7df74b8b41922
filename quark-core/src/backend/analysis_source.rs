//! `AnalysisSource`: tells what users get from a version.

use std::time::Duration;

use async_trait::async_trait;

use crate::Result;
use crate::app::AppName;
pub use crate::deployment::Traffic;
use crate::deployment::{Endpoint, Slot};

/// Who goes away without an answer after this has lost patience: that request
/// failed. Sooner, it may be anything.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Tells what users get from a version: whoever sends requests to it knows.
///
/// With it the engine compares a version that was just promoted with the one
/// before ([`BakePolicy`](crate::BakePolicy)); without it only what a probe sees counts.
///
/// # Contract
///
/// - A request is counted once, in the slot and at the endpoint that answered it, within a second of its answer.
/// - What was answered with 500 to 599, or not at all, failed; nothing else did. Of a client that goes away before it
///   is answered nothing need be counted, unless it has waited for [`PATIENCE`].
/// - Requests that ended longer ago than `window` are not counted; a source may be up to a second late with that.
/// - `p95` is not below what 95 % of the answers took, for answers of up to 50 s, and rounded up by a third at most;
///   `None` if nothing was answered.
/// - Of what nothing is known nothing is told: all numbers are 0.
#[async_trait]
pub trait AnalysisSource: std::fmt::Debug + Send + Sync + 'static {
    /// What the requests to `endpoint`, as that slot of the app, have come to
    /// that ended in the last `window`. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) while nothing can be said.
    async fn traffic(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, window: Duration) -> Result<Traffic>;
}
