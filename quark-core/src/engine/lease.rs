//! Keeps the right to act while a burst of work lasts.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::backend::{Claim, ClaimToken, Lease, Queue, Store};
use crate::clock::Clock;
use crate::deployment::DeploymentId;

/// What a keeper needs.
pub(super) struct Kept {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: Lease,
    pub(super) token: ClaimToken,
    pub(super) ttl: Duration,
    pub(super) deployment: DeploymentId,
    /// Set when a cancel request is seen in the store.
    pub(super) cancelled: CancellationToken,
    /// Set when the lease or the claim is lost.
    pub(super) lost: CancellationToken,
}

/// Renews lease and claim every third of their life and looks for a cancel
/// request every second, until the handle is dropped.
pub(super) fn keep(kept: Kept) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let third = kept.ttl / 3;
        let look = Duration::from_secs(1).min(third);
        let mut renewed = kept.clock.monotonic();
        loop {
            kept.clock.sleep(look).await;
            if let Ok(Some(deployment)) = kept.store.deployment(kept.deployment).await
                && deployment.cancel.is_some()
            {
                kept.cancelled.cancel();
            }
            let sent = kept.clock.monotonic();
            if sent.saturating_sub(renewed) < third {
                continue;
            }
            let lease = kept.store.renew_lease(&kept.lease, kept.ttl).await;
            let claim = kept.queue.heartbeat(kept.token, kept.ttl).await;
            match (&lease, &claim) {
                // Counted from when it was sent: the store may have counted earlier, never later.
                (Ok(()), Ok(Claim::Held)) => renewed = sent,
                (Err(error), _) if error.kind() == crate::ErrorKind::Fenced => break,
                (_, Ok(Claim::Lost)) => break,
                // The store is away. It may come back before the lease ends.
                _ if kept.clock.monotonic().saturating_sub(renewed) < kept.ttl - kept.ttl / 6 => {}
                _ => break,
            }
        }
        tracing::warn!(deployment = %kept.deployment, "the lease was lost; stopping work on it");
        kept.lost.cancel();
    }))
}
