//! `Driver`, continued: what it does about a version that gets a share of the
//! requests. It is parked between two looks and holds no worker. What a look
//! says for the deployment is decided in `settle`.

use std::sync::Arc;
use std::time::Duration;

use super::analysis::{Limits, complaint};
use super::bake::{longest, traffic};
use super::draft::Draft;
use super::driver::{Burst, Driver};
use super::settle::{self, Seen};
use super::step::{self, StepContext};
use crate::app::CanaryPolicy;
use crate::backend::Snapshot;
use crate::deployment::{Canary, DeploymentKind, Failure, Slot, State, StepName};
use crate::error::ErrorKind;
use crate::planted::planted;
use crate::{Error, Result};

/// How long ago a request may have ended that says something about a version
/// now: a small share is few requests.
const RECENT: Duration = Duration::from_secs(300);

/// Whether a deployment gets its users by steps: one of those that ask for it,
/// if something is live that can serve the rest.
pub(super) fn goes_by_steps(snapshot: &Snapshot) -> bool {
    let deployment = &snapshot.deployment;
    let has_live = snapshot.app.as_ref().is_some_and(|app| app.serving.live.is_some());
    deployment.kind == DeploymentKind::Deploy && deployment.release.canary.is_some() && has_live
}

impl Driver {
    /// Looks how a version does with its share, and lets it have that longer,
    /// have more, or have none. A look changes nothing in the world, so it is
    /// not journalled; what is done because of it is.
    pub(super) async fn hold_share(&self, draft: &mut Draft) -> Result<Option<Burst>> {
        let (told, decided) = (self.cancelled.is_cancelled(), !draft.is_empty());
        if let Some(instead) = self.put_down(draft).await? {
            return Ok(instead);
        }
        if told && decided {
            // Whether there is a cancel is in the store only.
            return Ok(None);
        }
        let policy = draft.snapshot().deployment.release.canary.clone().unwrap_or_default();
        let longest = longest(&draft.snapshot().deployment.release.health);
        let context =
            StepContext { shared: Arc::clone(&self.shared), lease: self.lease.clone(), log: Arc::clone(&self.log) };
        let seen = tokio::select! {
            biased;
            seen = look(&context, draft.snapshot(), &policy) => seen,
            () = self.lost.cancelled() => return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a look")),
            // One that is not in the store, which may have gone back in time,
            // ends no look: it would end each one at once, for ever.
            () = self.cancelled.cancelled(), if !told => return Ok(None),
            () = self.shared.stopping.cancelled() => return Ok(Some(Burst::Interrupted)),
            () = self.shared.clock.sleep(longest) => Seen::Nothing,
        };
        if let Seen::Unwell { failure, .. } = &seen {
            self.log.say(&failure.message);
        }
        settle::held(draft, seen, &policy, self.shared.now());
        let deployment = &draft.snapshot().deployment;
        let goes_on = deployment.state != State::Canary || deployment.canary.as_ref().is_none_or(Canary::is_shifting);
        if goes_on {
            return Ok(None);
        }
        // What is live serves most of the users meanwhile.
        self.look_after_live(&draft.share()).await;
        let now = self.shared.now();
        let canary = draft.snapshot().deployment.canary.as_ref();
        let ends_at = canary.and_then(|canary| canary.ends_at).filter(|ends_at| *ends_at > now);
        let next = now.after(policy.interval);
        Ok(Some(Burst::Parked(ends_at.map_or(next, |ends_at| ends_at.min(next)))))
    }
}

/// What is seen of the version.
async fn look(context: &StepContext, snapshot: &Snapshot, policy: &CanaryPolicy) -> Seen {
    let error = match is_well(context, snapshot, policy).await {
        Ok(()) => return Seen::Well,
        Err(error) if error.kind() == ErrorKind::Unhealthy => error,
        Err(_) if planted!(UnseenIsWell) => return Seen::Well,
        Err(_) => return Seen::Nothing,
    };
    let canary = snapshot.deployment.canary.as_ref();
    let times = canary.map_or(1, |canary| canary.unwell_by(context.shared.now(), policy));
    let back = step::is_down(error.code()) || times >= policy.failures;
    // No step has failed: it was just not well.
    let failure = Failure { step: None, ..Failure::from_error(StepName::Probe, &error) };
    Seen::Unwell { failure, back }
}

/// Whether the version answers a probe, and its users; why not.
async fn is_well(context: &StepContext, snapshot: &Snapshot, policy: &CanaryPolicy) -> Result<()> {
    step::still_healthy(context, snapshot).await?;
    let canary = snapshot.deployment.canary.as_ref();
    let (Some(since), Some(slot)) = (canary.and_then(|canary| canary.held_since), snapshot.deployment.slot) else {
        return Ok(());
    };
    let second = Duration::from_secs(1);
    let window = context.shared.now().since(since).clamp(second, RECENT);
    let limits = Limits::from(policy);
    let Some(wrong) = compare(context, snapshot, slot, limits, window).await? else { return Ok(()) };
    // What was wrong for a moment is seen for minutes. It must be wrong still,
    // unless nobody has asked it since.
    let looks = policy.failures.saturating_sub(1).max(1);
    let latest = policy.interval.saturating_mul(looks).clamp(second, window);
    let nobody = traffic(&context.shared, snapshot, slot, latest).await?.is_none_or(|traffic| traffic.requests == 0);
    if nobody || compare(context, snapshot, slot, limits.of_any(), latest).await?.is_some() {
        return Err(wrong);
    }
    Ok(())
}

/// What is wrong with the answers of the version, compared with those of what
/// is live in the same time.
async fn compare(
    context: &StepContext,
    snapshot: &Snapshot,
    slot: Slot,
    limits: Limits,
    window: Duration,
) -> Result<Option<Error>> {
    let Some(own) = traffic(&context.shared, snapshot, slot, window).await? else { return Ok(None) };
    let live = traffic(&context.shared, snapshot, slot.other(), window).await?;
    Ok(complaint(limits, live.as_ref(), &own, window))
}
