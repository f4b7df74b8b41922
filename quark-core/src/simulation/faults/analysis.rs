//! A source of figures behind a socket.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::Op;
use crate::Result;
use crate::app::AppName;
use crate::backend::{AnalysisSource, Traffic};
use crate::deployment::{Endpoint, Slot};

/// A source of figures behind a socket.
#[derive(Debug)]
pub(crate) struct FaultyAnalysis {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn AnalysisSource>,
}

#[async_trait]
impl AnalysisSource for FaultyAnalysis {
    async fn traffic(&self, app: &AppName, slot: Slot, endpoint: &Endpoint, window: Duration) -> Result<Traffic> {
        self.gate.read(Op::AnalysisTraffic, self.inner.traffic(app, slot, endpoint, window)).await
    }
}
