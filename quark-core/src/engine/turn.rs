//! `Driver`, continued: whose turn it is, among the deployments of an app and
//! among those that build.

use std::time::Duration;

use super::decide::{Decision, is_before_the_image, takes_long};
use super::draft::Draft;
use super::driver::{BUSY, Burst, Driver};
use super::places::{Asked, Place};
use super::settle;
use super::stuck::give_up;
use crate::Result;
use crate::backend::Snapshot;
use crate::deployment::{BakeOutcome, Deployment, DeploymentKind, State, Trigger};

/// How long a deployment waits before it looks again, when the one before it
/// waits for a person, which can take days, or is watched.
const SELDOM: Duration = Duration::from_secs(5);

/// How long to hope for a place in place: what is built in a moment frees its
/// own soon.
const MOMENT: Duration = Duration::from_millis(250);

impl Driver {
    /// How long the deployment has to wait before it begins what takes long;
    /// `place` is what it needs for that, and is given back after it.
    pub(super) async fn waits_for_place(
        &self,
        place: &mut Option<Place>,
        snapshot: &Snapshot,
        decision: &Decision,
    ) -> Result<Option<Duration>> {
        let deployment = &snapshot.deployment;
        if !is_before_the_image(deployment.state) {
            *place = None;
        }
        if place.is_some() || !takes_long(snapshot, decision) {
            return Ok(None);
        }
        if deployment.state == State::Queued {
            let unfinished = self.shared.store.unfinished(Some(&deployment.app)).await?;
            if unfinished.first().is_some_and(|first| first.id != deployment.id) {
                // Its turn has not come; the store says so, and whom it waits for.
                return Ok(None);
            }
        }
        let places = &self.shared.places;
        let mut over = self.shared.clock.sleep(MOMENT);
        loop {
            let freed = places.freed();
            match places.ask(deployment, self.shared.clock.monotonic()) {
                Asked::Given(given) => {
                    *place = Some(given);
                    return Ok(None);
                }
                Asked::Wait { ahead, again, is_new } => {
                    if is_new {
                        let most = places.most();
                        self.log.say(&format!("waits for a place: {most} builds at once, {ahead} wait before it"));
                    }
                    tokio::select! {
                        biased;
                        () = freed => {}
                        () = self.cancelled.cancelled() => return Ok(Some(Duration::ZERO)),
                        () = self.lost.cancelled() => return Ok(Some(again)),
                        () = self.shared.stopping.cancelled() => return Ok(Some(again)),
                        () = &mut over => {
                            // It takes the app again and again, and so keeps others from that.
                            self.look_after_live(snapshot).await;
                            return Ok(Some(again));
                        }
                    }
                }
            }
        }
    }

    /// Another deployment of the app comes first.
    pub(super) async fn wait_for_turn(&self, draft: &mut Draft) -> Result<Option<Burst>> {
        *draft = self.read(draft.snapshot().deployment.id).await?;
        let own = &draft.snapshot().deployment;
        let outranks = own.kind != DeploymentKind::Deploy && own.trigger != Trigger::Unwell;
        if outranks && self.make_way(draft).await? {
            *draft = self.read(draft.snapshot().deployment.id).await?;
            return Ok(None);
        }
        let wait = if self.comes_after_long(draft).await? { SELDOM } else { BUSY };
        Ok(Some(Burst::Parked(self.shared.now().after(wait))))
    }

    /// Ends what waits and need not go on because of this: an app that is
    /// removed takes a stuck deployment with it, and whoever goes back does not
    /// watch any longer how the new version does. Whether there was one.
    pub(super) async fn make_way(&self, draft: &Draft) -> Result<bool> {
        let own = &draft.snapshot().deployment;
        for other in self.shared.store.unfinished(Some(&own.app)).await? {
            if other.id == own.id {
                continue;
            }
            let mut ended = match other.state {
                State::Stuck if own.kind == DeploymentKind::Remove => {
                    let mut other = self.read(other.id).await?;
                    // What it has made is not forgotten: the removal takes it away.
                    give_up(&mut other, &own.created_by, self.shared.now());
                    other
                }
                State::Baking => {
                    let mut other = self.read(other.id).await?;
                    settle::baked(&mut other, BakeOutcome::Interrupted, self.shared.now());
                    other
                }
                _ => continue,
            };
            self.shared.write(&mut ended, &self.lease).await?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether what comes first waits for a person, to be mended or approved, or
    /// is watched, with all requests or with a share of them.
    pub(super) async fn comes_after_long(&self, draft: &Draft) -> Result<bool> {
        let own = &draft.snapshot().deployment;
        let unfinished = self.shared.store.unfinished(Some(&own.app)).await?;
        let waits = |other: &Deployment| match other.state {
            State::Stuck | State::Baking => true,
            // One that was told to stop is over in a moment.
            State::AwaitingApproval | State::Canary => other.cancel.is_none(),
            _ => false,
        };
        Ok(unfinished.iter().any(|other| other.id != own.id && waits(other)))
    }

    /// Whether another deployment of the app is active.
    pub(super) async fn is_busy(&self, snapshot: &Snapshot) -> Result<bool> {
        let own = &snapshot.deployment;
        let unfinished = self.shared.store.unfinished(Some(&own.app)).await?;
        Ok(unfinished.iter().any(|other| other.id != own.id && other.state.is_active()))
    }
}
