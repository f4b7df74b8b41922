//! What a queue must come with to be tested.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::Queue;
use crate::clock::Timestamp;

/// A queue under test, and the world around it. Each case gets a new one with
/// nothing in it.
#[async_trait]
pub trait QueueFixture: Send + Sync {
    /// The queue. The same each time.
    fn queue(&self) -> Arc<dyn Queue>;

    /// The time of day as the queue sees it.
    fn now(&self) -> Timestamp;

    /// Lets `by` pass for the queue. A queue that follows a clock of the
    /// outside world may have to wait, for at most some seconds.
    async fn advance(&self, by: Duration);
}
