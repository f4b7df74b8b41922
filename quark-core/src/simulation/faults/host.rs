//! A machine that can be looked at, or not.

use std::sync::Arc;

use async_trait::async_trait;

use super::gate::Gate;
use super::op::Op;
use crate::Result;
use crate::backend::{HostCapacity, HostGauge};

/// A machine that can be looked at, or not.
#[derive(Debug)]
pub(crate) struct FaultyHost {
    pub(crate) gate: Gate,
    pub(crate) inner: Arc<dyn HostGauge>,
}

#[async_trait]
impl HostGauge for FaultyHost {
    async fn capacity(&self) -> Result<HostCapacity> {
        self.gate.read(Op::HostCapacity, self.inner.capacity()).await
    }
}
