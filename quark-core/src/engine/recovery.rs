//! What is done once when an engine starts, before any new work: claims of an
//! earlier process are freed, lost jobs queued again, what is live brought back.

use std::sync::Arc;

use super::reconcile;
use super::shared::Shared;
use super::sweep::{sweep, sweep_checkouts};
use crate::Result;

/// Brings the world to what the store says; whether that could be done at once.
/// What could not be is tried again: one app must not keep the others waiting.
pub(super) async fn recover(shared: &Arc<Shared>) -> Result<bool> {
    if let Some(doubt) = shared.doubt().await? {
        shared.enter_safe_mode(&doubt);
        return Ok(true);
    }
    let freed = shared.queue.reclaim(&shared.config.owner).await?;
    if freed > 0 {
        tracing::info!(freed, "going on with jobs that an earlier process left");
    }
    sweep(shared).await?;
    sweep_checkouts(shared).await?;
    match reconcile::pass(shared).await {
        Ok(settled) => Ok(settled),
        Err(error) => {
            tracing::error!(report = error.report(), "what is live could not be looked at; trying again");
            Ok(false)
        }
    }
}
