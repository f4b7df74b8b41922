//! The two marker files of an app, and the order in which they change.

use quark_core::{AppName, Result, Slot};

use crate::files;
use crate::layout::Layout;
use crate::state::AppState;

/// What the markers choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) active: Slot,
    pub(crate) backup: bool,
}

/// One step that requests can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Backup(bool),
    Active(Slot),
}

/// The steps to `to`, in an order in which no request can see a slot that
/// `from` and `to` both keep from serving:
///
/// 1. a backup that is no longer wanted goes first: were the slots switched
///    before, the slot that has just been taken out of service would stand in;
/// 2. then the slots are switched, by one create or unlink;
/// 3. a backup that is wanted anew comes last: were it set before, the slot
///    that is about to serve would stand in before it was said to be ready.
///
/// A backup that is wanted before and after stays through the switch: both
/// slots may serve then, and each stands in for the other.
///
/// Each step is taken whatever `from` says, because what is there already
/// costs nothing and `from` may be out of date.
fn steps(backup: bool, active: Slot) -> [Step; 2] {
    if backup { [Step::Active(active), Step::Backup(true)] } else { [Step::Backup(false), Step::Active(active)] }
}

impl Choice {
    /// Makes the markers choose this. Users see it before the disk does: one
    /// wait for the disk is enough for all steps and for the state that was
    /// written before them, and it may take longer than all the rest.
    pub(crate) fn make(self, layout: &Layout, app: &AppName) -> Result<()> {
        for step in steps(self.backup, self.active) {
            match step {
                Step::Active(Slot::Green) => files::touch(&layout.green_marker(app))?,
                Step::Active(Slot::Blue) => files::unlink(&layout.green_marker(app))?,
                Step::Backup(true) => files::touch(&layout.backup_marker(app))?,
                Step::Backup(false) => files::unlink(&layout.backup_marker(app))?,
            }
        }
        AppState::sync(layout, app)?;
        files::sync(&layout.markers())
    }
}

/// Removes the markers of an app that has no site file any more.
pub(crate) fn clear(layout: &Layout, app: &AppName) -> Result<()> {
    Choice { active: Slot::Blue, backup: false }.make(layout, app)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of choices, step by step: the slot that is kept from serving
    /// by both sides never serves and never stands in.
    #[test]
    fn no_step_lets_a_slot_serve_that_must_not() {
        let choices = Slot::BOTH.into_iter().flat_map(|active| [true, false].map(|backup| Choice { active, backup }));
        let choices: Vec<_> = choices.collect();
        let serves = |choice: &Choice, slot| choice.active == slot || choice.backup;
        for from in &choices {
            for to in &choices {
                let mut now = *from;
                for step in steps(to.backup, to.active) {
                    match step {
                        Step::Active(active) => now.active = active,
                        Step::Backup(backup) => now.backup = backup,
                    }
                    for slot in Slot::BOTH {
                        let allowed = serves(from, slot) || serves(to, slot);
                        assert!(allowed || !serves(&now, slot), "{from:?} to {to:?} by {now:?}");
                    }
                }
                assert_eq!(now, *to);
            }
        }
    }

    #[test]
    fn markers_are_made_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { home: folder.path().to_owned(), include_dir: folder.path().to_owned() };
        std::fs::create_dir(layout.markers()).unwrap();
        std::fs::create_dir(layout.states()).unwrap();
        let app = AppName::parse("shop").unwrap();
        Choice { active: Slot::Green, backup: true }.make(&layout, &app).unwrap();
        let mut names = files::list(&layout.markers()).unwrap();
        names.sort();
        assert_eq!(names, ["shop.backup", "shop.green"]);
        clear(&layout, &app).unwrap();
        assert!(files::list(&layout.markers()).unwrap().is_empty());
    }
}
