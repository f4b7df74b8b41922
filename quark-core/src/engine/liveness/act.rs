//! What is done about what is live, under the lease of its app.

use std::sync::Arc;

use super::judge::{Act, Row, Seen, judge};
use super::see_instances;
use crate::app::LivenessPolicy;
use crate::backend::Snapshot;
use crate::deployment::{
    Deployment, DeploymentId, DeploymentKind, EventKind, Failure, IdempotencyKey, Instance, Liveness, State, StepName,
    Trigger,
};
use crate::engine::api::DeploymentEngine;
use crate::engine::decide::is_live;
use crate::engine::draft::Draft;
use crate::engine::driver::Driver;
use crate::engine::hold::Hold;
use crate::engine::requests::RollbackRequest;
use crate::engine::shared::Shared;
use crate::engine::step;
use crate::error::{ErrorClass, ErrorKind};
use crate::planted::planted;
use crate::{Error, Result};

/// The key of the engine's wish to go back from a deployment: there is one.
pub(in crate::engine) fn wish(from: DeploymentId) -> String {
    format!("unwell:{from}")
}

/// Looks again, as nobody else may do anything about it now, and does what
/// follows from that.
pub(super) async fn follow(shared: &Arc<Shared>, deployment: &Deployment, row: &mut Row, before: Seen) -> Result<()> {
    let mut hold = Hold::take(shared, &deployment.app, deployment.id, None).await?;
    let driver = hold.driver(deployment);
    let done = Box::pin(follow_under(&driver, deployment.id, row, before)).await;
    let goes_back = hold.release(done).await?;
    if let Some(goes_back) = goes_back {
        return Box::pin(go_back(shared, goes_back)).await;
    }
    Ok(())
}

/// What is to be gone back from.
#[derive(Debug)]
struct GoBack {
    from: Deployment,
    to: Option<DeploymentId>,
}

async fn follow_under(driver: &Driver, id: DeploymentId, row: &mut Row, before: Seen) -> Result<Option<GoBack>> {
    let shared = &driver.shared;
    let Some(snapshot) = shared.store.snapshot(id).await? else { return Ok(None) };
    let Some(policy) = snapshot.deployment.release.liveness.clone() else { return Ok(None) };
    if !is_live(&snapshot) || !snapshot.deployment.state.is_terminal() || is_disturbed(shared, &snapshot).await? {
        row.forget();
        return Ok(None);
    }
    let now = look_again(driver, &snapshot).await;
    // It is another process by now, or well.
    let is_over = matches!(now, Seen::Well(_)) || !row.is_of(&now);
    let seen = if planted!(RestartsTheWell) { before } else { now };
    if is_over && !planted!(RestartsTheWell) {
        row.forget();
    }
    let mut draft = Draft::of(snapshot);
    loop {
        if driver.lost.is_cancelled() || shared.safe_mode.is_on() {
            return Ok(None);
        }
        let known = draft.snapshot().deployment.liveness.clone().unwrap_or_default();
        let act = judge(&policy, &known, row, &seen, shared.now());
        match act {
            Act::Nothing => return Ok(None),
            Act::Restart => {
                driver.step(&mut draft, StepName::Restart).await?;
                row.forget();
                if !draft.is_empty() {
                    shared.write(&mut draft, &driver.lease).await?;
                }
                return Ok(None);
            }
            Act::GoBack => {
                if !shared.store.unfinished(Some(&draft.snapshot().deployment.app)).await?.is_empty() {
                    // What waits takes its place.
                    return Ok(None);
                }
                let to = draft.snapshot().app.as_ref().and_then(|app| app.serving.previous);
                return Ok(Some(GoBack { from: draft.snapshot().deployment.clone(), to }));
            }
            Act::Tell(_) if planted!(IllnessNotTold) => return Ok(None),
            act => {
                tell(driver, &mut draft, act, &policy, row);
                shared.write(&mut draft, &driver.lease).await?;
            }
        }
    }
}

/// Whether a deployment of the app is at work, which decides about what is live.
async fn is_disturbed(shared: &Shared, snapshot: &Snapshot) -> Result<bool> {
    let rests = |other: &Deployment| match other.state {
        State::Queued | State::AwaitingApproval | State::Stuck => true,
        // It holds its share, perhaps for hours; what is live serves the rest.
        State::Canary => other.canary.as_ref().is_some_and(|canary| !canary.is_shifting()),
        _ => false,
    };
    let unfinished = shared.store.unfinished(Some(&snapshot.deployment.app)).await?;
    Ok(unfinished.iter().any(|other| !rests(other)))
}

/// Looks a few times, so that one answer that comes late restarts nothing.
async fn look_again(driver: &Driver, snapshot: &Snapshot) -> Seen {
    let (shared, deployment) = (&driver.shared, &snapshot.deployment);
    let slot = snapshot.app.as_ref().and_then(|app| app.serving.live.as_ref()).map(|live| live.slot);
    let own = snapshot.instances.iter().filter(|instance| Some(instance.slot) == slot);
    let own: Vec<Instance> = own.cloned().collect();
    let mut seen = Seen::Nothing;
    for look in 0..step::LAST_LOOKS {
        if look > 0 {
            shared.clock.sleep(deployment.release.health.interval).await;
        }
        seen = see_instances(shared, &own, deployment).await;
        if !matches!(seen, Seen::Unwell(..)) {
            break;
        }
    }
    seen
}

/// Writes down what people are told.
fn tell(driver: &Driver, draft: &mut Draft, act: Act, policy: &LivenessPolicy, row: &Row) {
    let now = driver.shared.now();
    let mut liveness = draft.snapshot().deployment.liveness.clone().unwrap_or_default();
    match act {
        Act::Tell(failure) => {
            driver.log.say(&format!("found unwell {} times in a row: {}", row.unwell, failure.message));
            (liveness.unwell_since, liveness.failure) = (Some(now), Some(failure.clone()));
            draft.tell(EventKind::Unhealthy { times: row.unwell, failure });
        }
        Act::TellLoop => {
            let until = liveness.restarts_at(policy, now);
            driver.log.say(&format!("it needs more than {} restarts; the next one waits", policy.restarts));
            liveness.looping_since = Some(now);
            draft.tell(EventKind::CrashLoop { restarts: policy.restarts, until });
        }
        Act::Recover => {
            driver.log.say("it is well again");
            liveness = Liveness { restarts: liveness.restarts, rollback: liveness.rollback, ..Liveness::default() };
            draft.tell(EventKind::Recovered);
        }
        Act::Nothing | Act::Restart | Act::GoBack => return,
    }
    draft.deployment().liveness = Some(liveness);
}

/// Asks for the version before. The wish has a key, so it is made once, however
/// many engines make it; what becomes of it is written down if it changes nothing.
async fn go_back(shared: &Arc<Shared>, GoBack { from, to }: GoBack) -> Result<()> {
    let asked = match to {
        _ if matches!(from.kind, DeploymentKind::Rollback { .. }) => {
            let text = "it was gone back to already, from what is the version before it now";
            Err(Error::new(ErrorKind::Conflict, text).with_code("rolled_back_already"))
        }
        None => {
            let text = format!("`{}` has no earlier version", from.app);
            Err(Error::new(ErrorKind::Conflict, text).with_code("nothing_to_roll_back_to"))
        }
        Some(to) => {
            let key = Some(IdempotencyKey::parse(wish(from.id))?);
            let request = RollbackRequest { to: Some(to), by: None, key };
            DeploymentEngine::new(Arc::clone(shared)).go_back(&from.app, request, Trigger::Unwell).await
        }
    };
    let mut told = Liveness::default();
    match asked {
        Ok(rollback) if rollback.state.is_terminal() => told.rollback = Some(rollback.id),
        Ok(_) => return Ok(()),
        Err(error) if error.class() != ErrorClass::Permanent => return Err(error),
        Err(error) => told.held = Some(Failure { step: None, ..Failure::from_error(StepName::Promote, &error) }),
    }
    note(shared, &from, told).await
}

/// Notes that it was tried to go back from a deployment, and that it serves.
async fn note(shared: &Arc<Shared>, from: &Deployment, told: Liveness) -> Result<()> {
    let hold = Hold::take(shared, &from.app, from.id, None).await?;
    let lease = hold.lease.clone();
    let noted = async {
        let Some(snapshot) = shared.store.snapshot(from.id).await?.filter(is_live) else { return Ok(()) };
        let mut draft = Draft::of(snapshot);
        let liveness = draft.deployment().liveness.get_or_insert_default();
        (liveness.rollback, liveness.held) = (told.rollback, told.held);
        shared.write(&mut draft, &lease).await
    };
    let noted = noted.await;
    hold.release(noted).await
}
