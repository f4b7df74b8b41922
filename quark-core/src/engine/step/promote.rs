//! Point the route at the slot, and put it back when the router refuses.

use std::sync::Arc;
use std::time::Duration;

use super::clear::runs;
use super::probe::still_healthy;
use super::{StepContext, app};
use crate::backend::store::refusal::domain_taken;
use crate::backend::{Call, Metric, Snapshot};
use crate::deployment::{Serving, Slot, StepOutput};
use crate::engine::bake::traffic;
use crate::engine::decide::{ROUTER_AWAY, is_live};
use crate::engine::route::{domains, enforce, route, take_away};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

/// How long the switch may be held up for the sake of the version before.
const MOMENT: Duration = Duration::from_secs(2);

/// Whether the version before stands in from the first request on, should the
/// new one crash.
async fn is_warm(context: &StepContext, snapshot: &Snapshot, slot: Slot) -> bool {
    let looked = tokio::select! {
        biased;
        looked = runs(context, snapshot, slot) => looked,
        // What was found healthy just now is to be switched to now.
        () = context.shared.clock.sleep(MOMENT) => Err(Error::new(ErrorKind::Timeout, "the runtime does not answer")),
    };
    let warm = looked.unwrap_or_else(|error| {
        context.log.say(&format!("the old version cannot be looked at, and does not stand in: {error}"));
        false
    });
    warm || planted!(DeadBackup)
}

/// Counts the requests that have failed while the route was switched, where
/// something knows of them.
async fn count_failed(context: &StepContext, snapshot: &Snapshot, took: Duration) {
    // A source may be a second late.
    let window = took.max(Duration::from_secs(1));
    let mut failed = 0;
    for slot in Slot::BOTH {
        match traffic(&context.shared, snapshot, slot, window).await {
            Ok(seen) => failed += seen.map_or(0, |seen| seen.failed),
            Err(error) => tracing::debug!(report = error.report(), "what users got from a switch is not known"),
        }
    }
    if failed > 0 {
        context.log.say(&format!("{failed} requests failed around the switch, to both versions together"));
        context.shared.metrics.record(Metric::PromotionRequestsFailed(failed));
    }
}

/// Asks the router for anything at all, before a switch is begun: what was not
/// begun need not be put back, and a router that is away could not do that.
pub(super) async fn ask(context: &StepContext, snapshot: &Snapshot) -> Result<()> {
    let shared = &context.shared;
    let app = &snapshot.deployment.app;
    let key = format!("{}:ask", snapshot.deployment.id);
    let call = Call::new(key, context.lease.fence, ASKED).with_clock(Arc::clone(&shared.clock));
    let answer = call.bound("router.observe", shared.router.observe(app)).await;
    answer.map(|_| ()).map_err(|error| error.with_code(ROUTER_AWAY))
}

/// How long a router may take to say anything.
const ASKED: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let deployment = &snapshot.deployment;
    let app = app(snapshot)?;
    let slot = slot_of(snapshot)?;
    if let Some(domain) = context.shared.domain_of_others(&deployment.app, &deployment.release).await? {
        return Err(domain_taken(domain.as_str()));
    }
    still_healthy(context, snapshot).await?;
    let base = &context.shared.config.base_domain;
    let serving = Serving { domains: domains(&deployment.release, base), ..app.serving.clone() };
    let backup = app.serving.live.is_some() && is_warm(context, snapshot, slot.other()).await;
    let began = context.shared.clock.monotonic();
    let wanted = route(&deployment.app, &serving, &context.lease, serving.generation, slot, backup)?;
    enforce(context.shared.router.as_ref(), call, &wanted).await?;
    let took = context.shared.clock.monotonic().saturating_sub(began);
    context.log.say(&format!("requests go to the {slot} slot; switching took {:.1} ms", took.as_secs_f64() * 1000.0));
    count_failed(context, snapshot, took).await;
    Ok(StepOutput { note: Some(format!("switched in {:.1} ms", took.as_secs_f64() * 1000.0)), ..StepOutput::default() })
}

/// Puts the route back to what is live; takes it away if nothing was.
pub(super) async fn revert(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<StepOutput> {
    let app = app(snapshot)?;
    match &app.serving.live {
        Some(live) => {
            // Of one that was to be rolled back what stands by may answer in its place.
            let standby = app.serving.standby.as_ref().filter(|standby| !standby.retiring);
            let backup = match standby.filter(|_| is_live(snapshot)) {
                Some(standby) => runs(context, snapshot, standby.occupant.slot).await.unwrap_or(false),
                None => false,
            };
            let back = route(
                &snapshot.deployment.app,
                &app.serving,
                &context.lease,
                app.serving.generation,
                live.slot,
                backup,
            )?;
            enforce(context.shared.router.as_ref(), call, &back).await?;
            context.log.say(&format!("requests stay with the {} slot", live.slot));
        }
        None => take_away(context.shared.router.as_ref(), call, &snapshot.deployment.app).await?,
    }
    Ok(StepOutput::default())
}

fn slot_of(snapshot: &Snapshot) -> Result<Slot> {
    snapshot.deployment.slot.ok_or_else(|| Error::new(ErrorKind::Internal, "the deployment has no slot"))
}
