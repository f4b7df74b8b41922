//! What must hold of what people have gone back from.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Invariant;
use super::records::promoted;
use crate::app::{App, AppName, CommitSha};
use crate::backend::Commit;
use crate::deployment::{Conclusion, DeploymentId, DeploymentKind, Trigger};
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
    wishes: Vec<Wish>,
}

/// A person's wish for a version, of a commit or of the head of its branch.
#[derive(Debug)]
struct Wish {
    sequence: u64,
    commit: Option<CommitSha>,
    release: Arc<App>,
}

impl Wish {
    fn is_for(&self, version: &Version) -> bool {
        self.release == version.1 && self.commit.as_ref().is_none_or(|commit| *commit == version.0)
    }
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
                // It may have been wanted again before the way back was done.
                let mut later = history.wishes.iter().filter(|wish| wish.sequence > live.sequence);
                let is_left = |before: &Version| Some(before) != history.live.as_ref();
                history.left.extend(before.filter(|it| is_left(it) && !later.any(|wish| wish.is_for(it))));
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

impl StaysRolledBack {
    /// The engine has gone back from a version by itself.
    fn went_back(&mut self, ledger: &Ledger, commit: &Commit) {
        let Some(from) = ledger.deployment(commit.deployment.id).filter(|from| !from.state.is_terminal()) else {
            return;
        };
        let to = commit.serving.as_ref().and_then(|serving| ledger.deployment(serving.live.as_ref()?.deployment));
        let version = |it: &DeploymentEntry| it.commit.clone().zip(self.releases.get(&it.id).cloned());
        let (gone, back) = (version(from), to.and_then(version));
        let history = self.apps.entry(from.app.clone()).or_default();
        let is_wanted =
            |gone: &Version| history.wishes.iter().any(|wish| wish.sequence > from.sequence && wish.is_for(gone));
        history.left.extend(gone.filter(|gone| back.as_ref() != Some(gone) && !is_wanted(gone)));
        history.live = back;
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
                    let (commit, release) = (wanted.revision.commit.clone(), Arc::clone(&wanted.release));
                    let wish = Wish { sequence: wanted.sequence, commit, release };
                    let history = self.apps.entry(wanted.app.clone()).or_default();
                    history.left.retain(|left| !wish.is_for(left));
                    history.wishes.push(wish);
                }
            }
            Change::Committed(commit) if commit.deployment.conclusion == Some(Conclusion::RolledBack) => {
                self.went_back(ledger, commit);
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
