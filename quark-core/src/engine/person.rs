//! `DeploymentEngine`, continued: what only a person decides.

use super::api::DeploymentEngine;
use super::approval::{self, ApprovalRequest, PendingApproval};
use super::drift::Garbage;
use super::explain::{self, Explanation};
use super::reconcile;
use super::stuck::{self, Leftovers};
use crate::Result;
use crate::app::AppName;
use crate::deployment::{Deployment, DeploymentId};
#[cfg(doc)]
use crate::error::ErrorKind;

impl DeploymentEngine {
    /// What an app is, what it should be, why it is not, and what comes next:
    /// as data, and as text (`to_string`). Looks at the runtime and the router;
    /// one that does not answer within 5 s is among the findings. Changes
    /// nothing. Safe to drop.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Unavailable`] if the store cannot be read.
    pub async fn explain(&self, app: &AppName) -> Result<Explanation> {
        Ok(explain::explain(&explain::gather(&self.shared, app).await?))
    }

    /// What is left of a stuck deployment, and why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] (`not_stuck`) if it is not stuck.
    pub async fn leftovers(&self, id: DeploymentId) -> Result<Leftovers> {
        stuck::leftovers(&self.shared, id).await
    }

    /// Tries once more to clean up after a stuck deployment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Conflict`] (`not_stuck`) if it is
    /// not stuck, (`lease_held`) while another engine is at work on the app.
    pub async fn retry(&self, id: DeploymentId) -> Result<()> {
        stuck::retry(&self.shared, id).await
    }

    /// Ends a stuck deployment as it is. What is left of it is collected as
    /// garbage once that can be done; a route that it has left is put back.
    ///
    /// # Errors
    ///
    /// As [`retry`](Self::retry); [`ErrorKind::InvalidInput`] if `by` names nobody.
    pub async fn abandon(&self, id: DeploymentId, by: &str) -> Result<()> {
        stuck::abandon(&self.shared, id, by).await
    }

    /// Containers that carry our labels and that nothing refers to. A dry run of
    /// what is collected every minute, and of [`collect_garbage`](Self::collect_garbage).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the runtime or the store cannot be read.
    pub async fn garbage(&self) -> Result<Garbage> {
        reconcile::survey(&self.shared).await
    }

    /// Removes all of it, also when it is [suspiciously
    /// much](Garbage::is_suspicious), because a person has looked at it.
    /// Returns what it was; what an app that is being worked on has left stays
    /// for later.
    ///
    /// # Errors
    ///
    /// As [`garbage`](Self::garbage); [`ErrorKind::Unavailable`] (`safe_mode`).
    pub async fn collect_garbage(&self) -> Result<Garbage> {
        reconcile::collect_all(&self.shared).await
    }

    /// The deployments that wait for people, the oldest question first, with
    /// what one needs to know to decide.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store cannot be read.
    pub async fn approvals(&self) -> Result<Vec<PendingApproval>> {
        approval::pending(&self.shared).await
    }

    /// Answers whether a deployment may serve users. Once enough people agree
    /// it is probed again and promoted; one who does not agree ends it, as
    /// cancelled. Returns when the answer is written down.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`]; [`ErrorKind::InvalidInput`] with the field;
    /// [`ErrorKind::Conflict`] with code `not_awaiting_approval`, `other_question` (the image or the nonce is
    /// not that of the question), `answered_already`, `own_deployment` (separation of duties), `lease_held`
    /// while another engine is at work on the app; [`ErrorKind::Unavailable`] (`safe_mode`).
    pub async fn answer_approval(&self, id: DeploymentId, request: ApprovalRequest) -> Result<Deployment> {
        approval::answer(&self.shared, id, request).await
    }

    /// Why the engine touches nothing, if it does not: the store has gone back
    /// in time, as after the restore of a backup.
    #[must_use]
    pub fn safe_mode(&self) -> Option<String> {
        self.shared.safe_mode.reason()
    }

    /// Leaves safe mode: goes on from what the store says. A person should have
    /// compared it with what runs: containers that the store does not know are
    /// left alone, everything else is brought to what the store says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] if the store or the work folder cannot be used.
    pub async fn resume(&self) -> Result<()> {
        self.shared.leave_safe_mode().await
    }
}
