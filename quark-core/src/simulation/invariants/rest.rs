//! What must hold when nothing is going on any more.

use std::collections::BTreeSet;

use crate::backend::{ContainerState, Labels, ProbeTarget};
use crate::deployment::{AppRecord, Conclusion, DeploymentId, EventKind, State};
use crate::engine::Finding;
use crate::simulation::world::World;
use crate::{Error, Result};

/// What is not as it should be, in words; nothing if all is well.
pub(crate) async fn look(world: &World) -> Result<(), String> {
    all_is_right(world).await?;
    nothing_to_explain(world).await?;
    // To ask an engine takes a moment, in which something may have begun.
    all_is_right(world).await
}

async fn all_is_right(world: &World) -> Result<(), String> {
    nothing_unfinished(world).await?;
    let mut wanted = BTreeSet::new();
    for app in world.backends().store.apps().await.map_err(|error| told(&error))? {
        app_is_right(world, &app, &mut wanted).await?;
    }
    let containers = world.backends().runtime.list(&Labels::new()).await.map_err(|error| told(&error))?;
    for container in &containers {
        if !wanted.remove(&container.name) {
            return Err(world.with_ledger(|ledger| {
                if let Some(hook) = ledger.hook(&container.name) {
                    return format!("the {} hook of {} is left over", hook.point, ledger.label(hook.deployment));
                }
                let label = ledger.container(&container.name).map(|known| ledger.label(known.deployment));
                format!("a container of {} is left over", label.unwrap_or_default())
            }));
        }
    }
    nothing_held(world).await
}

async fn nothing_unfinished(world: &World) -> Result<(), String> {
    let unfinished = world.backends().store.unfinished(None).await.map_err(|error| told(&error))?;
    match unfinished.first() {
        Some(one) => Err(format!("{}#{} is still {}", one.app, one.sequence, one.state)),
        None => Ok(()),
    }
}

async fn nothing_held(world: &World) -> Result<(), String> {
    let depth = world.backends().queue.depth().await.map_err(|error| told(&error))?;
    let jobs = depth.ready + depth.delayed + depth.claimed + depth.dead;
    if jobs > 0 {
        return Err(format!("jobs are left in the queue: {depth:?}"));
    }
    let now = world.now();
    if let Some(app) =
        world.with_ledger(|ledger| ledger.apps().find(|app| app.is_leased(now)).map(|app| app.name.to_string()))
    {
        return Err(format!("{app} is still leased"));
    }
    match world.checkouts().first() {
        Some(id) => Err(format!("the checkout of {} is left over", world.label(*id))),
        None => Ok(()),
    }
}

/// An engine that is asked says the same: nothing is wrong but what has failed.
async fn nothing_to_explain(world: &World) -> Result<(), String> {
    for app in world.backends().store.apps().await.map_err(|error| told(&error))? {
        let name = app.spec.name.clone();
        let asked = world.ask(move |engine| Box::pin(async move { engine.explain(&name).await }));
        let explained = asked.await.map_err(|error| told(&error))?;
        // That a deployment failed, was not well, or met a taken address, stays true until the next one.
        let history = |finding: &&Finding| {
            matches!(
                finding,
                Finding::LastFailed { .. }
                    | Finding::LastRolledBack { .. }
                    | Finding::Held { .. }
                    | Finding::AddressTaken { .. }
                    | Finding::HookFailed { .. }
            )
        };
        let is_ill = is_ill(world, &app).await;
        let told = |finding: &&Finding| matches!(finding, Finding::Unhealthy { .. });
        let is_told = explained.findings.iter().any(|finding| told(&finding));
        if is_ill == Some(true) && !is_told {
            return Err(format!("what is live of {} is not well, and nobody is told", app.spec.name));
        }
        let known = |finding: &&Finding| history(finding) || is_ill == Some(true) && told(finding);
        let wrong = explained.findings.iter().find(|finding| !known(finding));
        if let Some(wrong) = wrong {
            return Err(format!("all is well with {}, and the engine says: {wrong:?}", app.spec.name));
        }
    }
    Ok(())
}

/// Whether what is live is not well, if its policy says that somebody asks.
async fn is_ill(world: &World, app: &AppRecord) -> Option<bool> {
    let live = app.serving.live.as_ref()?;
    let snapshot = world.backends().store.snapshot(live.deployment).await.ok()??;
    let release = &snapshot.deployment.release;
    release.liveness.as_ref()?;
    let endpoint = &snapshot.instances.iter().find(|instance| instance.slot == live.slot)?.endpoint;
    let target = ProbeTarget { endpoint, host: release.domains.first(), check: &release.health };
    Some(world.backends().prober.probe(target).await.is_err())
}

async fn app_is_right(
    world: &World,
    app: &AppRecord,
    wanted: &mut BTreeSet<crate::deployment::ContainerName>,
) -> Result<(), String> {
    let name = &app.spec.name;
    if app.removed_at.is_some() {
        return Err(format!("{name} is still being removed"));
    }
    if app.serving.standby.is_some() {
        return Err(format!("{name} still has a standby"));
    }
    let observed = world.backends().router.observe(name).await.map_err(|error| told(&error))?;
    let Some(live) = &app.serving.live else {
        return match observed {
            Some(_) => Err(format!("{name} has a route, and nothing is live")),
            None => Ok(()),
        };
    };
    let newest = world.with_ledger(|ledger| {
        let served = ledger.deployments_of(name).filter(|entry| entry.was_live);
        served.filter(|entry| entry.conclusion == Some(Conclusion::Succeeded)).map(|entry| entry.sequence).max()
    });
    let sequence = world.with_ledger(|ledger| ledger.deployment(live.deployment).map(|entry| entry.sequence));
    if newest != sequence {
        return Err(format!("{} is live, and #{newest:?} was the last to succeed", world.label(live.deployment)));
    }
    if observed.as_ref().map(|route| route.active) != Some(live.slot) {
        return Err(format!(
            "{} is live in {}, and the route is {observed:?}",
            world.label(live.deployment),
            live.slot
        ));
    }
    let snapshot = world.backends().store.snapshot(live.deployment).await.map_err(|error| told(&error))?;
    let instances = snapshot.map(|snapshot| snapshot.instances).unwrap_or_default();
    if let Some(other) = instances.iter().find(|instance| instance.slot != live.slot) {
        return Err(format!("the row of {} is left over", world.label(other.deployment)));
    }
    if instances.is_empty() {
        return Err(format!("{} is live and has no instance", world.label(live.deployment)));
    }
    for instance in &instances {
        let observed = world.backends().runtime.inspect(&instance.name).await.map_err(|error| told(&error))?;
        if observed.is_none_or(|observed| observed.state != ContainerState::Running) {
            return Err(format!("{} is live and does not run", world.label(instance.deployment)));
        }
        wanted.insert(instance.name.clone());
    }
    Ok(())
}

/// Whether the events of every deployment are whole.
pub(crate) async fn events_are_whole(world: &World) -> Result<(), String> {
    let ids: Vec<DeploymentId> = world.with_ledger(|ledger| ledger.deployments().map(|entry| entry.id).collect());
    for id in ids {
        let events = world.backends().store.events(Some(id), 0, usize::MAX).await.map_err(|error| told(&error))?;
        let label = world.label(id);
        let mut state = None;
        let mut ends = 0;
        for event in &events {
            match &event.kind {
                EventKind::Created if state.is_none() => state = Some(State::Queued),
                EventKind::Created => return Err(format!("{label} was created twice")),
                EventKind::StateChanged { from, to } => {
                    if state != Some(*from) {
                        return Err(format!("{label} went to {to} from {from}, and was {state:?}"));
                    }
                    state = Some(*to);
                }
                EventKind::Completed { .. } => ends += 1,
                _ => {}
            }
        }
        if state != Some(State::Completed) || ends != 1 {
            return Err(format!("the events of {label} end in {state:?}, and say {ends} times that it ended"));
        }
    }
    Ok(())
}

/// Whether the lines of every log are numbered from 1 without a gap.
pub(crate) async fn logs_are_whole(world: &World) -> Result<(), String> {
    for id in world.with_ledger(|ledger| ledger.deployments().map(|entry| entry.id).collect::<Vec<_>>()) {
        let lines = world.backends().store.log(id, 0, usize::MAX).await.map_err(|error| told(&error))?;
        if let Some((line, expected)) = lines.iter().zip(1..).find(|(line, expected)| line.sequence != *expected) {
            return Err(format!("line {expected} of the log of {} has number {}", world.label(id), line.sequence));
        }
    }
    Ok(())
}

/// Whether a secret is found in what people are shown.
pub(crate) async fn secrets_are_kept(world: &World, secrets: &[String]) -> Result<(), String> {
    for id in world.with_ledger(|ledger| ledger.deployments().map(|entry| entry.id).collect::<Vec<_>>()) {
        let store = &world.backends().store;
        let lines = store.log(id, 0, usize::MAX).await.map_err(|error| told(&error))?;
        for line in &lines {
            if secrets.iter().any(|secret| line.text.contains(secret.as_str())) {
                return Err(format!("the log of {} holds a secret: {}", world.label(id), line.text));
            }
        }
    }
    Ok(())
}

fn told(error: &Error) -> String {
    error.report()
}
