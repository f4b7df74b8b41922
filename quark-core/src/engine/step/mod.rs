//! What each step does to the world. Every step observes before it acts, so
//! that doing it a second time, after a crash, does no harm.

mod build;
mod clear;
mod collect;
mod create;
mod fetch;
mod hook;
mod mend;
mod probe;
mod promote;
mod restart;
mod roll_back;
mod shift;
mod start;
mod undo;

use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use super::log::DeploymentLog;
use super::shared::Shared;
use crate::app::{App, HookPoint};
use crate::backend::{
    Call, Drained, Labels, Lease, Metric, ObservedContainer, Snapshot, StopOutcome, container_runtime::label,
};
use crate::clock::Timestamp;
use crate::deployment::{AppRecord, ContainerName, DeploymentId, Instance, StepName, StepOutput};
use crate::planted::planted;
use crate::{Error, ErrorKind, Result};

pub(super) use hook::{STILL_RUNS, exit_code};
pub(super) use probe::{LAST_LOOKS, Sight, glance, is_down, still_healthy, still_reached};
pub(super) use restart::{is_paid, may_start};
pub(super) use roll_back::can_go_back;
pub(super) use shift::plan as plan_share;

/// The code of an error of the store while a step was only planned.
pub(super) const STORE_AWAY: &str = "store_away";

/// What every step can reach.
#[derive(Clone)]
pub(super) struct StepContext {
    pub(super) shared: Arc<Shared>,
    pub(super) lease: Lease,
    pub(super) log: Arc<DeploymentLog>,
}

impl StepContext {
    /// Makes sure, right before something is stopped or removed, that no other
    /// engine has taken over: a runtime does not compare fences.
    async fn reassure(&self) -> Result<()> {
        self.shared.refuse_in_safe_mode()?;
        self.shared.store.check_lease(&self.lease).await
    }
}

/// What the intent of a step writes besides the step itself. `resumed` says
/// that an intent of this very attempt is there already.
pub(super) async fn plan(context: &StepContext, draft: &mut Draft, step: StepName, resumed: bool) -> Result<()> {
    if !resumed && let Some(room) = context.shared.admit(draft, step).await? {
        // One that goes on has its room already.
        if step == StepName::Create {
            draft.within(room);
        }
    }
    match step {
        StepName::Create => create::plan(context, draft).await?,
        StepName::Promote if !resumed => {
            promote::ask(context, draft.snapshot()).await?;
            reserve_generation(draft);
        }
        StepName::Shift if !resumed => {
            promote::ask(context, draft.snapshot()).await?;
            shift::plan(draft)?;
            reserve_generation(draft);
        }
        // The way back.
        StepName::RollBack if !resumed => reserve_generation(draft),
        StepName::Revert if !resumed => {
            draft.serve(|serving| serving.canary = None);
            reserve_generation(draft);
        }
        StepName::Drain | StepName::Clear => clear::plan(context, draft).await?,
        StepName::Mend => restart::plan_mend(context, draft).await?,
        StepName::Restart => restart::plan(context, draft),
        _ => {}
    }
    Ok(())
}

fn reserve_generation(draft: &mut Draft) {
    if !planted!(GenerationReused) {
        draft.serve(|serving| serving.generation.0 += 1);
    }
}

/// Does a step.
pub(super) async fn run(
    context: &StepContext,
    snapshot: &Snapshot,
    step: StepName,
    call: &Call,
    deadline: Timestamp,
) -> Result<StepOutput> {
    match step {
        StepName::Fetch => fetch::run(context, snapshot, call).await,
        StepName::Build => build::run(context, snapshot, call).await,
        StepName::Clear => clear::run(context, snapshot, call).await,
        StepName::Create => create::run(context, snapshot, call).await,
        StepName::Start => start::run(context, snapshot, call).await,
        StepName::Probe => probe::run(context, snapshot, call, deadline).await,
        StepName::Shift => shift::run(context, snapshot, call).await,
        StepName::Promote => promote::run(context, snapshot, call).await,
        StepName::RollBack => roll_back::run(context, snapshot, call).await,
        StepName::Revert => promote::revert(context, snapshot, call).await,
        StepName::Undo => undo::run(context, snapshot, call).await,
        StepName::Drain => clear::drain(context, snapshot, call).await,
        StepName::Retire => clear::retire(context, snapshot, call).await,
        StepName::Unroute => undo::unroute(context, snapshot, call).await,
        StepName::Mend => mend::run(context, snapshot, call).await,
        StepName::Collect => collect::run(context, snapshot, call).await,
        StepName::Restart => restart::run(context, snapshot, call).await,
        StepName::PreDeploy => hook::run(context, snapshot, HookPoint::PreDeploy, call, deadline).await,
        StepName::PrePromote => hook::run(context, snapshot, HookPoint::PrePromote, call, deadline).await,
        StepName::PostPromote => hook::run(context, snapshot, HookPoint::PostPromote, call, deadline).await,
        StepName::PostRetire => hook::run(context, snapshot, HookPoint::PostRetire, call, deadline).await,
        StepName::Tidy => hook::tidy(context, snapshot, call).await.map(|()| StepOutput::default()),
    }
}

/// How long a step may take.
pub(super) fn limit(step: StepName, release: &App) -> Duration {
    let timing = release.timing;
    match step {
        StepName::Fetch => Duration::from_secs(120).min(timing.build),
        StepName::Build => timing.build,
        StepName::Create
        | StepName::Start
        | StepName::Shift
        | StepName::Promote
        | StepName::RollBack
        | StepName::Revert
        | StepName::Unroute => Duration::from_secs(30),
        StepName::Probe => release.health.deadline,
        StepName::Drain => timing.drain + Duration::from_secs(30),
        StepName::Clear => timing.drain + timing.stop + Duration::from_secs(60),
        StepName::Mend => Duration::from_secs(60),
        StepName::Restart => timing.stop + Duration::from_secs(60),
        StepName::PreDeploy => hook::limit(HookPoint::PreDeploy, release),
        StepName::PrePromote => hook::limit(HookPoint::PrePromote, release),
        StepName::PostPromote => hook::limit(HookPoint::PostPromote, release),
        StepName::PostRetire => hook::limit(HookPoint::PostRetire, release),
        StepName::Tidy => timing.stop + Duration::from_secs(30),
        StepName::Undo | StepName::Retire | StepName::Collect => timing.drain + timing.stop + Duration::from_secs(30),
    }
}

/// Whether a step whose time is over has failed for good. The others are short,
/// and may have been done: they are looked at and tried again.
pub(super) fn uses_its_time_up(step: StepName) -> bool {
    matches!(step, StepName::Fetch | StepName::Build | StepName::Probe) || step.hook().is_some()
}

/// Whether a wish to cancel stops this step.
pub(super) fn can_be_cancelled(step: StepName) -> bool {
    matches!(
        step,
        StepName::Fetch
            | StepName::Build
            | StepName::Clear
            | StepName::Create
            | StepName::Start
            | StepName::Probe
            | StepName::PreDeploy
            | StepName::PrePromote
    )
}

/// Whether the intent of this step must not be written after a cancel. The
/// effect of a switch cannot be cancelled, its intent can: one row decides.
pub(super) fn yields_to_cancel(step: StepName) -> bool {
    can_be_cancelled(step) || matches!(step, StepName::Shift | StepName::Promote)
}

/// Whether a shutdown of the engine breaks the step off; the next engine does
/// it again from its start. The others are short and are finished.
pub(super) fn is_interruptible(step: StepName) -> bool {
    matches!(
        step,
        StepName::Fetch
            | StepName::Build
            | StepName::Probe
            | StepName::Drain
            | StepName::Clear
            | StepName::Retire
            | StepName::Undo
            | StepName::Tidy
    ) || step.hook().is_some()
}

/// Whether the time of a step is not a part of that which a deployment has until
/// it is promoted: what comes after that has a time of its own.
pub(super) fn has_its_own_time(step: StepName) -> bool {
    is_cleanup(step) || step.hook().is_some_and(|point| !point.must_succeed())
}

/// Whether a step may take long and has nothing to do with what is live, so that
/// this can be mended meanwhile.
pub(super) fn leaves_live_alone(step: StepName) -> bool {
    matches!(
        step,
        StepName::Fetch
            | StepName::Build
            | StepName::Probe
            | StepName::PreDeploy
            | StepName::PrePromote
            | StepName::PostRetire
    )
}

/// Whether a step takes away what an earlier one made.
pub(super) fn is_cleanup(step: StepName) -> bool {
    matches!(
        step,
        StepName::Undo
            | StepName::RollBack
            | StepName::Revert
            | StepName::Drain
            | StepName::Retire
            | StepName::Clear
            | StepName::Unroute
            | StepName::Mend
            | StepName::Collect
            | StepName::Restart
            | StepName::Tidy
    )
}

/// The app, which is there as long as a deployment of it is active.
fn app(snapshot: &Snapshot) -> Result<&AppRecord> {
    snapshot
        .app
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the app is gone in the middle of a deployment"))
}

/// The labels that mark the containers of a deployment.
fn labels(installation: &str, deployment: DeploymentId) -> Labels {
    [(label::INSTALLATION, installation.to_owned()), (label::DEPLOYMENT, deployment.to_string())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// Counts the requests that have outlasted a drain.
fn count_cut(shared: &Shared, drained: Drained) {
    if let Drained::TimedOut { open } = drained {
        shared.metrics.record(Metric::RequestsCut(open));
    }
}

/// Stops and removes an instance, whatever has become of it.
async fn dispose(context: &StepContext, instance: &Instance, call: &Call, grace: Duration) -> Result<()> {
    dispose_of(context, &instance.name, instance.deployment, call, grace).await
}

/// Stops and removes a container of a deployment, whatever has become of it.
async fn dispose_of(
    context: &StepContext,
    name: &ContainerName,
    deployment: DeploymentId,
    call: &Call,
    grace: Duration,
) -> Result<()> {
    let runtime = &context.shared.runtime;
    let expected = labels(&context.shared.installation, deployment);
    let is_ours =
        |observed: &ObservedContainer| expected.iter().all(|(name, value)| observed.labels.get(name) == Some(value));
    if let Some(observed) = runtime.inspect(name).await? {
        if !is_ours(&observed) {
            context.log.say(&format!("{name} belongs to somebody else and is left alone"));
            return Ok(());
        }
        context.reassure().await?;
        let outcome = runtime.stop(call, &observed.id, grace).await?;
        context.log.say(&format!("stopped {name} ({outcome:?})"));
        runtime.remove(call, &observed.id, &expected).await?;
        if outcome != StopOutcome::AlreadyStopped {
            return Ok(());
        }
    }
    // Nothing ran. A runtime's answer may be a moment old, and one of this name
    // may have been made anew since: it is not forgotten unless it is gone.
    match runtime.inspect(name).await? {
        Some(other) if is_ours(&other) => {
            let text = format!("{name} was gone a moment ago, and is there");
            Err(Error::new(ErrorKind::Unavailable, text).with_code("still_there"))
        }
        _ => Ok(()),
    }
}
