//! What an analysis source must come with to be tested.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::app::AppName;
use crate::backend::AnalysisSource;
use crate::conformance::CaseResult;
use crate::deployment::{Endpoint, Slot};

/// Where requests can be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "fixtures make it")]
pub struct Place {
    /// Of which app.
    pub app: AppName,
    /// In which slot.
    pub slot: Slot,
    /// Where.
    pub endpoint: Endpoint,
}

/// A source under test that has seen nothing, and whatever sends the requests
/// that it tells of.
#[async_trait]
pub trait AnalysisFixture: Send + Sync {
    /// The source. The same each time.
    fn source(&self) -> Arc<dyn AnalysisSource>;

    /// The slot of an app, with something in it that answers. The same place
    /// for the same words.
    ///
    /// # Errors
    ///
    /// Why there is none.
    async fn place(&self, app: &AppName, slot: Slot) -> CaseResult<Place>;

    /// Sends a request to that place that is answered with `status` after it
    /// took so long, or, without a status, not answered at all; returns when it
    /// has ended.
    ///
    /// # Errors
    ///
    /// Why it could not be sent.
    async fn request(&self, place: &Place, status: Option<u16>, took: Duration) -> CaseResult;

    /// Waits until what has ended is counted, which takes a second at most.
    async fn settle(&self) {
        self.pass(Duration::from_secs(1)).await;
    }

    /// Lets time pass, as the source sees it.
    async fn pass(&self, time: Duration);
}
