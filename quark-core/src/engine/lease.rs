//! Keeps the right to act while a burst of work lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::backend::{Claim, ClaimToken, Lease, Queue, Store};
use crate::clock::Clock;
use crate::deployment::DeploymentId;
use crate::planted::planted;
use crate::platform::{Leash, Platform, Task};

/// What a keeper needs.
pub(super) struct Kept {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lease: Lease,
    /// The claim of the job, if a job asked for the work.
    pub(super) token: Option<ClaimToken>,
    pub(super) ttl: Duration,
    /// When the lease was asked for, by the clock's monotonic time. The store
    /// may have counted from later, never from earlier.
    pub(super) asked_at: Duration,
    pub(super) deployment: DeploymentId,
    /// Set when a cancel request is seen in the store.
    pub(super) cancelled: CancellationToken,
    /// Set when the lease is lost.
    pub(super) lost: CancellationToken,
    /// Whether the lease is about to be given back.
    pub(super) leaving: Arc<AtomicBool>,
}

/// Renews lease and claim every third of their life and looks for a cancel
/// request every second, until the leash is dropped.
pub(super) fn keep(platform: &Arc<dyn Platform>, kept: Kept) -> Leash {
    let keeping = async move {
        let third = kept.ttl / 3;
        let look = Duration::from_secs(1).min(third);
        let mut renewed = kept.asked_at;
        // Some time before the end, so that effects end before it too.
        let safe = kept.ttl - kept.ttl / 6;
        loop {
            kept.clock.sleep(look).await;
            let sent = kept.clock.monotonic();
            let due = sent.saturating_sub(renewed) >= third && !planted!(LeaseNotRenewed);
            let rest = safe.saturating_sub(sent.saturating_sub(renewed));
            // A store that does not answer is one that did not renew.
            let round = tokio::select! {
                biased;
                round = round(&kept, due) => round,
                () = kept.clock.sleep(rest) => Round::Unanswered,
            };
            match round {
                Round::Renewed => {
                    renewed = sent;
                    beat(&kept, look).await;
                }
                Round::Lost | Round::Unanswered if planted!(WorkAfterLoss) => {}
                // Given back a moment ago, or about to be.
                Round::Lost if kept.leaving.load(Ordering::Relaxed) => {}
                Round::Lost => break,
                Round::NotDue => {}
                // The store is away. It may come back before the lease ends.
                Round::Unanswered if kept.clock.monotonic().saturating_sub(renewed) < safe => {}
                Round::Unanswered => break,
            }
        }
        tracing::warn!(deployment = %kept.deployment, "the lease was lost; stopping work on it");
        kept.lost.cancel();
    };
    Task::spawn(platform, keeping).leash()
}

/// What became of one look at the store.
enum Round {
    NotDue,
    Renewed,
    Lost,
    Unanswered,
}

/// Keeps the claim of the job. The queue is a hint: without an answer from it,
/// or when the job was handed to somebody else, the work goes on under the
/// lease, which nobody else can have.
async fn beat(kept: &Kept, longest: Duration) {
    let Some(token) = kept.token else { return };
    tokio::select! {
        biased;
        beat = kept.queue.heartbeat(token, kept.ttl) => match beat {
            Ok(Claim::Held) => {}
            Ok(Claim::Lost) => tracing::debug!(deployment = %kept.deployment, "the claim of the job has run out"),
            Err(error) => tracing::debug!(deployment = %kept.deployment, %error, "the queue could not be told"),
        },
        () = kept.clock.sleep(longest) => {}
    }
}

/// Looks for a cancel request and, if it is due, renews the lease.
async fn round(kept: &Kept, due: bool) -> Round {
    if let Ok(Some(deployment)) = kept.store.deployment(kept.deployment).await
        && deployment.cancel.is_some()
    {
        kept.cancelled.cancel();
    }
    if !due {
        return Round::NotDue;
    }
    match kept.store.renew_lease(&kept.lease, kept.ttl).await {
        Ok(()) => Round::Renewed,
        Err(error) if error.kind() == crate::ErrorKind::Fenced => Round::Lost,
        Err(_) => Round::Unanswered,
    }
}
