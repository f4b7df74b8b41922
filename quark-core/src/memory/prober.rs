//! `MemoryProber`: asks the containers of a memory runtime.

use async_trait::async_trait;

use super::behaviour::Health;
use super::runtime::MemoryRuntime;
use crate::backend::{ProbeFailure, ProbeTarget, Prober};

/// Asks the containers of a [`MemoryRuntime`] whether they are well.
#[derive(Clone, Debug)]
pub struct MemoryProber {
    runtime: MemoryRuntime,
}

impl MemoryProber {
    /// A prober of the containers of `runtime`.
    #[must_use]
    pub fn new(runtime: &MemoryRuntime) -> Self {
        Self { runtime: runtime.clone() }
    }
}

#[async_trait]
impl Prober for MemoryProber {
    async fn probe(&self, target: ProbeTarget<'_>) -> Result<(), ProbeFailure> {
        match self.runtime.ask(target.endpoint) {
            Some(Health::Healthy | Health::WarmsUp(0) | Health::Status(200..=399)) => Ok(()),
            Some(Health::WarmsUp(_)) => Err(ProbeFailure::Status(503)),
            Some(Health::Status(status)) => Err(ProbeFailure::Status(status)),
            Some(Health::Hangs) => {
                self.runtime.sleep(target.check.timeout).await;
                Err(ProbeFailure::TimedOut)
            }
            Some(Health::NeverListens | Health::ExitsAtOnce(_)) | None => Err(ProbeFailure::Refused),
        }
    }
}
