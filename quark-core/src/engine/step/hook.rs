//! Run a hook: in a container of its own, made from the image of the version
//! that it belongs to.
//!
//! The container is looked for before anything is done, so a hook that an engine
//! has begun and left is waited for and not begun again. It is not removed here:
//! as long as its end is not written down, its container is what tells of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{StepContext, app, dispose_of};
use crate::app::{App, Hook, HookPoint};
use crate::backend::{
    Call, ContainerId, ContainerSpec, ContainerState, LogChunk, LogSelection, LogSink, ObservedContainer, Purpose,
    Snapshot, container_runtime::label,
};
use crate::clock::Timestamp;
use crate::deployment::{Deployment, StepOutput};
use crate::engine::decide::last;
use crate::engine::hooks;
use crate::engine::injected::of_hook;
use crate::engine::log::DeploymentLog;
use crate::planted::planted;
use crate::{Error, ErrorClass, ErrorKind, Result};

/// The code of a hook that is still running, although it was waited for as long as
/// it may hold its app. No step fails with it.
pub(in crate::engine) const STILL_RUNS: &str = "hook_runs";

/// What a hook's step may take beside the hook: to make its container, and to
/// stop it.
const MARGIN: Duration = Duration::from_secs(60);

/// How often a hook is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long a hook after the promotion is waited for in one go: others want to
/// work on the app, a rollback for instance.
const IN_ONE_GO: Duration = Duration::from_secs(1);

/// How long the last lines of a hook that has ended may take.
const LAST_LINES: Duration = Duration::from_secs(10);

/// How a hook's program ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct HookExit(pub(in crate::engine) i32);

impl fmt::Display for HookExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            code if code > 128 => write!(f, "it was ended by signal {}", code - 128),
            code => write!(f, "it exited with code {code}"),
        }
    }
}

impl std::error::Error for HookExit {}

/// A hook that is being run.
struct Running<'a> {
    context: &'a StepContext,
    call: &'a Call,
    point: HookPoint,
    hook: Hook,
    spec: ContainerSpec,
    /// How long it is given to stop.
    grace: Duration,
    /// When its time is over.
    until: Timestamp,
    log: Arc<DeploymentLog>,
}

pub(super) async fn run(
    context: &StepContext,
    snapshot: &Snapshot,
    point: HookPoint,
    call: &Call,
    deadline: Timestamp,
) -> Result<StepOutput> {
    let live = if point == HookPoint::PostRetire { live(context, snapshot).await? } else { None };
    let of = if point == HookPoint::PostRetire { live.as_ref() } else { Some(&snapshot.deployment) };
    let Some((of, hook)) = of.and_then(|of| Some((of, of.release.hooks.at(point)?.clone()))) else {
        // The version that it belonged to serves no more.
        return Ok(StepOutput { note: Some(format!("there is no {point} hook any more")), ..StepOutput::default() });
    };
    // What it prints belongs to the version whose variables it has: only its own
    // log keeps their values secret.
    let is_own = of.id == snapshot.deployment.id;
    let log = if is_own { Arc::clone(&context.log) } else { DeploymentLog::of(&context.shared, of) };
    let grace = of.release.timing.stop;
    let began = last(snapshot, point.into()).map_or_else(|| context.shared.now(), |record| record.started_at);
    let until = began.after(hook.timeout).min(deadline.before(MARGIN.saturating_add(grace)));
    let spec = spec(context, of, snapshot, point, &hook)?;
    // The hook may take long; to ask the runtime for something may not.
    let asks = Call { timeout: call.timeout.min((MARGIN / 2).saturating_add(grace)), ..call.clone() };
    let running = Running { context, call: &asks, point, hook, spec, grace, until, log };
    let done = running.to_its_end().await;
    if !is_own {
        running.log.flush().await;
    }
    done
}

/// The version that serves, in whose image it runs what is to be done once another
/// one is gone.
async fn live(context: &StepContext, snapshot: &Snapshot) -> Result<Option<Deployment>> {
    let Some(live) = &app(snapshot)?.serving.live else { return Ok(None) };
    context.shared.store.deployment(live.deployment).await
}

/// What the container of a hook is made from. `of` is the version that it belongs
/// to, `snapshot` the deployment in whose journal it is.
fn spec(
    context: &StepContext,
    of: &Deployment,
    snapshot: &Snapshot,
    point: HookPoint,
    hook: &Hook,
) -> Result<ContainerSpec> {
    let Some(artifact) = &of.artifact else {
        return Err(Error::new(ErrorKind::Internal, "there is no image to run the hook in"));
    };
    let env = of_hook(of, point, &context.shared.config.base_domain)?;
    Ok(ContainerSpec {
        name: hooks::container(&snapshot.deployment, point),
        installation: context.shared.installation.clone(),
        app: of.app.clone(),
        deployment: snapshot.deployment.id,
        fence: context.lease.fence,
        artifact: artifact.clone(),
        command: Some(hook.command.clone()),
        env,
        resources: of.release.resources,
        purpose: Purpose::Hook(point),
    })
}

impl Running<'_> {
    async fn to_its_end(&self) -> Result<StepOutput> {
        let id = self.begun().await?;
        let observed = self.wait(&id).await?;
        let ContainerState::Exited { code, out_of_memory } = observed.state else { return Err(self.timed_out().await) };
        let point = self.point;
        let Some(code) = code else {
            // The runtime cannot tell: whoever was its parent has died. What nobody
            // has seen the end of is run again.
            self.log.say(&format!("nobody saw how the {point} hook ended; it is run again"));
            dispose_of(self.context, &self.spec.name, self.spec.deployment, self.call, self.grace).await?;
            return Err(Error::new(ErrorKind::Unavailable, format!("nobody saw how the {point} hook ended"))
                .with_code("hook_end_unseen")
                .with_class(ErrorClass::Retryable));
        };
        if code == 0 || planted!(FailedHookIgnored) {
            self.log.say(&format!("the {point} hook has ended well"));
            return Ok(StepOutput {
                note: Some(HookExit(code).to_string()),
                exit_code: Some(code),
                ..StepOutput::default()
            });
        }
        let error = Error::new(ErrorKind::Unhealthy, format!("the {point} hook has failed"))
            .with_code("hook_failed")
            .with_class(ErrorClass::Permanent)
            .with_source(HookExit(code));
        Err(if out_of_memory {
            let limit = self.spec.resources.memory_bytes() >> 20;
            error
                .with_hint(format!("it was killed for using more than its {limit} MiB: raise `resources.memory_bytes`"))
        } else {
            error.with_hint("its last lines are in the deployment's log; mend it and deploy again")
        })
    }

    /// Makes and starts its container, unless that was done already.
    async fn begun(&self) -> Result<ContainerId> {
        let (context, spec) = (self.context, &self.spec);
        let runtime = &context.shared.runtime;
        let mut there = runtime.inspect(&spec.name).await?;
        if let Some(observed) = &there {
            let (labels, wanted) = (&observed.labels, spec.labels());
            let same = |name: &str| labels.get(name) == wanted.get(name);
            let is_ours = same(label::INSTALLATION) && same(label::DEPLOYMENT);
            // Of a version that serves no more, if it is after a retirement.
            if is_ours && (!same(label::SPEC) || planted!(HookRunAgain)) {
                dispose_of(context, &spec.name, spec.deployment, self.call, self.grace).await?;
                there = None;
            }
        }
        let id = match there {
            Some(observed) if observed.state != ContainerState::Created => return Ok(observed.id),
            Some(observed) => observed.id,
            None => runtime.create(self.call, spec).await?.id,
        };
        self.log.say(&format!("running the {} hook, for {:?} at most", self.point, self.hook.timeout));
        runtime.start(self.call, &id).await?;
        Ok(id)
    }

    /// Waits for its end, or until its time is over, and relays what it prints.
    async fn wait(&self, id: &ContainerId) -> Result<ObservedContainer> {
        let shared = &self.context.shared;
        let mut output = Output::of(self, id).await;
        let began = shared.clock.monotonic();
        loop {
            let Some(observed) = shared.runtime.inspect(&self.spec.name).await? else {
                return Err(Error::new(ErrorKind::Unavailable, format!("the {} hook has disappeared", self.point))
                    .with_code("container_gone")
                    .with_class(ErrorClass::Retryable));
            };
            let now = shared.now();
            let has_ended = matches!(observed.state, ContainerState::Exited { .. });
            if now >= self.until {
                // One that was stopped for its time may end with any code.
                output.last(self, id).await;
                return Ok(ObservedContainer { state: ContainerState::Running, ..observed });
            }
            if has_ended {
                output.last(self, id).await;
                return Ok(observed);
            }
            if !self.point.must_succeed() && shared.clock.monotonic().saturating_sub(began) >= IN_ONE_GO {
                return Err(Error::new(ErrorKind::Unavailable, format!("the {} hook still runs", self.point))
                    .with_code(STILL_RUNS));
            }
            output.relay(self, LOOK.min(self.until.since(now))).await?;
        }
    }

    async fn timed_out(&self) -> Error {
        let (point, timeout) = (self.point, self.hook.timeout);
        let stopped = self.stop().await;
        if let Err(error) = stopped {
            // Whoever cleans up tries again.
            self.log.say(&format!("the {point} hook could not be stopped: {error}"));
        }
        Error::new(ErrorKind::Timeout, format!("the {point} hook took longer than {timeout:?} and was stopped"))
            .with_code("hook_timeout")
            .with_class(ErrorClass::Permanent)
            .with_hint("its last lines are in the deployment's log; give it more time with `timeout_ms`, or mend it")
    }

    async fn stop(&self) -> Result<()> {
        if let Some(observed) = self.context.shared.runtime.inspect(&self.spec.name).await? {
            self.context.reassure().await?;
            self.context.shared.runtime.stop(self.call, &observed.id, self.grace).await?;
        }
        Ok(())
    }
}

/// What a hook prints.
struct Output {
    /// As it comes, while that works.
    lines: Option<BoxStream<'static, Result<LogChunk>>>,
    /// How many lines were relayed.
    told: usize,
}

impl Output {
    async fn of(running: &Running<'_>, id: &ContainerId) -> Self {
        // One that is waited for a little at a time is read at its end.
        if !running.point.must_succeed() {
            return Self { lines: None, told: 0 };
        }
        let selection = LogSelection { tail: None, follow: true };
        let lines = running.context.shared.runtime.logs(id, selection).await.ok();
        Self { lines, told: 0 }
    }

    /// Relays what is printed for as long.
    async fn relay(&mut self, running: &Running<'_>, during: Duration) -> Result<()> {
        let mut over = running.context.shared.clock.sleep(during);
        loop {
            let next = async {
                match &mut self.lines {
                    Some(lines) => lines.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = running.call.cancel.cancelled() => {
                    return Err(Error::new(ErrorKind::Cancelled, "no longer wanted"));
                }
                () = &mut over => return Ok(()),
                line = next => match line {
                    Some(Ok(chunk)) => {
                        running.log.write(chunk.stream, &chunk.text);
                        self.told += 1;
                    }
                    // It has ended, or the runtime has broken off: a look will tell.
                    Some(Err(_)) => self.lines = None,
                    None => {
                        self.lines = None;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Relays what was not relayed by the end. Doing without is no failure.
    async fn last(&mut self, running: &Running<'_>, id: &ContainerId) {
        let shared = &running.context.shared;
        let told = self.told;
        let rest = async {
            let selection = LogSelection { tail: None, follow: false };
            let Ok(lines) = shared.runtime.logs(id, selection).await else { return };
            let mut lines = lines.skip(told);
            while let Some(Ok(chunk)) = lines.next().await {
                running.log.write(chunk.stream, &chunk.text);
            }
        };
        tokio::select! {
            biased;
            () = rest => {}
            () = shared.clock.sleep(LAST_LINES) => {}
        }
    }
}

/// Removes the containers of the hooks that a deployment has begun.
pub(super) async fn tidy(context: &StepContext, snapshot: &Snapshot, call: &Call) -> Result<()> {
    if planted!(HookLeftBehind) {
        return Ok(());
    }
    let deployment = &snapshot.deployment;
    for point in hooks::begun(snapshot) {
        let name = hooks::container(deployment, point);
        dispose_of(context, &name, deployment.id, call, deployment.release.timing.stop).await?;
    }
    Ok(())
}

/// How a hook's program ended, if an error says it.
pub(in crate::engine) fn exit_code(error: &Error) -> Option<i32> {
    std::error::Error::source(error)?.downcast_ref::<HookExit>().map(|exit| exit.0)
}

/// How long the step of a hook may take; the longest that there is where it is
/// not a hook of the deployment itself.
pub(super) fn limit(point: HookPoint, release: &App) -> Duration {
    let own = release.hooks.at(point).filter(|_| point != HookPoint::PostRetire);
    let longest = own.map_or(Hook::LONGEST, |hook| hook.timeout);
    longest.saturating_add(release.timing.stop).saturating_add(MARGIN)
}
