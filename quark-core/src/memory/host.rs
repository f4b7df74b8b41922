//! `MemoryHost`: a machine that a test or a simulation makes up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::Result;
use crate::backend::{HostCapacity, HostGauge};

/// A machine that has what it is said to have. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct MemoryHost {
    capacity: Arc<Mutex<HostCapacity>>,
}

impl MemoryHost {
    /// A machine of which this is known.
    #[must_use]
    pub fn new(capacity: HostCapacity) -> Self {
        Self { capacity: Arc::new(Mutex::new(capacity)) }
    }

    /// Changes what is known of it.
    pub fn change(&self, change: impl FnOnce(&mut HostCapacity)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, HostCapacity> {
        self.capacity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HostGauge for MemoryHost {
    async fn capacity(&self) -> Result<HostCapacity> {
        Ok(*self.lock())
    }
}
