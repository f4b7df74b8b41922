//! What must hold of leases, by the clock of the world.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Invariant;
use super::records::wish_of;
use crate::app::AppName;
use crate::backend::Lease;
use crate::deployment::{Fence, OwnerId};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::executor::ProcessId;
use crate::simulation::faults::Op;
use crate::simulation::ledger::Ledger;

type Verdict = Result<(), String>;

/// How long an engine that was stopped for a while needs to see what it has missed.
const WAKING: Duration = Duration::from_secs(2);

/// Whether a call changes what runs or what is routed.
pub(super) fn is_done_to_the_world(op: Op) -> bool {
    matches!(
        op,
        Op::RuntimeCreate | Op::RuntimeStart | Op::RuntimeStop | Op::RuntimeRemove | Op::RouterApply | Op::RouterRemove
    )
}

/// Nothing is done to the world under a lease that has run out or was given
/// back: somebody else may hold the next one.
#[derive(Debug, Default)]
pub(super) struct LeaseHeld {
    until: BTreeMap<(AppName, Fence), Duration>,
    woken: BTreeMap<ProcessId, Duration>,
}

impl LeaseHeld {
    fn note(&mut self, lease: &Lease, until: Duration) {
        self.until.insert((lease.app.clone(), lease.fence), until);
    }
}

impl Invariant for LeaseHeld {
    fn name(&self) -> &'static str {
        "lease-held"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        match change {
            Change::LeaseTaken(lease, ttl) | Change::LeaseRenewed(lease, ttl) => self.note(lease, when.at + *ttl),
            Change::LeaseReleased(lease) => self.note(lease, when.at),
            Change::GoesOn => drop(self.woken.insert(when.process, when.at)),
            // Fences are given for a second time: nobody can tell which of two it is.
            Change::StoreRestored(_) => self.until.clear(),
            Change::Asked { op, call, .. } if is_done_to_the_world(*op) && !ledger.was_restored() => {
                let Some(entry) = wish_of(call).and_then(|(id, _)| ledger.deployment(id)) else { return Ok(()) };
                let Some(until) = self.until.get(&(entry.app.clone(), call.fence)) else { return Ok(()) };
                // What was called off is not done.
                let called_off = call.cancel.is_cancelled();
                let wakes = self.woken.get(&when.process).is_some_and(|woken| when.at <= *woken + WAKING);
                if when.at > *until && !wakes && !called_off {
                    let (label, late) = (ledger.label(entry.id), when.at - *until);
                    return Err(format!(
                        "{op} was asked for {label} under fence {}, whose lease had ended {late:?} before",
                        call.fence.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// While nothing goes wrong a lease is renewed, or given back, long before it
/// runs out, however long a step takes.
#[derive(Debug, Default)]
pub(super) struct LeaseRenewed {
    held: BTreeMap<AppName, Held>,
}

#[derive(Debug)]
struct Held {
    fence: Fence,
    owner: OwnerId,
    process: ProcessId,
    since: Duration,
    ttl: Duration,
}

impl LeaseRenewed {
    /// A lease that is known is renewed, given back, or followed by another one.
    fn check(&self, lease: &Lease, fence: Option<Fence>, at: Duration) -> Verdict {
        let Some(held) = self.held.get(&lease.app) else { return Ok(()) };
        if fence.is_some_and(|fence| fence != held.fence) {
            return Ok(());
        }
        let age = at.saturating_sub(held.since);
        // A third of its life is when it should be; the rest is reserve.
        if age > held.ttl * 3 / 4 {
            let (app, ttl) = (&lease.app, held.ttl);
            return Err(format!("the lease of {app} lasts {ttl:?} and was not renewed for {age:?}, in calm"));
        }
        Ok(())
    }
}

impl Invariant for LeaseRenewed {
    fn name(&self) -> &'static str {
        "lease-renewed"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, when: &Circumstances) -> Verdict {
        if ledger.healed_at().is_none() {
            return Ok(());
        }
        match change {
            Change::LeaseTaken(lease, ttl) => {
                // An engine that takes what it holds has been started again: nobody
                // was left to renew it.
                let again = |held: &Held| held.owner == lease.owner && held.process != when.process;
                if self.held.get(&lease.app).is_some_and(again) {
                    self.held.remove(&lease.app);
                }
                let known = self.check(lease, None, when.at);
                // One that comes late is nobody's.
                if when.straggles {
                    self.held.remove(&lease.app);
                    return Ok(());
                }
                self.held.insert(
                    lease.app.clone(),
                    Held {
                        fence: lease.fence,
                        owner: lease.owner.clone(),
                        process: when.process,
                        since: when.at,
                        ttl: *ttl,
                    },
                );
                known
            }
            Change::LeaseRenewed(lease, _) => {
                let known = self.check(lease, Some(lease.fence), when.at);
                if let Some(held) = self.held.get_mut(&lease.app).filter(|held| held.fence == lease.fence) {
                    held.since = when.at;
                }
                known
            }
            Change::LeaseReleased(lease) => {
                let known = self.check(lease, Some(lease.fence), when.at);
                self.held.remove(&lease.app);
                known
            }
            Change::StoreRestored(_) | Change::StoreLeapt => {
                self.held.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
