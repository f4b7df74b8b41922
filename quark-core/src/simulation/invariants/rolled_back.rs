//! What must hold of what people have gone back from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Invariant;
use super::records::promoted;
use crate::app::{App, AppName, CommitSha};
use crate::deployment::{DeploymentId, DeploymentKind, Trigger};
use crate::simulation::change::{Change, Circumstances};
use crate::simulation::ledger::{DeploymentEntry, Ledger};

type Verdict = Result<(), String>;

/// A commit with the settings under which it served.
type Version = (CommitSha, Arc<App>);

/// What people have gone back from comes again when they want it, not because
/// somebody tells of an old push.
#[derive(Debug, Default)]
pub(super) struct StaysRolledBack {
    releases: BTreeMap<DeploymentId, Arc<App>>,
    apps: BTreeMap<AppName, History>,
}

#[derive(Debug, Default)]
struct History {
    live: Option<Version>,
    left: Vec<Version>,
}

impl StaysRolledBack {
    fn promoted(&mut self, ledger: &Ledger, live: &DeploymentEntry) -> Verdict {
        let release = self.releases.get(&live.id).cloned();
        let history = self.apps.entry(live.app.clone()).or_default();
        let before = history.live.take();
        history.live = live.commit.clone().zip(release);
        let is_left = history.live.as_ref().is_some_and(|version| history.left.contains(version));
        history.left.retain(|left| Some(left) != history.live.as_ref());
        match live.kind {
            DeploymentKind::Rollback { .. } => {
                history.left.extend(before.filter(|before| Some(before) != history.live.as_ref()));
            }
            DeploymentKind::Deploy if live.trigger == Trigger::Push && is_left => {
                let label = ledger.label(live.id);
                return Err(format!("{label} brings a commit into service again that people have gone back from"));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Invariant for StaysRolledBack {
    fn name(&self) -> &'static str {
        "stays-rolled-back"
    }

    fn before(&mut self, ledger: &Ledger, change: &Change<'_>, _: &Circumstances) -> Verdict {
        match change {
            // Who went back from what may be forgotten with the rest.
            _ if ledger.was_restored() => {}
            Change::AppCreated(app) => {
                self.apps.remove(&app.spec.name);
            }
            Change::DeploymentCreated(created) => {
                let wanted = &created.deployment;
                self.releases.insert(wanted.id, Arc::clone(&wanted.release));
                if wanted.trigger != Trigger::Push && wanted.kind == DeploymentKind::Deploy {
                    // A person wants it; what becomes of that is another matter.
                    let is_wanted = |left: &Version| {
                        left.1 == wanted.release && wanted.revision.commit.as_ref().is_none_or(|it| *it == left.0)
                    };
                    if let Some(history) = self.apps.get_mut(&wanted.app) {
                        history.left.retain(|left| !is_wanted(left));
                    }
                }
            }
            Change::Committed(commit) => {
                if let Some(live) = promoted(ledger, commit).and_then(|live| ledger.deployment(live)) {
                    return self.promoted(ledger, live);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
