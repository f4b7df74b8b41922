//! `Driver`, continued: what it does about a version that was just promoted.
//! It is parked between two looks and holds no worker. What a look says for the
//! deployment is decided in `settle`.

use std::sync::Arc;
use std::time::Duration;

use super::analysis::{Limits, complaint};
use super::draft::Draft;
use super::driver::{Burst, Driver};
use super::hooks;
use super::reconcile::found;
use super::settle::{self, Seen};
use super::shared::Shared;
use super::step::{self, StepContext};
use crate::app::{BakePolicy, HealthCheck, HookPoint};
use crate::backend::Snapshot;
use crate::deployment::{Bake, Conclusion, Deployment, DeploymentKind, Failure, Slot, State, StepName, Traffic};
use crate::error::{ErrorClass, ErrorKind};
use crate::planted::planted;
use crate::{Error, Result};

/// How long a look may take beside the probes; a runtime that does not answer
/// says nothing about the version.
const LOOK: Duration = Duration::from_secs(10);

/// How long a look may take: it asks the version, the way that users come, and
/// perhaps the version before.
pub(super) fn longest(check: &HealthCheck) -> Duration {
    let probes = check.timeout.saturating_add(check.interval).saturating_mul(step::LAST_LOOKS);
    LOOK.saturating_add(probes.saturating_mul(3))
}

/// How long ago a request may have ended that says something about a version now.
const RECENT: Duration = Duration::from_secs(60);

/// How long ago it may have been that users were served by the version before.
const BEFORE: Duration = Duration::from_secs(600);

impl Driver {
    /// Looks how a version does since it was promoted, and lets it serve on or
    /// not. A look changes nothing in the world, so it is not journalled; what
    /// is done because of it is.
    pub(super) async fn bake(&self, draft: &mut Draft) -> Result<Option<Burst>> {
        if let Some(instead) = self.put_down(draft).await? {
            return Ok(instead);
        }
        let policy = draft.snapshot().deployment.release.bake.clone();
        self.note_traffic_before(draft).await;
        if planted!(DeathUnseen) {
            self.mend_meanwhile(draft).await?;
        }
        let context =
            StepContext { shared: Arc::clone(&self.shared), lease: self.lease.clone(), log: Arc::clone(&self.log) };
        let seen = tokio::select! {
            biased;
            seen = look(&context, draft.snapshot(), &policy) => seen,
            () = self.lost.cancelled() => return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a look")),
            () = self.shared.stopping.cancelled() => return Ok(Some(Burst::Interrupted)),
        };
        if let Seen::Unwell { failure, .. } = &seen {
            self.log.say(&failure.message);
        }
        settle::seen(draft, seen, &policy, self.shared.now());
        if draft.snapshot().deployment.state != State::Baking {
            return Ok(None);
        }
        self.mend_meanwhile(draft).await?;
        Ok(Some(Burst::Parked(self.shared.now().after(policy.interval))))
    }

    /// Goes on with the hook of a version that serves, and looks after that
    /// version meanwhile: it is parked between two looks.
    pub(super) async fn run_hook_and_watch(&self, draft: &mut Draft) -> Result<Option<Burst>> {
        let ran = self.step(draft, StepName::PostPromote).await?;
        let again = match ran {
            Some(Burst::Parked(again)) if hooks::is_due(draft.snapshot(), HookPoint::PostPromote) => again,
            _ => return Ok(ran),
        };
        let watched = draft.snapshot().deployment.bake.is_some();
        let burst = if watched {
            self.bake(draft).await?
        } else {
            match self.put_down(draft).await? {
                Some(instead) => return Ok(instead),
                None => self.mend_meanwhile(draft).await?,
            }
            Some(Burst::Parked(again))
        };
        Ok(match burst {
            Some(Burst::Parked(at)) => Some(Burst::Parked(at.min(again))),
            other => other,
        })
    }

    /// Whether what is live has a hook for the end of this version.
    pub(super) async fn has_hook_for_retired(&self, snapshot: &Snapshot) -> Result<bool> {
        // What was rolled back by itself was never in the place of another.
        if snapshot.deployment.conclusion == Some(Conclusion::RolledBack) {
            return Ok(false);
        }
        let live = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref());
        let Some(live) = live.filter(|live| live.deployment != snapshot.deployment.id) else { return Ok(false) };
        let live = self.shared.store.deployment(live.deployment).await?;
        let has_hook = |live: Deployment| {
            live.kind == DeploymentKind::Deploy && live.release.hooks.at(HookPoint::PostRetire).is_some()
        };
        Ok(live.is_some_and(has_hook))
    }

    /// Keeps what users got from the version before, while that is known.
    async fn note_traffic_before(&self, draft: &mut Draft) {
        let snapshot = draft.snapshot();
        let Some(bake) = snapshot.deployment.bake.clone().filter(|bake| bake.traffic_before.is_none()) else { return };
        let Some(slot) = snapshot.deployment.slot else { return };
        let app = snapshot.app.as_ref();
        let Some(standby) = app.and_then(|app| app.serving.standby.as_ref()) else { return };
        let Ok(Some(before)) = self.shared.store.deployment(standby.occupant.deployment).await else { return };
        // Not what another version got at the same address.
        let promoted = before.bake.map(|bake| bake.began_at).or(before.finished_at).unwrap_or(bake.began_at);
        let served = bake.began_at.since(promoted).min(BEFORE);
        let window = self.shared.now().since(bake.began_at).saturating_add(served);
        if let Ok(Some(traffic)) = traffic(&self.shared, snapshot, slot.other(), window).await {
            draft.deployment().bake = Some(Bake { traffic_before: Some(traffic), ..bake });
        }
    }

    /// Nobody else mends what is live while it is watched.
    pub(super) async fn mend_meanwhile(&self, draft: &mut Draft) -> Result<()> {
        match found(&self.shared, draft.snapshot()).await {
            Ok(drift) if !drift.is_empty() => {
                tracing::warn!(app = %draft.snapshot().deployment.app, found = ?drift, "what is watched is not as it shall be");
                self.step(draft, StepName::Mend).await.map(|_| ())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(report = error.report(), "what is watched could not be compared with the world");
                Ok(())
            }
        }
    }
}

/// What is seen of the version, and, if that is enough, of the one before.
async fn look(context: &StepContext, snapshot: &Snapshot, policy: &BakePolicy) -> Seen {
    let looked = tokio::select! {
        biased;
        looked = is_well(context, snapshot, policy) => looked,
        () = context.shared.clock.sleep(longest(&snapshot.deployment.release.health)) => return Seen::Nothing,
    };
    let error = match looked {
        Ok(()) => return Seen::Well,
        Err(error) if error.kind() == ErrorKind::Unhealthy => error,
        Err(_) if planted!(UnseenIsWell) => return Seen::Well,
        Err(_) => return Seen::Nothing,
    };
    let bake = snapshot.deployment.bake.as_ref();
    let (times, unseen) = bake.map_or((1, 0), |bake| (bake.unwell_by(context.shared.now(), policy), bake.unseen));
    let enough = step::is_down(error.code()) || times >= policy.failures || planted!(FirstDoubtGoesBack);
    let back = match enough.then(|| can_go_back(context, snapshot)) {
        None => Ok(false),
        Some(asked) => asked.await,
    };
    let back = match back {
        Ok(back) => back,
        // One that was dead would be started again and pass, because of one
        // question about the other that had no answer.
        Err(_) if unseen < Bake::UNSEEN => return Seen::Nothing,
        Err(_) => false,
    };
    // No step has failed: it serves.
    let failure = Failure { step: None, ..Failure::from_error(StepName::Probe, &error) };
    Seen::Unwell { failure, back }
}

/// Whether the version answers a probe, and its users; why not.
async fn is_well(context: &StepContext, snapshot: &Snapshot, policy: &BakePolicy) -> Result<()> {
    step::still_healthy(context, snapshot).await?;
    step::still_reached(context, snapshot).await?;
    let (Some(bake), Some(slot)) = (&snapshot.deployment.bake, snapshot.deployment.slot) else { return Ok(()) };
    let window = context.shared.now().since(bake.began_at).clamp(Duration::from_secs(1), RECENT);
    let limits = Limits::from(policy);
    let Some(recent) = traffic(&context.shared, snapshot, slot, window).await? else { return Ok(()) };
    let Some(wrong) = complaint(limits, bake.traffic_before.as_ref(), &recent, window) else { return Ok(()) };
    // What was wrong for a moment is seen for a minute. It must be wrong still.
    let latest = policy.interval.clamp(Duration::from_secs(1), window);
    let Some(now) = traffic(&context.shared, snapshot, slot, latest).await? else { return Ok(()) };
    let goes_on = now.requests > 0 && complaint(limits.of_any(), bake.traffic_before.as_ref(), &now, latest).is_some();
    if goes_on { Err(wrong) } else { Ok(()) }
}

/// What users got from what is in a slot; `None` if nobody can tell.
pub(super) async fn traffic(
    shared: &Shared,
    snapshot: &Snapshot,
    slot: Slot,
    window: Duration,
) -> Result<Option<Traffic>> {
    let Some(source) = &shared.analysis else { return Ok(None) };
    let endpoint = snapshot.app.as_ref().and_then(|app| app.serving.endpoint(slot));
    let Some(endpoint) = endpoint else { return Ok(None) };
    let asked = source.traffic(&snapshot.deployment.app, slot, endpoint, window);
    shared.ask("the analysis source", asked).await.map(Some)
}

/// Whether the version before could serve. Going back to one that is not well
/// would be the worst that could be done. An error says that nothing is known
/// of it now.
async fn can_go_back(context: &StepContext, snapshot: &Snapshot) -> Result<bool> {
    let shared = &context.shared;
    let standby = snapshot.app.as_ref().and_then(|app| app.serving.standby.as_ref());
    let before = match standby {
        Some(standby) => shared.store.deployment(standby.occupant.deployment).await?,
        None => None,
    };
    let check = before.as_ref().map_or(&snapshot.deployment.release.health, |before| &before.release.health);
    let asked = tokio::select! {
        biased;
        asked = step::can_go_back(context, snapshot) => asked,
        () = shared.clock.sleep(longest(check)) => {
            Err(Error::new(ErrorKind::Timeout, "it takes too long to look at the version before"))
        }
    };
    let Err(error) = asked else { return Ok(true) };
    context.log.say(&format!("it is not rolled back: {error}"));
    let is_known = error.kind() == ErrorKind::Unhealthy || error.class() == ErrorClass::Permanent;
    if is_known { Ok(false) } else { Err(error) }
}
