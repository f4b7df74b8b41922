//! `Driver`, continued: what it looks after while something takes long.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::draft::Draft;
use super::drift::drift;
use super::driver::{Burst, Driver, MEANWHILE, UNHEARD};
use super::log::DeploymentLog;
use super::reconcile::{found, look_at_live, mend_under};
use super::settle;
use super::step::{self, StepContext};
use crate::backend::Snapshot;
use crate::clock::Timestamp;
use crate::deployment::{Failure, State, StepName};
use crate::planted::planted;
use crate::platform::Task;
use crate::{Error, ErrorKind, Result};

/// How often a version that waits for people is looked at (`engine.md` 1.8).
pub(super) const WATCH: Duration = Duration::from_secs(10);

impl Driver {
    /// Looks whether a version that waits for people is well, and lets it wait
    /// on. Nothing is done to the world, so nothing is journalled.
    pub(super) async fn watch(&self, draft: &mut Draft, until: Timestamp) -> Result<Option<Burst>> {
        let (told, decided) = (self.cancelled.is_cancelled(), !draft.is_empty());
        if let Some(instead) = self.put_down(draft).await? {
            return Ok(instead);
        }
        if told && decided {
            // Whether there is a cancel is in the store only.
            return Ok(None);
        }
        let context =
            StepContext { shared: Arc::clone(&self.shared), lease: self.lease.clone(), log: Arc::clone(&self.log) };
        let seen = tokio::select! {
            biased;
            seen = step::still_healthy(&context, draft.snapshot()) => seen,
            () = self.lost.cancelled() => return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a look")),
            // One that is not in the store, which may have gone back in time,
            // ends no wait: it would end each one at once, for ever.
            () = self.cancelled.cancelled(), if !told => return Ok(None),
            () = self.shared.stopping.cancelled() => return Ok(Some(Burst::Interrupted)),
            // A runtime that does not answer says nothing about the version.
            () = self.shared.clock.sleep(WATCH) => Ok(()),
        };
        settle::watched(draft, seen.err().map(|error| Failure::from_error(StepName::Probe, &error)));
        if draft.snapshot().deployment.state != State::AwaitingApproval {
            return Ok(None);
        }
        Ok(Some(Burst::Parked(until.min(self.shared.now().after(WATCH)))))
    }

    /// Waits for a step that was told to stop. Whoever obeys neither time nor
    /// cancel is left to itself in the end.
    pub(super) async fn end_of<T: Send + 'static>(
        &self,
        task: &mut Task<T>,
        step: StepName,
        snapshot: &Snapshot,
    ) -> Option<Result<T>> {
        let mut overdue = self.shared.clock.sleep(UNHEARD);
        loop {
            let may_mend = !self.lost.is_cancelled() && !self.shared.stopping.is_cancelled();
            tokio::select! {
                biased;
                joined = task.join() => return Some(joined),
                () = &mut overdue => return None,
                () = self.shared.clock.sleep(MEANWHILE), if may_mend && step::leaves_live_alone(step) => {}
            }
            self.look_after_live(snapshot).await;
        }
    }

    /// Mends what is live while a step takes long: the app's lease is held, so
    /// nobody else can, and users cannot wait for the end of a build.
    pub(super) async fn look_after_live(&self, snapshot: &Snapshot) {
        if planted!(LiveNotLookedAfter) || self.shared.safe_mode.is_on() {
            return;
        }
        let Some(app) = &snapshot.app else { return };
        let live = app.serving.live.as_ref().map(|live| live.deployment);
        let Some(live) = live.filter(|live| *live != snapshot.deployment.id) else { return };
        let mended = async {
            // What is known here is what is stored: nobody else has the lease. This
            // deployment changes no route now, and no other one of the app is active.
            let (containers, route) = look_at_live(&self.shared, app, &snapshot.instances).await?;
            if drift(app, &snapshot.instances, &containers, route, false).is_empty() {
                return Ok(true);
            }
            let Some(snapshot) = self.shared.store.snapshot(live).await? else { return Ok(true) };
            if found(&self.shared, &snapshot).await?.is_empty() {
                return Ok(true);
            }
            let deployment = snapshot.deployment;
            let driver = Self {
                shared: Arc::clone(&self.shared),
                lease: self.lease.clone(),
                claim: None,
                log: DeploymentLog::of(&self.shared, &deployment),
                cancelled: CancellationToken::new(),
                lost: self.lost.clone(),
                leaving: Arc::clone(&self.leaving),
            };
            // What is mended is a step of its own, hence the box.
            let mended = Box::pin(mend_under(&driver, &deployment)).await;
            driver.log.flush().await;
            mended
        };
        tokio::select! {
            biased;
            mended = mended => {
                if let Err(error) = mended {
                    let app = &snapshot.deployment.app;
                    tracing::warn!(%app, report = error.report(), "what is live could not be looked after");
                }
            }
            () = self.lost.cancelled() => {}
            () = self.shared.stopping.cancelled() => {}
        }
    }
}
