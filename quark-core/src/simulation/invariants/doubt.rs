//! What must hold when the store went back in time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Invariant;
use super::leases::is_done_to_the_world;
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::executor::ProcessId;
use crate::simulation::ledger::Ledger;

/// How long what was begun before may go on: no step asks for anything later
/// than this.
const BEGUN: Duration = Duration::from_secs(65);

/// An engine that doubts its store touches nothing until a person resumes it.
#[derive(Debug, Default)]
pub(super) struct SafeMode {
    since: BTreeMap<ProcessId, Duration>,
}

impl Invariant for SafeMode {
    fn name(&self) -> &'static str {
        "safe-mode"
    }

    fn before(&mut self, _: &Ledger, change: &Change<'_>, when: &Circumstances) -> Result<(), String> {
        match change {
            Change::SafeMode(true) => drop(self.since.insert(when.process, when.at)),
            Change::SafeMode(false) => drop(self.since.remove(&when.process)),
            Change::Asked { op, call, .. } if is_done_to_the_world(*op) => {
                let since = self.since.get(&when.process);
                if let Some(since) = since.filter(|since| when.at > **since + BEGUN) {
                    let doubted = when.at - *since;
                    return Err(format!("{op} was asked for {} after {doubted:?} in safe mode", call.key));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
