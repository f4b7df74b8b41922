//! What a store must come with to be tested.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::{Queue, Store};

/// A store under test, and the world around it. Each case gets a new one with
/// nothing in it.
#[async_trait]
pub trait StoreFixture: Send + Sync {
    /// The store. The same each time.
    fn store(&self) -> Arc<dyn Store>;

    /// The queue that gets the store's jobs; `None` if the store
    /// [queues none](Store::queues_jobs).
    fn queue(&self) -> Option<Arc<dyn Queue>>;

    /// Lets `by` pass for the store. A store that follows a clock of the
    /// outside world may have to wait, for at most some seconds.
    async fn advance(&self, by: Duration);

    /// Whether what was written outlives the store.
    fn is_durable(&self) -> bool;

    /// Closes the store and opens it again, as a new process would; `None` if
    /// it is not [durable](Self::is_durable).
    async fn reopen(&self) -> Option<Arc<dyn Store>>;
}
