//! The right to work on an app for a while: within this engine, and among all
//! engines of the store.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::driver::Driver;
use super::lease::{self, Kept};
use super::log::DeploymentLog;
use super::shared::{AppClaim, Registration, Shared};
use crate::Result;
use crate::app::AppName;
use crate::backend::store::refusal;
use crate::backend::{ClaimToken, Lease};
use crate::deployment::{Deployment, DeploymentId};
use crate::platform::Leash;

/// The right to work on an app for a while.
pub(super) struct Hold {
    shared: Arc<Shared>,
    pub(super) lease: Lease,
    /// The claim of the job that asked for the work, if one did.
    claim: Option<ClaimToken>,
    log: Option<Arc<DeploymentLog>>,
    cancelled: CancellationToken,
    lost: CancellationToken,
    leaving: Arc<AtomicBool>,
    _claim: AppClaim,
    _running: Registration,
    keeper: Leash,
}

impl Hold {
    /// Takes the app of a deployment; `lease_held` if somebody is at work on
    /// it. With `token` the claim of a job is kept alive too.
    pub(super) async fn take(
        shared: &Arc<Shared>,
        app: &AppName,
        id: DeploymentId,
        token: Option<ClaimToken>,
    ) -> Result<Self> {
        let ttl = shared.config.lease;
        // A lease goes to its owner again at once. Within one engine something
        // else must keep two drivers apart, or the second would fence the first.
        let claim = shared.claim_app(app).ok_or_else(|| at_work(app))?;
        let asked_at = shared.clock.monotonic();
        let lease = shared.store.acquire_lease(app, &shared.config.owner, ttl).await?;
        let cancelled = CancellationToken::new();
        let lost = CancellationToken::new();
        let leaving = Arc::new(AtomicBool::new(false));
        let running = shared.register(id, cancelled.clone());
        let kept = Kept {
            store: Arc::clone(&shared.store),
            queue: Arc::clone(&shared.queue),
            clock: Arc::clone(&shared.clock),
            lease: lease.clone(),
            token,
            ttl,
            asked_at,
            deployment: id,
            cancelled: cancelled.clone(),
            lost: lost.clone(),
            leaving: Arc::clone(&leaving),
        };
        Ok(Self {
            claim: token,
            log: None,
            keeper: lease::keep(&shared.platform, kept),
            shared: Arc::clone(shared),
            lease,
            cancelled,
            lost,
            leaving,
            _claim: claim,
            _running: running,
        })
    }

    /// Something that works on a deployment under this right.
    pub(super) fn driver(&mut self, deployment: &Deployment) -> Driver {
        let log = DeploymentLog::of(&self.shared, deployment);
        self.log = Some(Arc::clone(&log));
        Driver {
            shared: Arc::clone(&self.shared),
            lease: self.lease.clone(),
            claim: self.claim,
            log,
            cancelled: self.cancelled.clone(),
            lost: self.lost.clone(),
            leaving: Arc::clone(&self.leaving),
        }
    }

    /// Lets go of what the last write has given back in the store.
    pub(super) async fn let_go(self) {
        if let Some(log) = &self.log {
            log.flush().await;
        }
    }

    /// Gives the right back; `done` is what became of the work.
    pub(super) async fn release<T>(self, done: Result<T>) -> Result<T> {
        if let Some(log) = &self.log {
            log.flush().await;
        }
        drop(self.keeper);
        // Even after an error: a lease that is not released blocks the app until it runs out.
        let released = self.shared.store.release_lease(&self.lease).await;
        let done = done?;
        released?;
        Ok(done)
    }
}

/// This engine itself is at work on the app.
pub(super) fn at_work(app: &AppName) -> crate::Error {
    refusal::lease_held(app, super::driver::BUSY)
}
