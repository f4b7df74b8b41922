//! Ask the container until it is healthy.
//!
//! An answer at the right port is not enough: something else may listen there.
//! A success counts only if the container itself listens, runs, and is the same
//! process as at the success before.

use std::time::Duration;

use futures_util::StreamExt;

use super::StepContext;
use crate::app::{App, Domain};
use crate::backend::{
    Call, ContainerId, ContainerState, Listening, LogSelection, ObservedContainer, ProbeFailure, ProbeTarget, Snapshot,
    container_runtime::port_taken,
};
use crate::clock::Timestamp;
use crate::deployment::{Instance, Slot, StepOutput, Trigger};
use crate::engine::decide::is_warm;
use crate::engine::shared::Shared;
use crate::planted::planted;
use crate::{Error, ErrorClass, ErrorKind, Result};

/// How often one that was healthy is asked before it counts as unwell: one
/// answer may be late because of a pause of a garbage collector.
pub(in crate::engine) const LAST_LOOKS: u32 = 3;

/// Why the last look did not count as healthy.
enum Unwell {
    NotListening(Vec<u16>),
    Answer(ProbeFailure),
    /// The runtime could not be asked; that says nothing about the instance.
    Unseen(Error),
}

pub(super) async fn run(
    context: &StepContext,
    snapshot: &Snapshot,
    call: &Call,
    deadline: Timestamp,
) -> Result<StepOutput> {
    if planted!(SwitchBeforeHealth) || is_blind(snapshot) {
        return Ok(StepOutput::default());
    }
    let mut slot = snapshot.deployment.slot;
    if planted!(OldVersionProbed) && snapshot.instances.iter().any(|instance| Some(instance.slot) != slot) {
        slot = slot.map(crate::deployment::Slot::other);
    }
    let began = context.shared.clock.monotonic();
    // By slot, not by deployment: a warm rollback probes what an earlier deployment made.
    let mut probed = 0;
    for instance in snapshot.instances.iter().filter(|instance| Some(instance.slot) == slot) {
        wait_until_healthy(context, snapshot, call, deadline, instance).await?;
        probed += 1;
    }
    if probed == 0 {
        return Err(Error::new(ErrorKind::Unhealthy, "there is no instance to probe").with_code("container_gone"));
    }
    let took = context.shared.clock.monotonic().saturating_sub(began);
    context.log.say(&format!("healthy after {} ms", took.as_millis()));
    Ok(StepOutput { note: Some(format!("healthy after {} ms", took.as_millis())), ..StepOutput::default() })
}

/// The mistake of [`planted`](crate::planted): what is gone back to is not looked at.
fn is_blind(snapshot: &Snapshot) -> bool {
    planted!(RollsBackToTheDead) && snapshot.deployment.trigger == Trigger::Unwell
}

async fn wait_until_healthy(
    context: &StepContext,
    snapshot: &Snapshot,
    call: &Call,
    deadline: Timestamp,
    instance: &Instance,
) -> Result<()> {
    let shared = &context.shared;
    let check = &snapshot.deployment.release.health;
    let host = snapshot.deployment.release.domains.first();
    // What a warm rollback goes back to was healthy when it was replaced and has
    // run since: one answer shows that it still is.
    let wanted = if is_warm(snapshot) || planted!(OneAnswerIsEnough) { 1 } else { check.successes };
    let mut row = 0;
    let mut process = None;
    loop {
        let seen = match shared.runtime.inspect(&instance.name).await {
            Ok(Some(observed)) => {
                if let ContainerState::Exited { code, out_of_memory } = observed.state {
                    let release = &snapshot.deployment.release;
                    return Err(exited(context, release, &observed.id, code, out_of_memory, "before").await);
                }
                if process != observed.started_at {
                    row = 0;
                    process = observed.started_at;
                }
                look(&context.shared, instance, &observed, host, check).await
            }
            Ok(None) => return Err(gone(instance)),
            Err(error) => Err(error),
        };
        let unwell = match seen {
            Ok(unwell) => unwell,
            // A daemon that restarts takes no instance down with it.
            Err(error) if error.class() != ErrorClass::Permanent => Some(Unwell::Unseen(error)),
            Err(error) => return Err(error),
        };
        match unwell {
            // One that is well may finish its row: after a restart of the
            // engine the deadline may be over before the first look.
            None => row += 1,
            Some(unwell) => {
                row = 0;
                if shared.now().after(check.interval) >= deadline {
                    relay_output(context, instance).await;
                    return Err(never_healthy(snapshot, instance, unwell));
                }
            }
        }
        if row >= wanted {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = call.cancel.cancelled() => return Err(Error::new(ErrorKind::Cancelled, "no longer wanted")),
            () = shared.clock.sleep(check.interval) => {}
        }
    }
}

/// One look; `None` if the instance is well.
async fn look(
    shared: &Shared,
    instance: &Instance,
    observed: &ObservedContainer,
    host: Option<&Domain>,
    check: &crate::app::HealthCheck,
) -> Result<Option<Unwell>> {
    match shared.runtime.listening(&observed.id, &instance.endpoint).await? {
        Listening::Foreign { who } => return Err(port_taken(&instance.endpoint, &who)),
        Listening::Nothing { elsewhere } => return Ok(Some(Unwell::NotListening(elsewhere))),
        Listening::Ours | Listening::Unknown => {}
    }
    let target = ProbeTarget { endpoint: &instance.endpoint, host, check };
    Ok(shared.prober.probe(target).await.err().map(Unwell::Answer))
}

/// `when` says whether it was before or after it was healthy.
async fn exited(
    context: &StepContext,
    release: &App,
    id: &ContainerId,
    code: Option<i32>,
    out_of_memory: bool,
    when: &str,
) -> Error {
    relay(context, id).await;
    if out_of_memory {
        let limit = release.resources.memory_bytes() >> 20;
        return Error::new(ErrorKind::Unhealthy, format!("the app was killed for using more than its {limit} MiB"))
            .with_code("out_of_memory")
            .with_hint("raise `resources.memory_bytes` or make the app use less");
    }
    let how = match code {
        Some(code) if code > 128 => format!("by signal {}", code - 128),
        Some(code) => format!("with code {code}"),
        None => "without saying how".to_owned(),
    };
    Error::new(ErrorKind::Unhealthy, format!("the app exited {how} {when} it was healthy"))
        .with_code("exited")
        .with_hint("its last lines are in the deployment's log")
}

/// Whether the code of a failure says that the app does not run any more.
pub(in crate::engine) fn is_down(code: &str) -> bool {
    matches!(code, "exited" | "out_of_memory" | "container_gone")
}

fn gone(instance: &Instance) -> Error {
    Error::new(ErrorKind::Unhealthy, format!("container `{}` has disappeared", instance.name))
        .with_code("container_gone")
        .with_hint("somebody removed it by hand; deploy again")
}

/// One last look before users are sent there: it may have died, or the machine
/// may have been restarted, since it was found healthy.
pub(in crate::engine) async fn still_healthy(context: &StepContext, snapshot: &Snapshot) -> Result<()> {
    if planted!(SwitchBeforeHealth, OldVersionProbed) || is_blind(snapshot) {
        return Ok(());
    }
    match snapshot.deployment.slot {
        Some(slot) => healthy_in(context, snapshot, slot, &snapshot.deployment.release).await,
        None => Ok(()),
    }
}

/// Looks whether users reach what was promoted: by its name, where the router
/// says that they come in. A router that does not answer at all says nothing
/// about the version.
pub(in crate::engine) async fn still_reached(context: &StepContext, snapshot: &Snapshot) -> Result<()> {
    let shared = &context.shared;
    let host = snapshot.app.as_ref().and_then(|app| app.serving.domains.first());
    let (Some(entrance), Some(host)) = (shared.router.entrance(), host) else { return Ok(()) };
    let check = &snapshot.deployment.release.health;
    let ask = || shared.prober.probe(ProbeTarget { endpoint: &entrance, host: Some(host), check });
    let mut answer = ask().await;
    for _ in 1..LAST_LOOKS {
        if answer.is_ok() {
            break;
        }
        shared.clock.sleep(check.interval).await;
        answer = ask().await;
    }
    match answer {
        Ok(()) => Ok(()),
        Err(ProbeFailure::Refused) => {
            Err(Error::new(ErrorKind::Unavailable, format!("the router does not accept connections at {entrance}")))
        }
        Err(failure) => {
            let text = format!("users who ask for `{}` at `{host}` get no good answer: {failure}", check.path);
            Err(Error::new(ErrorKind::Unhealthy, text)
                .with_code("not_reached")
                .with_hint("it answers when it is asked directly: look at what it does with this host name"))
        }
    }
}

/// Looks whether what is in a slot is well, which was well before; `release` is its own.
pub(super) async fn healthy_in(context: &StepContext, snapshot: &Snapshot, slot: Slot, release: &App) -> Result<()> {
    let check = &release.health;
    let host = release.domains.first();
    for instance in snapshot.instances.iter().filter(|instance| instance.slot == slot) {
        let mut looks = 1;
        loop {
            let observed = still_runs(context, instance, release).await?;
            let unwell = look(&context.shared, instance, &observed, host, check).await.transpose();
            let Some(unwell) = unwell else { break };
            if unwell.is_err() || looks == LAST_LOOKS {
                // It may have ended while it was asked, which says more than this.
                still_runs(context, instance, release).await?;
                return Err(not_healthy_any_more(release, instance, unwell?));
            }
            looks += 1;
            context.shared.clock.sleep(check.interval).await;
        }
    }
    Ok(())
}

/// What serves, as it is; an error that [`is_down`] knows if it does not run any more.
async fn still_runs(context: &StepContext, instance: &Instance, release: &App) -> Result<ObservedContainer> {
    let Some(observed) = context.shared.runtime.inspect(&instance.name).await? else { return Err(gone(instance)) };
    match observed.state {
        ContainerState::Exited { code, out_of_memory } => {
            Err(exited(context, release, &observed.id, code, out_of_memory, "after").await)
        }
        ContainerState::Created => Err(Error::new(
            ErrorKind::Unhealthy,
            format!("container `{}` was made anew and is not started", instance.name),
        )
        .with_code("container_gone")),
        ContainerState::Running => Ok(observed),
    }
}

/// What one look at an instance shows that serves.
#[derive(Debug)]
pub(in crate::engine) enum Sight {
    /// It runs, since that time, and is well; or why it is not.
    Runs(Option<Timestamp>, Result<()>),
    /// It does not run, or is not there.
    Down,
}

/// Looks once at an instance, whose release this is. An error says nothing about it.
pub(in crate::engine) async fn glance(shared: &Shared, instance: &Instance, release: &App) -> Result<Sight> {
    let Some(observed) = shared.runtime.inspect(&instance.name).await? else { return Ok(Sight::Down) };
    if observed.state != ContainerState::Running {
        return Ok(Sight::Down);
    }
    let (check, host) = (&release.health, release.domains.first());
    let unwell = look(shared, instance, &observed, host, check).await?;
    let seen = match unwell.map(|unwell| not_healthy_any_more(release, instance, unwell)) {
        None => Ok(()),
        Some(error) if error.kind() == ErrorKind::Unhealthy => Err(error),
        Some(error) => return Err(error),
    };
    Ok(Sight::Runs(observed.started_at, seen))
}

/// It was healthy, and is not any more.
fn not_healthy_any_more(release: &App, instance: &Instance, unwell: Unwell) -> Error {
    let path = &release.health.path;
    let why = match unwell {
        Unwell::Unseen(error) => return error,
        Unwell::NotListening(_) => "it does not listen on its port any more".to_owned(),
        Unwell::Answer(failure) => format!("no good answer from `{path}` at {}: {failure}", instance.endpoint),
    };
    Error::new(ErrorKind::Unhealthy, format!("the app was healthy and is not any more: {why}"))
        .with_code("unhealthy")
        .with_hint("it was asked three times; its last lines are in the deployment's log")
}

fn never_healthy(snapshot: &Snapshot, instance: &Instance, unwell: Unwell) -> Error {
    let health = &snapshot.deployment.release.health;
    let within = health.deadline.as_secs_f32();
    match unwell {
        Unwell::NotListening(elsewhere) => {
            let error =
                Error::new(ErrorKind::Unhealthy, format!("the app did not listen on its port within {within} s"))
                    .with_code("never_listened");
            match elsewhere.first() {
                Some(port) => error.with_hint(format!("it listens on {port}; set the app's port, or obey `PORT`")),
                None => error.with_hint("it must listen on the port in the variable `PORT`"),
            }
        }
        Unwell::Unseen(error) => error.with_hint("the container could not be looked at until the deadline"),
        Unwell::Answer(failure) => {
            let message =
                format!("no good answer from `{}` at {} within {within} s: {failure}", health.path, instance.endpoint);
            Error::new(ErrorKind::Unhealthy, message)
                .with_code("unhealthy")
                .with_hint("the health path must answer 200 to 399; the app's last lines are in the deployment's log")
        }
    }
}

/// Puts the last lines that the container printed into the deployment's log,
/// where somebody who asks why will look. Doing without them is no failure.
async fn relay_output(context: &StepContext, instance: &Instance) {
    if let Ok(Some(observed)) = context.shared.runtime.inspect(&instance.name).await {
        relay(context, &observed.id).await;
    }
}

async fn relay(context: &StepContext, id: &ContainerId) {
    let selection = LogSelection { tail: Some(50), follow: false };
    let lines = async {
        let Ok(mut lines) = context.shared.runtime.logs(id, selection).await else { return };
        while let Some(Ok(chunk)) = lines.next().await {
            context.log.relay(chunk.stream, &chunk.text);
        }
    };
    tokio::select! {
        biased;
        () = lines => {}
        // How it has ended is known, and must not wait for that.
        () = context.shared.clock.sleep(LAST_LINES) => {}
    }
}

/// How long the last lines of a container may take: less than a look may take
/// beside its probes, or nobody would be told that it has ended.
const LAST_LINES: Duration = Duration::from_secs(5);
