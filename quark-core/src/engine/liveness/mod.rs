//! Asks what is live for its health for as long as it serves, where an app's
//! policy says so, and does something about what is not well any more.
//!
//! A look writes nothing and takes no lease. Every engine looks; who finds
//! something to be done takes the app for a moment and looks again (`act`). What
//! follows from a look is decided in `judge`, which is pure. What has died is
//! started by the comparison with the world (`reconcile`), as often as the policy
//! allows.

mod act;
mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

pub(super) use act::wish;
use judge::{Act, Row, Seen, judge};

use super::shared::Shared;
use super::step::{self, Sight};
use crate::Result;
use crate::app::{AppName, LivenessPolicy};
use crate::deployment::{AppRecord, Deployment, DeploymentId, Failure, Instance, StepName};

/// How often apps are looked for that are new, or serve something new.
const SURVEY: Duration = Duration::from_secs(10);

/// Apps that are looked at at once: one that hangs must not keep the others waiting.
const AT_ONCE: usize = 16;

/// How long a look may take beside the probe.
const LOOK: Duration = Duration::from_secs(10);

/// An app whose health is asked for.
#[derive(Clone, Debug)]
struct Watched {
    /// What is live, as far as was seen.
    live: DeploymentId,
    policy: LivenessPolicy,
    /// When it is looked at next, by the monotonic clock.
    due: Duration,
    row: Row,
}

/// Looks at what is live again and again until the engine stops.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut apps = BTreeMap::new();
    let mut surveyed: Option<Duration> = None;
    loop {
        let now = shared.clock.monotonic();
        if !shared.safe_mode.is_on() {
            if surveyed.is_none_or(|at| now.saturating_sub(at) >= SURVEY) {
                match survey(&shared, &mut apps).await {
                    Ok(()) => surveyed = Some(now),
                    Err(error) => tracing::warn!(report = error.report(), "it is not known what is live"),
                }
            }
            look_at_all(&shared, &mut apps).await;
        }
        let now = shared.clock.monotonic();
        let next = apps.values().map(|watched: &Watched| watched.due.saturating_sub(now)).min();
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(next.unwrap_or(SURVEY).clamp(SOON, SURVEY)) => {}
        }
    }
}

/// The shortest time between two rounds.
const SOON: Duration = Duration::from_millis(250);

/// Finds out which apps are asked for their health. Only of those that serve
/// something new the release is read.
async fn survey(shared: &Shared, apps: &mut BTreeMap<AppName, Watched>) -> Result<()> {
    let mut known = std::mem::take(apps);
    for app in shared.store.apps().await? {
        let (name, Some(live)) = (app.spec.name, app.serving.live) else { continue };
        if let Some(same) = known.remove(&name).filter(|watched| watched.live == live.deployment) {
            apps.insert(name, same);
            continue;
        }
        let Some(deployment) = shared.store.deployment(live.deployment).await? else { continue };
        if let Some(policy) = deployment.release.liveness.clone() {
            // Not all at once, not even after a start.
            let due = shared.clock.monotonic().saturating_add(part_of(policy.interval, shared));
            apps.insert(name, Watched { live: live.deployment, policy, due, row: Row::default() });
        }
    }
    Ok(())
}

/// Some part of a time, another one each time.
fn part_of(whole: Duration, shared: &Shared) -> Duration {
    let permille = u32::try_from(shared.platform.unique().as_u128() % 1000).unwrap_or_default();
    whole / 1000 * permille
}

/// Looks at those whose time has come.
async fn look_at_all(shared: &Arc<Shared>, apps: &mut BTreeMap<AppName, Watched>) {
    let now = shared.clock.monotonic();
    let due: Vec<(AppName, Watched)> =
        apps.iter().filter(|(_, watched)| watched.due <= now).map(|(name, it)| (name.clone(), it.clone())).collect();
    let looks = due.into_iter().map(|(name, mut watched)| {
        let shared = Arc::clone(shared);
        Box::pin(async move {
            if let Err(error) = look(&shared, &name, &mut watched).await {
                // Somebody is at work on it, which is looked at next time.
                let held = error.code() == "lease_held";
                if !held {
                    tracing::warn!(app = %name, report = error.report(), "what is live could not be looked after");
                }
            }
            watched.due = shared.clock.monotonic().saturating_add(watched.policy.interval);
            (name, watched)
        })
    });
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    loop {
        tokio::select! {
            biased;
            seen = looks.next() => match seen {
                Some((name, watched)) => drop(apps.insert(name, watched)),
                None => return,
            },
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Looks at an app, and does what follows.
async fn look(shared: &Arc<Shared>, name: &AppName, watched: &mut Watched) -> Result<()> {
    let Some(app) = shared.store.app(name).await? else { return Ok(()) };
    let live = app.serving.live.as_ref().filter(|live| live.deployment == watched.live);
    // What serves by now is found by the next survey.
    if live.is_none() || app.removed_at.is_some() {
        return Ok(());
    }
    let Some(deployment) = shared.store.deployment(watched.live).await? else { return Ok(()) };
    if !deployment.state.is_terminal() {
        // It is being watched, or on its way back.
        watched.row.forget();
        return Ok(());
    }
    let seen = see(shared, &app, &deployment).await?;
    watched.row.note(deployment.id, &seen, deployment.release.health.deadline, shared.now());
    let known = deployment.liveness.clone().unwrap_or_default();
    match judge(&watched.policy, &known, &watched.row, &seen, shared.now()) {
        Act::Nothing => Ok(()),
        _ => act::follow(shared, &deployment, &mut watched.row, seen).await,
    }
}

/// Looks at all instances of what is live.
async fn see(shared: &Shared, app: &AppRecord, deployment: &Deployment) -> Result<Seen> {
    let slot = app.serving.live.as_ref().map(|live| live.slot);
    let instances = shared.store.instances(&app.spec.name).await?;
    let own: Vec<Instance> = instances.into_iter().filter(|instance| Some(instance.slot) == slot).collect();
    Ok(see_instances(shared, &own, deployment).await)
}

async fn see_instances(shared: &Shared, instances: &[Instance], deployment: &Deployment) -> Seen {
    let mut process = None;
    for instance in instances {
        let longest = LOOK.saturating_add(deployment.release.health.timeout);
        let sight = tokio::select! {
            biased;
            sight = step::glance(shared, instance, &deployment.release) => sight,
            // A runtime that does not answer says nothing about it.
            () = shared.clock.sleep(longest) => return Seen::Nothing,
        };
        match sight {
            Ok(Sight::Runs(since, Ok(()))) => process = since,
            Ok(Sight::Runs(since, Err(error))) => {
                // No step has failed: it serves.
                let failure = Failure { step: None, ..Failure::from_error(StepName::Probe, &error) };
                return Seen::Unwell(since, failure);
            }
            Ok(Sight::Down) => return Seen::Down,
            Err(_) => return Seen::Nothing,
        }
    }
    if instances.is_empty() { Seen::Nothing } else { Seen::Well(process) }
}
