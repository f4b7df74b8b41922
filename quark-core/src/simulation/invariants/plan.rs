//! What must hold of what was planned.

use super::Invariant;
use crate::deployment::{DeploymentKind, State};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::Ledger;

/// A plan is followed if what it was made from is still so, or not at all.
#[derive(Debug)]
pub(super) struct AsPlanned;

impl Invariant for AsPlanned {
    fn name(&self) -> &'static str {
        "as-planned"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Result<(), String> {
        let Change::Committed(commit) = change else { return Ok(()) };
        let waits = |state| matches!(state, State::Queued | State::Admitted);
        let deployment = &commit.deployment;
        let is_begun = !waits(deployment.state) && !matches!(deployment.state, State::Unwinding | State::Completed);
        let waited = ledger.deployment(deployment.id).is_some_and(|entry| waits(entry.state));
        // A removal is not taken back, whatever has happened since it was asked for.
        let may_fail = deployment.kind != DeploymentKind::Remove;
        let expected = deployment.expects.as_ref().filter(|_| is_begun && waited && may_fail);
        let Some(expected) = expected else { return Ok(()) };
        let serving = ledger.app(&deployment.app).map(|app| &app.serving);
        match serving.and_then(|serving| expected.broken_by(serving)) {
            Some(why) => Err(format!("{} is begun as it was planned, but {why}", ledger.label(deployment.id))),
            None => Ok(()),
        }
    }
}
