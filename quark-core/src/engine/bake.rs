//! `Driver`, continued: what it does about a version that was just promoted.
//! It is parked between two looks and holds no worker. What a look says for the
//! deployment is decided in `settle`.

use std::time::Duration;

use super::draft::Draft;
use super::driver::{Burst, Driver};
use super::reconcile::found;
use super::settle::{self, Seen};
use super::step::{self, StepContext};
use crate::app::BakePolicy;
use crate::deployment::{Failure, State, StepName};
use crate::error::ErrorKind;
use crate::planted::planted;
use crate::{Error, Result};

/// How long a look may take; a runtime that does not answer says nothing about
/// the version.
const LOOK: Duration = Duration::from_secs(10);

impl Driver {
    /// Looks how a version does since it was promoted, and lets it serve on or
    /// not. A look changes nothing in the world, so it is not journalled; what
    /// is done because of it is.
    pub(super) async fn bake(&self, draft: &mut Draft) -> Result<Option<Burst>> {
        if let Some(instead) = self.put_down(draft).await? {
            return Ok(instead);
        }
        let policy = draft.snapshot().deployment.release.bake.clone().unwrap_or_default();
        let context = StepContext { shared: self.shared.clone(), lease: self.lease.clone(), log: self.log.clone() };
        let seen = tokio::select! {
            biased;
            seen = look(&context, draft, &policy) => seen,
            () = self.lost.cancelled() => return Err(Error::new(ErrorKind::Fenced, "the lease was lost during a look")),
            () = self.shared.stopping.cancelled() => return Ok(Some(Burst::Interrupted)),
            () = self.shared.clock.sleep(LOOK) => Seen::Nothing,
        };
        if let Seen::Unwell { failure, .. } = &seen {
            self.log.say(&failure.message);
        }
        settle::seen(draft, seen, &policy, self.shared.now());
        if draft.snapshot().deployment.state != State::Baking {
            return Ok(None);
        }
        self.mend_meanwhile(draft).await?;
        Ok(Some(Burst::Parked(self.shared.now().after(policy.interval))))
    }

    /// Nobody else mends what is live while it is watched.
    async fn mend_meanwhile(&self, draft: &mut Draft) -> Result<()> {
        match found(&self.shared, draft.snapshot()).await {
            Ok(drift) if !drift.is_empty() => {
                tracing::warn!(app = %draft.snapshot().deployment.app, found = ?drift, "what is watched is not as it shall be");
                self.step(draft, StepName::Mend).await.map(|_| ())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(report = error.report(), "what is watched could not be compared with the world");
                Ok(())
            }
        }
    }
}

/// What is seen of the version, and, if that is enough, of the one before.
async fn look(context: &StepContext, draft: &Draft, policy: &BakePolicy) -> Seen {
    let snapshot = draft.snapshot();
    let error = match step::still_healthy(context, snapshot).await {
        Ok(()) => return Seen::Well,
        Err(error) if error.kind() == ErrorKind::Unhealthy => error,
        Err(_) if planted!(UnseenIsWell) => return Seen::Well,
        Err(_) => return Seen::Nothing,
    };
    let times = snapshot.deployment.bake.as_ref().map_or(0, |bake| bake.unwell) + 1;
    let enough = step::is_down(&error) || times >= policy.failures || planted!(FirstDoubtGoesBack);
    let back = enough && can_go_back(context, draft).await;
    Seen::Unwell { failure: Failure::from_error(StepName::Probe, &error), back }
}

/// Whether the version before could serve. Going back to one that is not well
/// would be the worst that could be done.
async fn can_go_back(context: &StepContext, draft: &Draft) -> bool {
    match step::can_go_back(context, draft.snapshot()).await {
        Ok(_) => true,
        Err(error) => {
            context.log.say(&format!("it is not rolled back: {error}"));
            false
        }
    }
}
