//! What a gauge must come with to be tested.

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::HostGauge;
use crate::conformance::CaseResult;

/// A gauge under test, and the machine that it looks at.
#[async_trait]
pub trait HostFixture: Send + Sync {
    /// The gauge. The same each time.
    fn gauge(&self) -> Arc<dyn HostGauge>;

    /// Has so many more processes or threads run on the machine, until the
    /// fixture is dropped.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    async fn occupy(&self, processes: u64) -> CaseResult;
}
