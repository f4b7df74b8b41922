//! What must hold of versions that people must agree to.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use super::canary::intends;
use crate::app::ApprovalPolicy;
use crate::backend::Commit;
use crate::deployment::{Answer, Approval, Deployment, DeploymentId, DeploymentKind, StepName};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// No version is promoted that people must agree to before enough of them have,
/// in time and to this very image. It does not ask the engine's own verdict.
#[derive(Debug, Default)]
pub(super) struct ApprovedFirst {
    /// The question that was asked last about each deployment.
    asked: BTreeMap<DeploymentId, Approval>,
}

impl ApprovedFirst {
    /// A question stays as it was asked, and its answers as they were given.
    fn note(&mut self, id: DeploymentId, approval: &Approval) -> Verdict {
        let before = self.asked.insert(id, approval.clone());
        let Some(before) = before.filter(|before| before.nonce == approval.nonce) else { return Ok(()) };
        if before.artifact != approval.artifact || before.asked_at != approval.asked_at {
            return Err("is asked about another way under the same nonce".to_owned());
        }
        if !approval.answers.starts_with(&before.answers) {
            return Err("has lost an answer".to_owned());
        }
        if before.decided_at.is_some() && before.answers != approval.answers {
            return Err("was answered after it was decided".to_owned());
        }
        Ok(())
    }
}

/// Whether people have agreed that this deployment serves; why not.
fn agreed(deployment: &Deployment, policy: &ApprovalPolicy) -> Verdict {
    let Some(approval) = &deployment.approval else { return Err("is promoted, and nobody was asked".to_owned()) };
    let Some(decided_at) = approval.decided_at else { return Err("is promoted before that was decided".to_owned()) };
    if deployment.artifact.as_ref() != Some(&approval.artifact) {
        return Err("is promoted with an image that nobody was asked about".to_owned());
    }
    if let Some(no) = approval.answers.iter().find(|answer| !answer.approved) {
        return Err(format!("is promoted, and {} does not agree", no.by));
    }
    let expires = approval.asked_at.after(policy.expires);
    let counts = |answer: &&Answer| answer.at < expires && (policy.author_counts || answer.by != deployment.created_by);
    let people: BTreeSet<&str> = approval.answers.iter().filter(counts).map(|answer| answer.by.as_str()).collect();
    let by_itself = policy.auto_approve.is_some_and(|after| approval.asked_at.after(after) <= decided_at);
    let (agree, quorum) = (people.len(), policy.quorum);
    if !by_itself && u32::try_from(agree).unwrap_or(u32::MAX) < quorum {
        return Err(format!("is promoted, and {agree} of {quorum} people have agreed"));
    }
    Ok(())
}

/// Whether this commit begins a promotion, or gives it its first users.
fn promotes(commit: &Commit) -> bool {
    [StepName::Shift, StepName::Promote].into_iter().any(|step| intends(commit, step))
}

impl Invariant for ApprovedFirst {
    fn name(&self) -> &'static str {
        "approved-first"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        let commit = match change {
            Change::Committed(commit) => commit,
            Change::StoreRestored(_) => {
                self.asked.clear();
                return Ok(());
            }
            _ => return Ok(()),
        };
        let deployment = &commit.deployment;
        let Some(policy) = &deployment.release.approval else { return Ok(()) };
        let noted = deployment.approval.as_ref().map_or(Ok(()), |approval| self.note(deployment.id, approval));
        let judged = if deployment.kind == DeploymentKind::Deploy && promotes(commit) {
            agreed(deployment, policy)
        } else {
            Ok(())
        };
        noted.and(judged).map_err(|how| format!("{} {how}", ledger.label(deployment.id)))
    }
}
